#include "winnow/report/ablated_module.hpp"

#include "winnow/methods/table.hpp"

namespace winnow::report {

std::optional<std::size_t> ablated_module(const Report& report, std::size_t n) {
  const auto* ablation = report.find_metric("ablation");
  if (ablation == nullptr) return std::nullopt;
  const auto modules = report.modules.size();
  const auto* of_adapter = ablation->values.data() + n * modules;
  std::optional<std::size_t> worst;
  for (std::size_t m = 0; m < modules; ++m) {
    if (of_adapter[m] >= methods::kAblated && (!worst || of_adapter[m] > of_adapter[*worst])) worst = m;
  }
  return worst;
}

}  // namespace winnow::report
