#include "module_rows.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <string>
#include <utility>

#include "metric_table.hpp"
#include "module_warnings.hpp"
#include "winnow/base/error.hpp"
#include "winnow/compute/range.hpp"
#include "winnow/input/module_names.hpp"
#include "winnow/methods/layer.hpp"

namespace winnow::judge {
namespace {

using base::Error;
using base::ErrorKind;
using input::Inputs;
using methods::kUndefined;
using score::ModuleScore;
using score::Scores;

/// Modules whose passes contradict each other, with the adapter that shows it most.
void flag_disagreements(const Inputs& inputs, const Scores& scores, std::uint32_t sums,
                        std::vector<report::ModuleRow>& rows, ModuleWarnings& warnings) {
  struct Disagreement {
    double found = 0, bound = 0;
    std::uint32_t adapter = 0;
    double times() const {
      const double excess = found / bound;
      return std::isnan(excess) ? std::numeric_limits<double>::infinity() : excess;
    }
  };
  const auto found = position_of("pass_discrepancy", sums), bound = position_of("pass_discrepancy_bound", sums);
  std::map<std::size_t, std::vector<Disagreement>> by_module;
  for (const auto& layer : scores.layers) {
    const auto& task = inputs.tasks[layer.module];
    if (!task.has_base() || inputs.is_dense(task)) continue;
    if (bound >= layer.values.size() || layer.values[found] <= layer.values[bound]) continue;  // not so for a NaN
    by_module[layer.module].push_back({layer.values[found], layer.values[bound], layer.adapter});
  }
  for (const auto& [module, all] : by_module) {
    rows.at(inputs.module_of[module]).flags |= report::kPassesDisagree;
    const auto& worst = *std::max_element(all.begin(), all.end(), [](const auto& a, const auto& b) {
      return std::pair(a.times(), b.adapter) < std::pair(b.times(), a.adapter);  // of equals the first adapter
    });
    warnings.add(
        "disagree", module,
        fmt::format("the two passes over {} disagree by {:.3g}, rounding explains {:.3g}, for {} of its adapters, "
                    "most of all {}: do not trust their scores there; run again on another node or device, and "
                    "report it if it comes back",
                    inputs.tasks[module].weight, worst.found, worst.bound, all.size(),
                    inputs.adapters[worst.adapter].name));
  }
}

/// A direction says nothing if it holds what cannot be computed with: a tensor of a task, by its number. `source` is
/// the direction's.
void tell_of_unusable_direction(const Inputs& inputs, const ModuleScore& score, std::uint32_t operand,
                                std::uint32_t source, const stats::UnusableWeight& unusable, ModuleWarnings& warnings) {
  const auto& task = inputs.tasks[score.module];
  const auto& path = inputs.shard_of(task, operand).path;
  if (!unusable.found) {
    warnings.add(fmt::format("small direction {}", source), score.module,
                 fmt::format("a direction is too small to compute with, no adapter is compared there: {}, tensor {}; "
                             "its norm is below {:.3g}",
                             path, task.weight, compute::kSmallestDirection));
    return;
  }
  warnings.add(fmt::format("direction {}", source), score.module,
               fmt::format("a value of {:.3g} cannot be computed with, no adapter is compared there: {}, tensor {}, "
                           "row {}, column {}",
                           unusable.value, path, task.weight, unusable.element / task.columns(),
                           unusable.element % task.columns()));
}

/// Of all directions of a task.
void tell_of_unusable_directions(const Inputs& inputs, const ModuleScore& score, ModuleWarnings& warnings) {
  const auto& task = inputs.tasks[score.module];
  if (inputs.is_direction(task) && std::isnan(score.norms.at(0))) {
    tell_of_unusable_direction(inputs, score, 1, task.source, score.unusable, warnings);
  }
  for (std::size_t k = 0; k < score.further.size(); ++k) {
    const auto source = task.further.at(k).source;
    if (!std::isnan(score.norms.at(source - 1))) continue;
    tell_of_unusable_direction(inputs, score, static_cast<std::uint32_t>(k) + 2, source, score.further[k].unusable,
                               warnings);
  }
}

/// A module that has dense updates alone is a kind of its own: it must not rename the others.
std::vector<std::string> roles_of(const Inputs& inputs, const std::vector<std::string>& names) {
  std::vector<bool> low_rank(names.size());
  for (std::size_t m = 0; m < names.size(); ++m) low_rank[m] = !inputs.is_dense_alone(m);
  return input::roles_beside(names, low_rank);
}

}  // namespace

std::vector<report::ModuleRow> module_rows(const Inputs& inputs, const Scores& scores, std::uint32_t sums,
                                           const base::Log& log) {
  std::vector<std::string> names;
  for (const auto first : inputs.first_task) names.push_back(inputs.tasks[first].name);
  const auto roles = roles_of(inputs, names);
  std::vector<report::ModuleRow> rows(names.size());
  ModuleWarnings warnings;
  for (std::size_t m = 0; m < rows.size(); ++m) {
    const auto& task = inputs.tasks[inputs.first_task[m]];
    rows[m] = {names[m], roles[m], input::layer_of(names[m]), task.out_features, task.in_features, kUndefined, 0};
  }
  for (const auto& score : scores.modules) {
    const auto& task = inputs.tasks[score.module];
    const auto module = inputs.module_of[score.module];
    const bool dense_alone = inputs.is_dense_alone(module);  // otherwise LoRA on the module has told all this
    if (!inputs.is_dense(task) || dense_alone) tell_of_unusable_directions(inputs, score, warnings);
    if (!inputs.is_of_checkpoint(task) && !dense_alone) continue;
    auto& row = rows.at(module);
    if (task.has_base()) row.base_digest = score.base.text();
    row.aligned_digest = score.aligned.text();
    if (const auto& weight = score.unusable; weight.found) {
      const bool finite = std::isfinite(weight.value);
      row.flags |= finite ? report::kOutOfRange : report::kNonFinite;
      const auto what = finite ? fmt::format("a weight of {:.3g} is out of range ({} {:.3g})", weight.value,
                                             task.has_base() ? "base and aligned may differ by" : "at most",
                                             compute::kLargestDifference)
                               : "a weight is NaN or infinite";
      warnings.add(finite ? "range" : "finite", score.module,
                   fmt::format("{}, the module is not scored: {}, tensor {}, row {}, column {}", what,
                               inputs.shard_of(task, weight.in_aligned).path, task.weight,
                               weight.element / task.columns(), weight.element % task.columns()));
      continue;
    }
    const auto first_norm = dense_alone ? inputs.probes.size() : 0;
    const double weight_norm = score.norms.at(first_norm + 1);
    if ((sums & methods::kWeightSums) != 0 && !compute::step_in_range(weight_norm)) {
      row.flags |= report::kOutOfRange;
      warnings.add(
          "small weight", score.module,
          fmt::format("the weight {} is too small to compute with, the module is not scored: its norm is {:.3g}, "
                      "expected 0 or at least {:.3g}",
                      task.weight, weight_norm, compute::kSmallestStep));
    }
    if (!task.has_base()) continue;
    row.alignment_norm = score.norms.at(first_norm);
    if (row.alignment_norm == 0) row.flags |= report::kNoAlignmentSignal;
    if (!compute::step_in_range(row.alignment_norm)) {
      row.flags |= report::kOutOfRange;
      warnings.add(
          "small step", score.module,
          fmt::format("the alignment step of {} is too small to compute with, the module is not scored: its norm "
                      "is {:.3g}, expected 0 or at least {:.3g}",
                      task.weight, row.alignment_norm, compute::kSmallestStep));
    }
  }
  if (inputs.has_pair()) flag_disagreements(inputs, scores, sums, rows, warnings);
  warnings.tell(log);
  if (!inputs.has_pair()) return rows;
  bool signal = rows.empty();
  for (std::size_t m = 0; m < rows.size(); ++m) {
    const bool has_step = !inputs.is_dense_alone(m) || inputs.tasks[inputs.first_task[m]].has_base();
    signal |= has_step && (rows[m].flags & report::kNoAlignmentSignal) == 0;
  }
  if (!signal) {
    throw Error(ErrorKind::invalid_input, "the two checkpoints do not differ in any module of the adapters")
        .file(inputs.aligned.directory)
        .expected(fmt::format("the model after alignment, found the weights of {}", inputs.base.directory))
        .advice("is one of them a copy of the other?");
  }
  return rows;
}

}  // namespace winnow::judge
