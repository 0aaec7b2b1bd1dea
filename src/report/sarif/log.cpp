#include <fmt/format.h>

#include <string_view>
#include <utility>

#include "../facts.hpp"
#include "../text.hpp"
#include "places.hpp"
#include "rules.hpp"
#include "winnow/base/sha256.hpp"
#include "winnow/report/adapter_summary.hpp"
#include "winnow/report/render.hpp"
#include "winnow/report/verdicts.hpp"

namespace winnow::report {
namespace {

using sarif::Json;
using sarif::Places;

constexpr const char* kSchema =
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json";
constexpr std::string_view kWeightsFile = "adapter_model.safetensors";

/// A message as SARIF reads it: braces stand for arguments (3.11.5) and [text](target) for a link (3.11.6), which a
/// name of a stranger shall not be.
Json message(std::string_view text) {
  const bool links = text.find("](") != std::string_view::npos;
  std::string escaped;
  for (const char c : base::printable(text)) {
    if (c == '{' || c == '}') escaped += c;
    if (links && (c == '[' || c == ']' || c == '\\')) escaped += '\\';
    escaped += c;
  }
  return {{"text", std::move(escaped)}};
}

Json plain(std::string_view text) { return {{"text", text}}; }

Json driver(const Report& report) {
  Json driver{{"name", "winnow"}};
  if (const auto version = text_attribute(report, "winnow_version"); !version.empty()) {
    driver["version"] = base::printable(version);
  }
  driver["shortDescription"] = plain("Audits LoRA adapters for lost safety alignment.");
  for (const auto& rule : sarif::kRules) {
    driver["rules"].push_back({{"id", rule.id},
                               {"name", rule.name},
                               {"shortDescription", plain(rule.summary)},
                               {"fullDescription", plain(rule.description)},
                               {"help", plain(rule.help)},
                               {"defaultConfiguration", {{"level", rule.level}}},
                               {"properties", {{"tags", {"security", "machine-learning"}}}}});
  }
  for (const auto& notice : sarif::kNotices) {
    driver["notifications"].push_back({{"id", notice.id},
                                       {"name", notice.name},
                                       {"shortDescription", plain(notice.summary)},
                                       {"defaultConfiguration", {{"level", notice.level}}}});
  }
  return driver;
}

Json notification(sarif::NoticeIndex index, std::string_view text) {
  const auto& notice = sarif::kNotices.at(index);
  return {{"descriptor", {{"id", notice.id}, {"index", index}}}, {"level", notice.level}, {"message", message(text)}};
}

Json invocation(const Report& report) {
  Json invocation{{"executionSuccessful", true}};
  if (const auto command = text_attribute(report, "command_line"); !command.empty()) {
    invocation["commandLine"] = command;
  }
  if (auto start = creation_time(report); !start.empty()) invocation["startTimeUtc"] = std::move(start);
  if (report.verdicts.empty()) {
    invocation["toolExecutionNotifications"] = {
        notification(sarif::kNothingJudged,
                     fmt::format("Nothing was judged: {}. The results are those adapters alone that could not be "
                                 "audited, or of which modules were selected; no result for an adapter does not mean "
                                 "that it passed.",
                                 verdict_summary(report)))};
  } else {
    invocation["toolExecutionNotifications"] = {
        notification(sarif::kClaim, fmt::format("{}; {}", verdict_summary(report), verdict_claim(report)))};
  }
  return invocation;
}

/// Of the weights; the directory itself if no weights could be read, which may have none.
Json location_of(const Places& places, const std::string& path, const AdapterRow& row) {
  return places.location(path, row.sha256.empty() ? std::string_view() : kWeightsFile);
}

Json artifact(Json location, const AdapterRow& row) {
  Json artifact{{"location", std::move(location)}, {"roles", {"analysisTarget"}}};
  if (!row.sha256.empty()) artifact["hashes"] = {{"sha-256", row.sha256}};
  return artifact;
}

/// The adapters in their order, then the copies.
Json artifacts(const Report& report, const Places& places) {
  auto all = Json::array();
  for (const auto& row : report.adapters) all.push_back(artifact(location_of(places, row.path, row), row));
  for (const auto& copy : report.copies) {
    const auto& row = report.adapters[copy.of];
    all.push_back(artifact(location_of(places, copy.path, row), row));
  }
  return all;
}

Json physical(Json location, std::size_t artifact) {
  location["index"] = artifact;
  return {{"physicalLocation", {{"artifactLocation", std::move(location)}}}};
}

/// The same every night for the same content: of two audits neither names nor places need agree.
std::string fingerprint(const AdapterRow& row, std::string_view rule) {
  const auto& content = !row.digest.empty() ? row.digest : !row.sha256.empty() ? row.sha256 : row.path;
  return base::sha256_hex(fmt::format("{} {}", rule, content));
}

/// What is known of all adapters, computed once.
struct Known {
  std::vector<AdapterSummary> summaries;
  Metric scores;
};

Json properties(const Report& report, std::size_t n, const Known& known) {
  const auto& row = report.adapters[n];
  const auto& summary = known.summaries[n];
  Json properties{{"adapter", row.name}, {"status", row.status}};
  if (!row.reason.empty()) properties["quarantineReason"] = row.reason;
  if (!report.verdicts.empty()) {
    properties["verdict"] = verdict::name(report.verdicts[n].verdict);
    properties["verdictReason"] = report.verdicts[n].reason;
    properties["falseDiscoveryRate"] = report.false_discovery_rate;
  }
  properties["score"] = known.scores.values[n];  // null if there is none
  properties["scoreMetric"] = known.scores.name;
  const auto* p = report.find_of_adapters("bank_p");
  properties["pValue"] = p == nullptr ? Json() : Json(p->values[n]);
  auto metrics = Json::object();
  for (const auto& metric : report.of_adapters) metrics[metric.name] = metric.values[n];
  properties["metrics"] = std::move(metrics);
  properties["modulesScored"] = summary.modules_scored;
  properties["worstModules"] = Json::array();
  for (const auto m : summary.worst_modules) properties["worstModules"].push_back(report.modules[m].name);
  if (!row.not_judged.empty()) properties["notJudged"] = row.not_judged;
  if (!row.tensors_skipped.empty()) properties["tensorsSkipped"] = row.tensors_skipped;
  return properties;
}

std::string what_is_found(const Report& report, std::size_t n, const Known& known) {
  const auto& row = report.adapters[n];
  const bool passed = report.verdicts.empty() || report.verdicts[n].verdict == verdict::Verdict::pass;
  if (passed && row.status == "ok") {
    const auto& summary = known.summaries[n];
    return fmt::format("{}: {} of {} modules selected by {} {}, the worst is {}", row.name, summary.modules_pruned,
                       summary.modules_scored, report.rank_by, report.policy,
                       summary.worst_modules.empty() ? "-" : report.modules[summary.worst_modules.front()].name);
  }
  if (report.verdicts.empty()) return fmt::format("{} is quarantined: {}", row.name, row.reason);
  const auto& judgement = report.verdicts[n];
  const auto quarantined = row.status == "ok" ? "" : fmt::format("quarantined ({}), ", row.reason);
  return fmt::format("{}: {}{}: {}", row.name, quarantined, verdict::name(judgement.verdict), judgement.reason);
}

Json results(const Report& report, const Places& places) {
  const Known known{summarise_adapters(report), adapter_scores(report)};
  std::vector<std::vector<std::size_t>> copies_of(report.adapters.size());
  for (std::size_t c = 0; c < report.copies.size(); ++c) copies_of[report.copies[c].of].push_back(c);
  const sarif::Findings findings(report);
  auto results = Json::array();
  for (std::size_t n = 0; n < report.adapters.size(); ++n) {
    const auto index = findings.rule_of(n);
    if (!index) continue;
    const auto& rule = sarif::kRules.at(*index);
    const auto& row = report.adapters[n];
    auto location = physical(location_of(places, row.path, row), n);
    location["logicalLocations"] = {{{"name", base::printable(row.name)}, {"kind", "adapter"}}};
    Json result{{"ruleId", rule.id},
                {"ruleIndex", *index},
                {"level", rule.level},
                {"message", message(what_is_found(report, n, known))},
                {"locations", {std::move(location)}}};
    for (const auto c : copies_of[n]) {
      auto copy = physical(location_of(places, report.copies[c].path, row), report.adapters.size() + c);
      copy["message"] = plain("A copy of the adapter: what is found of it is true of this one as well.");
      result["relatedLocations"].push_back(std::move(copy));
    }
    result["partialFingerprints"] = {{"adapterContent/v1", fingerprint(row, rule.id)}};
    result["properties"] = properties(report, n, known);
    results.push_back(std::move(result));
  }
  return results;
}

}  // namespace

std::string render_sarif(const Report& report) {
  const Places places(report);
  Json run{{"tool", {{"driver", driver(report)}}}, {"invocations", {invocation(report)}},
           {"originalUriBaseIds", places.bases()}, {"artifacts", artifacts(report, places)},
           {"results", results(report, places)},   {"columnKind", "unicodeCodePoints"}};
  const Json log{{"$schema", kSchema}, {"version", "2.1.0"}, {"runs", {std::move(run)}}};
  return log.dump(1, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace winnow::report
