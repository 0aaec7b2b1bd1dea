#include "adapter_rows.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <string>
#include <string_view>

#include "module_warnings.hpp"
#include "winnow/adapter/keys.hpp"
#include "winnow/base/error.hpp"

namespace winnow::judge {
namespace {

using base::Error;
using base::ErrorKind;
using input::Inputs;
using score::LayerScore;
using score::Scores;

using NamesByReason = std::map<std::string_view, std::vector<std::string_view>>;

std::string text_of(const NamesByReason& by_reason) {
  std::string text;
  for (const auto& [reason, names] : by_reason) {
    text += fmt::format("{}{}: {}", text.empty() ? "" : "; ", reason, fmt::join(names, ", "));
  }
  return text;
}

/// By reason, since all modules of a part that is not in the checkpoint have the same.
std::string unjudged_text(const adapter::Adapter& adapter) {
  NamesByReason by_reason;
  for (const auto& module : adapter.unjudged) by_reason[module.reason].push_back(module.module);
  return text_of(by_reason);
}

/// Whole weights, biases and the like, which serve with the adapter as well. Factors of a module that is not judged are
/// counted as that.
void add_skipped_tensors(const adapter::Adapter& adapter, report::AdapterRow& row) {
  NamesByReason by_reason;
  for (const auto& tensor : adapter.skipped) {
    const auto module = adapter::parse_adapter_key(tensor.key).module;
    if (std::ranges::binary_search(adapter.unjudged, module, {}, &adapter::UnjudgedModule::module)) continue;
    ++row.tensors_not_judged;
    by_reason[tensor.reason].push_back(tensor.key);
  }
  row.tensors_skipped = text_of(by_reason);
}

bool has_score(const LayerScore& layer) {
  const auto known = [](double value) { return !std::isnan(value); };
  return layer.fault.empty() && (!layer.values.empty() || std::any_of(layer.dots.begin(), layer.dots.end(), known));
}

/// Those of the factors, or of the whole weight, of each module that got a score of any kind, once.
void count_judged_parameters(const Inputs& inputs, const Scores& scores, std::vector<report::AdapterRow>& rows) {
  const auto modules = inputs.first_task.size();
  std::vector<bool> counted(rows.size() * modules);
  for (const auto& layer : scores.layers) {
    if (!has_score(layer)) continue;
    auto seen = counted[layer.adapter * modules + inputs.module_of[layer.module]];
    if (seen) continue;
    seen = true;
    const auto& layers = inputs.layers[layer.module];
    const auto place = std::ranges::lower_bound(layers, layer.adapter, {}, &input::LayerRef::adapter);
    if (inputs.is_dense(inputs.tasks[layer.module])) {
      rows[layer.adapter].parameters_judged += inputs.dense(*place).parameters();
      continue;
    }
    const auto& lora = inputs.lora(*place);
    rows[layer.adapter].parameters_judged += lora.rank * (lora.out_features + (lora.shares_a ? 0 : lora.in_features));
  }
}

}  // namespace

std::vector<report::AdapterRow> adapter_rows(const Inputs& inputs, const Scores& scores, bool strict,
                                             const base::Log& log) {
  std::vector<report::AdapterRow> rows;
  for (const auto& adapter : inputs.adapters) {
    const bool ok = adapter.status == adapter::AdapterStatus::ok;
    rows.push_back({adapter.name, adapter.path, ok ? "ok" : "quarantined", adapter.reason, adapter.rank, adapter.alpha,
                    adapter.scale, adapter.sha256, adapter.unjudged.size(), unjudged_text(adapter)});
    add_skipped_tensors(adapter, rows.back());
    rows.back().digest = adapter.digest;
    rows.back().parameters = adapter.parameters;
    if (ok) rows.back().parameters_judged = adapter.unchanged;
    rows.back().base_model = adapter.base_model;
  }
  count_judged_parameters(inputs, scores, rows);
  // The fault on the first module, whichever rank found it. How many more have one is told of faults that are the
  // adapter's: a file that cannot be read is given up at once.
  std::vector<const LayerScore*> faults(rows.size(), nullptr);
  std::vector<std::set<std::size_t>> at_fault(rows.size());
  for (const auto& layer : scores.layers) {
    if (layer.fault.empty()) continue;
    auto& first = faults[layer.adapter];
    if (first == nullptr || layer.module < first->module) first = &layer;
    if (!layer.unreadable) at_fault[layer.adapter].insert(inputs.module_of[layer.module]);
  }
  for (std::size_t n = 0; n < rows.size(); ++n) {
    if (faults[n] == nullptr) continue;
    if (strict) {
      throw Error(ErrorKind::invalid_input, faults[n]->fault)
          .file(inputs.adapters[n].weights_file)
          .advice("leave out --strict to quarantine it and score the rest");
    }
    rows[n].status = "quarantined";
    rows[n].reason = faults[n]->fault;
    if (!faults[n]->unreadable) rows[n].reason += ModuleWarnings::more_modules(at_fault[n].size() - 1);
    rows[n].modules_not_judged = 0;
    rows[n].not_judged.clear();
    rows[n].tensors_not_judged = 0;
    rows[n].tensors_skipped.clear();
    rows[n].parameters_judged = 0;
    log.warn(fmt::format("adapter {} is quarantined: {}", rows[n].name, rows[n].reason));
  }
  return rows;
}

}  // namespace winnow::judge
