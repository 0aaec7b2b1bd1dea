// How far an update runs along probes, whose effect is known. Per module and per adapter, over all probes: a probe that
// is safe counts with the opposite sign, so that high is worse throughout.
//
// A probe's size says nothing (a gradient has that of its loss), so what is added up over modules is measured along the
// probe at length 1 over the modules that adapter and probe share:
//
//     probe_dot(m)         <dW, D>_m / ||D||               summed over m and divided by ||dW||: probe_cosine of the
//     adapter probe_cosine(m)      <dW, D>_m / (||dW||_m ||D||_m) probe_coefficient(m) <dW, D>_m / ||D||_m^2 how much
//     of the probe is in the update
//
// With a bank of harmless adapters the cosines are calibrated: a probe that all of them run along a little says no more
// than one that none does, and an update that avoids a probe is as unusual as one that follows it.
//
// Of an adapter only modules count that probe and adapter share. Several probes: mean, and for the cosine the maximum.
#include <algorithm>
#include <array>
#include <cmath>

#include "methods.hpp"

namespace winnow::methods {
namespace {

constexpr std::array<Column, 4> kColumns{{
    {.name = "probe_dot",
     .title = "projection on the probes",
     .long_name = "<dW, D>/||D|| of the module, D of length 1 over the modules of both; mean over probes",
     .sense = Sense::high_is_worse,
     .form = Form::share,
     .narrow = "probe dot"},
    {.name = "probe_cosine",
     .title = "cosine with the probes",
     .long_name = "cosine between dW and the probe in the module; mean over probes",
     .sense = Sense::high_is_worse,
     .form = Form::share,
     .narrow = "probe cos"},
    {.name = "probe_cosine_max",
     .title = "largest cosine with a probe",
     .long_name = "cosine between dW and the probe in the module; maximum over probes",
     .sense = Sense::high_is_worse,
     .form = Form::share},
    {.name = "probe_coefficient",
     .title = "share of the probes",
     .long_name = "<dW, D>/||D||^2 of the module: how much of the probe is in dW; mean over probes",
     .sense = Sense::high_is_worse},
}};

constexpr std::array<AdapterColumn, 5> kAdapterColumns{{
    {.name = "probe_deviation",
     .long_name = "the largest |cosine - median|/spread over probes, median and spread (IQR/1.349) of the bank",
     .of_bank = true},
    {.name = "probe_cosine",
     .long_name = "cosine between dW and the probe over all modules that both have; mean over probes"},
    {.name = "probe_cosine_max", .long_name = "the same, maximum over probes"},
    {.name = "probe_coefficient", .long_name = "<dW, D>/||D||^2 over all modules that both have; mean over probes"},
    {.name = "probe_p",
     .long_name = "(1 + adapters of the bank at least as deviant)/(1 + adapters of the bank), itself left out",
     .of_bank = true},
}};

/// Mean and maximum of the values that are known; NaN of none.
class Summary {
 public:
  void add(double value) {
    if (std::isnan(value)) return;
    sum_ += value;
    largest_ = count_ == 0 ? value : std::max(largest_, value);
    ++count_;
  }
  double mean() const { return count_ == 0 ? kUndefined : sum_ / count_; }
  double largest() const { return count_ == 0 ? kUndefined : largest_; }

 private:
  double sum_ = 0, largest_ = 0;
  int count_ = 0;
};

double cosine(double dot, double update, double probe) {
  if (std::isnan(dot)) return kUndefined;
  if (update == 0 || probe == 0) return 0;  // nothing runs along nothing
  return std::clamp(dot / update / probe, -1.0, 1.0);
}

double coefficient(double dot, double probe) {
  if (std::isnan(dot)) return kUndefined;
  return probe == 0 ? 0 : dot / probe / probe;
}

/// ||D|| over the modules that adapter n has as well: what other adapters have must not matter.
double whole(const ProbeProducts& probe, const Zoo& zoo, std::size_t n) {
  double size = 0;
  for (std::size_t m = 0; m < zoo.layout.modules; ++m) {
    if (!std::isnan(probe.dots[n * zoo.layout.modules + m])) size = std::hypot(size, probe.norms[m]);
  }
  return size;
}

void datasets_of(const Zoo& zoo, std::span<std::vector<double>> columns) {
  const auto& norms = zoo.dataset("update_norm");
  std::vector<double> wholes(zoo.probes.size());
  for (std::size_t cell = 0; cell < zoo.cells(); ++cell) {
    const std::size_t module = cell % zoo.layout.modules;
    for (std::size_t k = 0; k < wholes.size() && module == 0; ++k) {
      wholes[k] = whole(zoo.probes[k], zoo, cell / zoo.layout.modules);
    }
    Summary dot, along, share;
    for (std::size_t k = 0; k < zoo.probes.size(); ++k) {
      const auto& probe = zoo.probes[k];
      const double found = probe.sign * probe.dots[cell];
      dot.add(wholes[k] == 0 && !std::isnan(found) ? 0 : found / wholes[k]);
      along.add(cosine(found, norms[cell], probe.norms[module]));
      share.add(coefficient(found, probe.norms[module]));
    }
    columns[0][cell] = dot.mean();
    columns[1][cell] = along.mean();
    columns[2][cell] = along.largest();
    columns[3][cell] = share.mean();
  }
}

void adapters_of(const Zoo& zoo, std::span<std::vector<double>> columns) {
  const auto& norms = zoo.dataset("update_norm");
  const auto modules = zoo.layout.modules;
  std::vector<std::vector<double>> cosines(zoo.probes.size(), std::vector<double>(zoo.layout.adapters, kUndefined));
  for (std::size_t n = 0; n < zoo.layout.adapters; ++n) {
    Summary along, share;
    for (std::size_t k = 0; k < zoo.probes.size(); ++k) {
      const auto& probe = zoo.probes[k];
      double dot = 0, update = 0, size = 0;
      bool known = false;
      for (std::size_t m = 0; m < modules; ++m) {
        const double found = probe.dots[n * modules + m], norm = norms[n * modules + m];
        if (std::isnan(found) || std::isnan(norm)) continue;
        known = true;
        dot += found;
        update = std::hypot(update, norm);  // the square of a norm may not be a number
        size = std::hypot(size, probe.norms[m]);
      }
      if (!known) continue;
      cosines[k][n] = cosine(dot, update, size);
      along.add(probe.sign * cosines[k][n]);
      share.add(probe.sign * coefficient(dot, size));
    }
    columns[1][n] = along.mean();
    columns[2][n] = along.largest();
    columns[3][n] = share.mean();
  }
  if (zoo.bank.ids.empty()) return;
  const auto calibrated = metrics::calibrate(cosines, zoo.ids, zoo.bank);
  for (std::size_t n = 0; n < calibrated.size(); ++n) {
    columns[0][n] = calibrated[n].deviation;
    columns[4][n] = calibrated[n].p;
  }
}

}  // namespace

constinit const Method kProbe{.name = "probe",
                              .what = "how far an update runs along updates or gradients of known effect",
                              .source = "ours; jobs/lab/README.md",
                              .sums = kUpdateSums | kProbeSums,
                              .columns = kColumns,
                              .over_zoo = datasets_of,
                              .adapter_columns = kAdapterColumns,
                              .of_adapters = adapters_of};

}  // namespace winnow::methods
