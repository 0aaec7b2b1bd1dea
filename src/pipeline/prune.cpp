#include "winnow/pipeline/prune.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>

#include "winnow/adapter/adapter.hpp"
#include "winnow/adapter/treatment.hpp"
#include "winnow/base/error.hpp"
#include "winnow/judge/select_over_zoo.hpp"
#include "winnow/methods/table.hpp"
#include "winnow/select/selection.hpp"

namespace winnow::pipeline {
namespace {

using base::Error;
using base::ErrorKind;

constexpr std::string_view kNone = "none, ";  // the first of select::kPolicyForms

/// Whether the module is in the report for whole weights alone.
bool is_dense_alone(const report::Report& report, std::size_t module) {
  bool dense = false;
  for (std::size_t n = 0; n < report.adapters.size(); ++n) {
    if (report.is_present(n, module)) return false;
    dense |= report.presence(n, module) == report::Presence::dense;
  }
  return dense;
}

/// The report's modules as a catalogue, so that names are matched by the very rules of an audit. A head of which the
/// report has whole weights alone would hide the embedding that LoRA on it was compared with.
checkpoint::Catalogue catalogue_of(const report::Report& report) {
  checkpoint::Catalogue catalogue;
  catalogue.shards.push_back({"the report", 0, {}});
  for (std::size_t m = 0; m < report.modules.size(); ++m) {
    if (is_dense_alone(report, m)) continue;
    const auto& module = report.modules[m];
    checkpoint::TensorLocation location;
    location.shape = {module.out_features, module.in_features};
    location.bytes = module.out_features * module.in_features * base::element_bytes(location.dtype);
    catalogue.tensors.emplace(module.name + ".weight", std::move(location));
  }
  return catalogue;
}

std::size_t adapter_row(const report::Report& report, const adapter::Adapter& adapter) {
  for (std::size_t n = 0; n < report.adapters.size(); ++n) {
    const auto& row = report.adapters[n];
    if (row.sha256 != adapter.sha256) continue;
    if (row.status == "ok") return n;
    throw Error(ErrorKind::invalid_input, fmt::format("the report quarantined this adapter: {}", row.reason))
        .file(adapter.path);
  }
  throw Error(ErrorKind::invalid_input, "the report does not know this adapter")
      .file(adapter.weights_file)
      .expected("the very file that was audited (compared by SHA-256)")
      .advice("audit it first, or name the adapter the report was made of");
}

/// What was judged as the dense updates of DoRA has no factors that could be taken out.
void require_low_rank(const report::Report& report, std::size_t n, const std::string& path) {
  bool dense = false;
  for (std::size_t m = 0; m < report.modules.size(); ++m) {
    if (report.is_present(n, m)) return;
    dense |= report.presence(n, m) == report::Presence::dense;
  }
  if (!dense) return;
  throw Error(ErrorKind::invalid_input, fmt::format("the adapter cannot be repaired: {}", adapter::dora_reason()))
      .file(path);
}

std::vector<report::Action> select_anew(const report::Report& report, std::size_t adapter, const std::string& policy,
                                        const std::string& rank_by, select::Scope scope, const base::Log& log) {
  const auto* metric = report.find_metric(rank_by);
  if (metric == nullptr || methods::sense_of(rank_by) == methods::Sense::none) {
    std::vector<std::string_view> known;
    for (const auto& candidate : report.metrics) {
      if (methods::sense_of(candidate.name) != methods::Sense::none) known.emplace_back(candidate.name);
    }
    throw Error(ErrorKind::usage,
                metric == nullptr ? fmt::format("--rank-by {} is not in the report", rank_by)
                                  : fmt::format("--rank-by {}: it describes, and cannot tell which is worse", rank_by))
        .expected(fmt::format("one of {}", fmt::join(known, ", ")))
        .advice(methods::nearest(rank_by, known));
  }
  const auto modules = report.modules.size();
  const auto scores = std::span(metric->values).subspan(adapter * modules, modules);
  std::vector<std::string> names;
  std::vector<bool> present;
  for (std::size_t m = 0; m < modules; ++m) {
    names.push_back(report.modules[m].name);
    present.push_back(report.is_present(adapter, m));
  }
  const auto parsed = select::parse_policy(policy);
  const auto selection = select::select(scores, present, names, parsed, methods::sense_of(rank_by));
  if (!selection.unscored.empty()) {
    log.warn(fmt::format("{} modules could not be scored by {}: not judged and not pruned, the first is {}",
                         selection.unscored.size(), rank_by, names[selection.unscored.front()]));
  }
  if (scope == select::Scope::adapter) return selection.action;
  const auto all = judge::select_over_zoo(report, rank_by, parsed);
  const auto first = all.begin() + static_cast<std::ptrdiff_t>(adapter * modules);
  return {first, first + static_cast<std::ptrdiff_t>(modules)};
}

}  // namespace

std::vector<std::string> modules_to_prune(const report::Report& report, const std::string& directory, const Anew& anew,
                                          const base::Log& log) {
  const auto opened = adapter::open_adapter(directory, catalogue_of(report), {},
                                            {.allow_dora = true, .whole_model = false}, base::Log{});
  if (opened.sha256.empty()) throw Error(ErrorKind::invalid_input, opened.reason);
  const auto n = adapter_row(report, opened);
  require_low_rank(report, n, directory);
  if (opened.status != adapter::AdapterStatus::ok) throw Error(ErrorKind::invalid_input, opened.reason);
  const auto modules = report.modules.size();
  std::vector<report::Action> actions(report.action.begin() + static_cast<std::ptrdiff_t>(n * modules),
                                      report.action.begin() + static_cast<std::ptrdiff_t>((n + 1) * modules));
  if (!anew.select && select::parse_policy(report.policy).kind == select::Policy::Kind::none) {
    throw Error(ErrorKind::usage, "the report selects nothing: its audit was not asked to")
        .advice(fmt::format("add --select {}", select::kPolicyForms.substr(kNone.size())));
  }
  if (anew.select || anew.rank_by || anew.scope) {
    actions = select_anew(report, n, anew.select.value_or(report.policy), anew.rank_by.value_or(report.rank_by),
                          select::parse_scope(anew.scope.value_or(report.scope)), log);
  }
  std::map<std::string_view, std::string_view> adapter_name;
  for (const auto& lora : opened.modules) adapter_name[lora.module()] = lora.adapter_module();
  std::vector<std::string> pruned;
  for (std::size_t m = 0; m < modules; ++m) {
    if (actions[m] != report::Action::prune) continue;
    pruned.emplace_back(adapter_name.at(report.modules[m].name));
  }
  return pruned;
}

}  // namespace winnow::pipeline
