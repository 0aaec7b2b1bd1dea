// How far an update runs along probes, whose effect is known. Per module and per adapter, over all probes: a probe that
// is safe counts with the opposite sign, so that high is worse throughout.
//
// A probe's size says nothing (a gradient has that of its loss), so what is added up over modules is measured along the
// probe at length 1 over the modules that adapter and probe share:
//
//     probe_dot            <dW, D> of the module / ||D||; their sum over ||dW|| is the adapter's probe_cosine
//     probe_cosine         <dW, D>/(||dW||*||D||), all of the module
//     probe_coefficient    <dW, D>/||D||^2, all of the module: how much of the probe is in the update
//     probe_pull           <dW, D>/sqrt(||dW||) of the adapter, D of length 1 over the modules of the zoo: it ranks
//                          adapters. Random factors stacked on an adapter make its cosine small and leave what it does
//                          as it is, and an adapter of few modules has a large cosine by chance (jobs/lab/README.md,
//                          "Ranked by pulls")
//     probe_share          ||U^T*dW*V||/||dW||, U and V the 4 leading singular vectors of D: without a sign, so that an
//                          update that turns against the probe within them does not hide there. Of probes that are
//                          adapters
//
// With a bank of harmless adapters pulls are calibrated: a probe that all of them run along a little says no more
// than one that none does, and an update that avoids a probe is as unusual as one that follows it.
//
// Of an adapter only modules count that probe and adapter share, but for the length of D in a pull. Several probes:
// mean, and for the cosine the maximum.
#include <algorithm>
#include <array>
#include <cmath>

#include "methods.hpp"
#include "winnow/metrics/alongside.hpp"

namespace winnow::methods {
namespace {

constexpr std::array<Column, 5> kColumns{{
    {.name = "probe_dot",
     .title = "projection on the probes",
     .long_name = "<dW, D>/||D|| of the module, D of length 1 over the modules of both; mean over probes",
     .sense = Sense::high_is_worse,
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
    {.name = "probe_share",
     .title = "share between the probes' leading directions",
     .long_name =
         "||U^T dW V||/||dW||, U and V the 4 leading singular vectors of a probe that is an adapter; mean over "
         "probes",
     .sense = Sense::high_is_worse,
     .form = Form::share},
}};

constexpr std::array<AdapterColumn, 5> kAdapterColumns{{
    {.name = "probe_pull",
     .long_name = "<dW, D>/sqrt(||dW||), D of length 1 over the modules of all adapters; mean over probes"},
    {.name = "probe_cosine",
     .long_name = "cosine between dW and the probe over all modules that both have; mean over probes"},
    {.name = "probe_cosine_max", .long_name = "the same, maximum over probes"},
    {.name = "probe_coefficient", .long_name = "<dW, D>/||D||^2 over all modules that both have; mean over probes"},
    {.name = "probe_share", .long_name = "||U^T dW V||/||dW|| over all modules that both have; mean over probes"},
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

/// What an adapter has in common with a probe, over modules [first, first + count).
metrics::Alongside along_probe(const Zoo& zoo, const ProbeProducts& probe, std::size_t adapter, std::size_t first,
                               std::size_t count) {
  const auto cell = adapter * zoo.layout.modules + first;
  return metrics::alongside(std::span(probe.dots).subspan(cell, count),
                            std::span(zoo.dataset("update_norm")).subspan(cell, count),
                            std::span(probe.norms).subspan(first, count));
}

/// The share of what an adapter has in modules [first, first + count) that lies between a probe's leading singular
/// vectors, of those modules that both have. NaN if there is none.
double share_of(const Zoo& zoo, const ProbeProducts& probe, std::size_t adapter, std::size_t first, std::size_t count) {
  if (probe.blocks.empty()) return kUndefined;
  const auto& norms = zoo.dataset("update_norm");
  double inside = 0, whole = 0;
  bool known = false;
  for (auto m = first; m < first + count; ++m) {
    const auto cell = adapter * zoo.layout.modules + m;
    const double block = probe.blocks[cell], norm = norms[cell];
    if (std::isnan(block) || std::isnan(norm)) continue;
    known = true;
    inside = std::hypot(inside, block);
    whole = std::hypot(whole, norm);
  }
  if (!known) return kUndefined;
  return whole > 0 ? inside / whole : 0;
}

void datasets_of(const Zoo& zoo, std::span<std::vector<double>> columns) {
  const auto modules = zoo.layout.modules;
  for (std::size_t n = 0; n < zoo.layout.adapters; ++n) {
    std::vector<metrics::Alongside> wholes;
    for (const auto& probe : zoo.probes) wholes.push_back(along_probe(zoo, probe, n, 0, modules));
    for (std::size_t m = 0; m < modules; ++m) {
      Summary dot, cosine, coefficient, share;
      for (std::size_t k = 0; k < zoo.probes.size(); ++k) {
        const auto& probe = zoo.probes[k];
        const auto here = along_probe(zoo, probe, n, m, 1);
        share.add(probe.sign * share_of(zoo, probe, n, m, 1));
        if (!here.known) continue;
        dot.add(wholes[k].other == 0 ? 0 : probe.sign * here.dot / wholes[k].other);
        cosine.add(probe.sign * here.cosine());
        coefficient.add(probe.sign * here.coefficient());
      }
      const auto cell = n * modules + m;
      columns[0][cell] = dot.mean();
      columns[1][cell] = cosine.mean();
      columns[2][cell] = cosine.largest();
      columns[3][cell] = coefficient.mean();
      columns[4][cell] = share.mean();
    }
  }
}

void adapters_of(const Zoo& zoo, std::span<std::vector<double>> columns) {
  std::vector<double> lengths;
  for (const auto& probe : zoo.probes) lengths.push_back(metrics::whole_norm(probe.norms));
  for (std::size_t n = 0; n < zoo.layout.adapters; ++n) {
    Summary pull, cosine, coefficient, share;
    for (std::size_t k = 0; k < zoo.probes.size(); ++k) {
      const auto& probe = zoo.probes[k];
      const auto whole = along_probe(zoo, probe, n, 0, zoo.layout.modules);
      pull.add(lengths[k] > 0 ? probe.sign * whole.pull() / lengths[k] : whole.pull());
      cosine.add(probe.sign * whole.cosine());
      coefficient.add(probe.sign * whole.coefficient());
      share.add(probe.sign * share_of(zoo, probe, n, 0, zoo.layout.modules));
    }
    columns[0][n] = pull.mean();
    columns[1][n] = cosine.mean();
    columns[2][n] = cosine.largest();
    columns[3][n] = coefficient.mean();
    columns[4][n] = share.mean();
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
