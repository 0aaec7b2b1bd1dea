#include "winnow/report/in_toto.hpp"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>
#include <vector>

#include "facts.hpp"
#include "winnow/base/error.hpp"
#include "winnow/base/sha256.hpp"

namespace winnow::report {
namespace {

using Json = nlohmann::ordered_json;

/// Attributes of a report that are options, or what the program chose if an option left it open, and on which bits
/// of the result depend.
constexpr std::array<const char*, 9> kDecisive{"scaling", "dora",   "seed",      "subspace_rank", "repair",
                                               "backend", "device", "precision", "team"};

Json options(const Report& report) {
  Json all = Json::object();
  for (const auto* name : kDecisive) {
    const auto found = report.attributes.find(name);
    if (found == report.attributes.end()) continue;
    std::visit([&](const auto& value) { all[name] = value; }, found->second);
  }
  all["rank_by"] = report.rank_by;
  all["select"] = report.policy;
  all["scope"] = report.scope;
  all["population"] = report.population;
  if (!report.verdicts.empty()) all["fdr"] = report.false_discovery_rate;
  auto& metrics = all["metrics"] = Json::array();
  for (const auto& metric : report.metrics) metrics.push_back(metric.name);
  return all;
}

/// A ResourceDescriptor must have a digest: what has none is left out.
void add_input(Json& inputs, std::string_view name, const std::vector<std::pair<const char*, std::string>>& digests,
               Json annotations) {
  auto digest = Json::object();
  for (const auto& [algorithm, value] : digests) {
    if (!value.empty()) digest[algorithm] = value;
  }
  if (digest.empty()) return;
  inputs.push_back({{"name", name}, {"digest", std::move(digest)}, {"annotations", std::move(annotations)}});
}

/// Of the tensors of one checkpoint; empty if the report has no digest of any.
std::string tensors_digest(const Report& report, std::string ModuleRow::*digest) {
  constexpr std::string_view kNul("\0", 1);
  base::Sha256 hash;
  bool is_any = false;
  for (const auto& module : report.modules) {
    if ((module.*digest).empty()) continue;
    is_any = true;
    for (const std::string_view part : {std::string_view(module.name), kNul, std::string_view(module.*digest), kNul}) {
      hash.update(part);
    }
  }
  return is_any ? hash.finish() : std::string();
}

void add_checkpoint(Json& inputs, const Report& report, const std::string& role, std::string ModuleRow::*digest) {
  if (!has_checkpoint(report, role)) return;
  const auto text = [&](const std::string& name) { return text_attribute(report, name.c_str()); };
  add_input(inputs, role,
            {{"winnowHeaders", text(role + "_fingerprint")},
             {"winnowSamples", text(role + "_sample")},
             {"winnowTensors", tensors_digest(report, digest)}},
            {{"role", role}, {"path", text(role)}});
}

void add_adapters(Json& inputs, const Report& report) {
  for (std::size_t n = 0; n < report.adapters.size(); ++n) {
    const auto& row = report.adapters[n];
    Json annotations{{"role", "adapter"}, {"path", row.path}, {"status", row.status}};
    if (!report.verdicts.empty()) annotations["verdict"] = verdict::name(report.verdicts[n].verdict);
    add_input(inputs, row.name,
              {{"sha256", is_sha256(row.sha256) ? row.sha256 : std::string()}, {"winnowUpdate", row.digest}},
              std::move(annotations));
  }
}

Json inputs(const Report& report) {
  auto all = Json::array();
  add_checkpoint(all, report, "base", &ModuleRow::base_digest);
  add_checkpoint(all, report, "aligned", &ModuleRow::aligned_digest);
  add_adapters(all, report);
  for (const auto& probe : report.probes) {
    add_input(all, probe.name, {{probe.form == "direction" ? "winnowHeadersAndSamples" : "winnowUpdate", probe.digest}},
              {{"role", "probe"}, {"effect", probe.effect}, {"form", probe.form}, {"path", probe.path}});
  }
  for (const auto& member : report.bank) {
    add_input(all, member.name, {{"winnowUpdate", member.digest}}, {{"role", "bank"}});
  }
  return all;
}

Json result(const ReportFile& file) {
  const auto& report = file.report;
  std::size_t quarantined = 0;
  for (const auto& row : report.adapters) quarantined += row.status == "ok" ? 0 : 1;
  Json all{{"digest", {{"winnowSeal", file.seal}}}, {"adapters", report.adapters.size()}, {"quarantined", quarantined}};
  if (report.verdicts.empty()) return all;
  auto& counts = all["verdicts"];
  for (const auto kind : verdict::kVerdicts) {
    counts[std::string(verdict::name(kind))] = std::count_if(report.verdicts.begin(), report.verdicts.end(),
                                                             [&](const auto& one) { return one.verdict == kind; });
  }
  return all;
}

}  // namespace

std::string render_in_toto(const ReportFile& file) {
  const auto& report = file.report;
  if (file.seal.empty()) {
    throw base::Error(base::ErrorKind::invalid_input, "the report has no seal, so there is nothing to vouch for")
        .expected("a report that is as winnow wrote it")
        .advice("another program has written to it, or an earlier version made it: audit again");
  }
  Json program{{"name", "winnow"},
               {"version", text_attribute(report, "winnow_version")},
               {"revision", text_attribute(report, "git_sha")}};
  Json predicate{{"program", std::move(program)}, {"command", text_attribute(report, "command_line")}};
  if (auto time = creation_time(report); !time.empty()) predicate["finished"] = std::move(time);
  predicate["options"] = options(report);
  predicate["inputs"] = inputs(report);
  predicate["result"] = result(file);
  const Json statement{{"_type", kInTotoStatement},
                       {"subject", Json::array({{{"name", "report"}, {"digest", {{"sha256", file.sha256}}}}})},
                       {"predicateType", kInTotoPredicate},
                       {"predicate", std::move(predicate)}};
  return statement.dump(1, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace winnow::report
