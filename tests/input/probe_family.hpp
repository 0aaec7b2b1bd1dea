// The tiny family with directions and probe adapters, and every number of probes from dense matrices.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "input/tiny_family.hpp"
#include "winnow/report/report.hpp"

namespace winnow::test {

/// A dense matrix of a module in double, row by row; empty if there is none.
using Dense = std::vector<double>;

inline double inner(const Dense& x, const Dense& y) {
  double sum = 0;
  for (std::size_t k = 0; k < x.size(); ++k) sum += x[k] * y[k];
  return sum;
}

/// scale * B * A of one module of an adapter.
inline Dense update_of(const Tensors& tensors, int layer, double scale = 2) {
  const auto a = tensors.find(TinyFamily::key(layer, "lora_A")), b = tensors.find(TinyFamily::key(layer, "lora_B"));
  if (a == tensors.end() || b == tensors.end()) return {};
  const auto &left = b->second, &right = a->second;
  Dense update(left.rows * right.columns, 0.0);
  for (std::uint64_t o = 0; o < left.rows; ++o) {
    for (std::uint64_t r = 0; r < right.rows; ++r) {
      for (std::uint64_t i = 0; i < right.columns; ++i) {
        update[o * right.columns + i] += scale * static_cast<double>(left.values[o * left.columns + r]) *
                                         static_cast<double>(right.values[r * right.columns + i]);
      }
    }
  }
  return update;
}

/// Two directions, of a pair of adapters two probes and three adapters of a zoo.
class ProbeFamily : public TinyFamily {
 public:
  ProbeFamily() {
    for (unsigned k = 0; k < 2; ++k) {
      for (int layer = 0; layer < kLayers; ++layer) {
        directions[k][weight(layer)] = Matrix::random(kOut, kIn, 300U + 100U * k + static_cast<unsigned>(layer));
      }
      probe_adapters[k] = adapter(20 + k);
    }
    for (unsigned n = 0; n < 3; ++n) zoo[n] = adapter(1 + n);
    // Not all on the same modules.
    for (const char* factor : {"lora_A", "lora_B"}) {
      zoo[1].erase(key(6, factor));
      probe_adapters[1].erase(key(3, factor));
    }
  }

  std::string write_direction(const std::string& name, const Tensors& tensors) const {
    std::filesystem::create_directories(directory / name);
    write_tensors(directory / (name + "/model.safetensors"), tensors);
    return directory / name;
  }

  /// Everything as it is now, written; which of the checkpoints, directions and probe adapters the run has.
  run::AuditOptions probe_options(bool pair, int of_directions = 2, int of_adapters = 2) const {
    std::vector<std::string> paths;
    for (int n = 0; n < 3; ++n) paths.push_back(write_adapter("zoo-" + std::to_string(n), zoo[n]));
    auto options = TinyFamily::options(paths);
    if (!pair) options.read.base = options.read.aligned = "";
    using probes::Effect;
    for (int k = 0; k < of_directions; ++k) {
      options.read.probes.push_back({k == 0 ? Effect::harmful : Effect::safe, probes::Form::direction,
                                     write_direction("direction-" + std::to_string(k), directions[k])});
    }
    for (int k = 0; k < of_adapters; ++k) {
      options.read.probes.push_back({k == 0 ? Effect::harmful : Effect::safe, probes::Form::adapter,
                                     write_adapter("probe-" + std::to_string(k), probe_adapters[k])});
    }
    return options;
  }

  Dense direction_of(int k, int layer) const {
    const auto found = directions[k].find(weight(layer));
    if (found == directions[k].end()) return {};
    return {found->second.values.begin(), found->second.values.end()};
  }

  Tensors directions[2], probe_adapters[2], zoo[3];
};

/// Every product of a report of all eight modules against dense matrices, relative to the norms.
inline void expect_products(const report::Report& report, const ProbeFamily& family, double tolerance = 1e-6) {
  const auto modules = report.modules.size(), adapters = report.adapters.size();
  ASSERT_EQ(modules, std::size_t{TinyFamily::kLayers});
  int direction = 0, adapter = 0;
  for (std::size_t k = 0; k < report.probes.size(); ++k) {
    const bool dense = report.probes[k].form == "direction";
    const int which = dense ? direction++ : adapter++;
    for (std::size_t m = 0; m < modules; ++m) {
      const int layer = static_cast<int>(m);
      const auto probe = dense ? family.direction_of(which, layer) : update_of(family.probe_adapters[which], layer);
      const double norm = report.probe_norms[k * modules + m], size = std::sqrt(inner(probe, probe));
      SCOPED_TRACE(report.probes[k].name + " in module " + std::to_string(m));
      if (probe.empty()) {
        EXPECT_TRUE(std::isnan(norm));
      } else {
        EXPECT_NEAR(norm, size, tolerance * size);
      }
      for (std::size_t n = 0; n < adapters; ++n) {
        const auto update = update_of(family.zoo[n], layer);
        const double dot = report.probe_dots[(k * adapters + n) * modules + m];
        if (probe.empty() || update.empty()) {
          EXPECT_TRUE(std::isnan(dot)) << n;
        } else {
          EXPECT_NEAR(dot, inner(probe, update), tolerance * size * std::sqrt(inner(update, update))) << n;
        }
      }
    }
  }
}

/// One number of an adapter over the modules that it shares with a probe, from dense matrices: its cosine.
inline double cosine_with(const ProbeFamily& family, bool dense, int which, int n) {
  double dot = 0, update_squares = 0, probe_squares = 0;
  for (int layer = 0; layer < TinyFamily::kLayers; ++layer) {
    const auto probe = dense ? family.direction_of(which, layer) : update_of(family.probe_adapters[which], layer);
    const auto update = update_of(family.zoo[n], layer);
    if (probe.empty() || update.empty()) continue;
    dot += inner(probe, update);
    update_squares += inner(update, update);
    probe_squares += inner(probe, probe);
  }
  return dot / std::sqrt(update_squares * probe_squares);
}

/// <dW, D>/sqrt(||dW||), the probe D of length 1 over all of its modules, which the zoo's adapters have.
inline double pull_with(const ProbeFamily& family, bool dense, int which, int n) {
  double dot = 0, update_squares = 0, probe_squares = 0;
  for (int layer = 0; layer < TinyFamily::kLayers; ++layer) {
    const auto probe = dense ? family.direction_of(which, layer) : update_of(family.probe_adapters[which], layer);
    const auto update = update_of(family.zoo[n], layer);
    if (!probe.empty()) probe_squares += inner(probe, probe);
    if (probe.empty() || update.empty()) continue;
    dot += inner(probe, update);
    update_squares += inner(update, update);
  }
  return dot / std::pow(update_squares, 0.25) / std::sqrt(probe_squares);
}

inline bool has_of_adapters(const report::Report& report, const std::string& name) {
  return std::any_of(report.of_adapters.begin(), report.of_adapters.end(),
                     [&](const report::Metric& metric) { return metric.name == name; });
}

inline const report::Metric& of_adapters(const report::Report& report, const std::string& name) {
  for (const auto& metric : report.of_adapters) {
    if (metric.name == name) return metric;
  }
  ADD_FAILURE() << "no number " << name << " of adapters";
  static const report::Metric none;
  return none;
}

}  // namespace winnow::test
