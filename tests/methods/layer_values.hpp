// Values of one layer by the name of their dataset.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>

#include "winnow/methods/table.hpp"

namespace winnow::test {

class LayerValues {
 public:
  LayerValues(const stats::LayerStatistics& sums, std::span<const double> gram_a, const methods::Scale& scale,
              std::uint64_t out_features, std::uint64_t in_features, double f, const metrics::SafetySubspace* subspace,
              const stats::LayerStatistics* of_weight = nullptr, double weight_norm = methods::kUndefined,
              const stats::ModuleStatistics* weight_sketch = nullptr) {
    const auto chosen = methods::chosen(~std::uint32_t{0});
    const methods::ModuleFacts module{out_features, in_features,  f, subspace, methods::kFloat32,
                                      weight_norm,  weight_sketch};
    const auto values =
        methods::layer_values(chosen, methods::Layer(module, sums, gram_a, scale, {.of_weight = of_weight}));
    const auto columns = methods::layer_columns(chosen);
    for (std::size_t k = 0; k < columns.size(); ++k) values_[std::string(columns[k]->name)] = values.at(k);
  }
  double operator[](const char* dataset) const { return values_.at(dataset); }

 private:
  std::map<std::string, double> values_;
};

}  // namespace winnow::test
