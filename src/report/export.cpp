#include <fmt/format.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <span>

#include "analysis.hpp"
#include "csv.hpp"
#include "text.hpp"
#include "winnow/report/adapter_summary.hpp"
#include "winnow/report/hdf5_report.hpp"
#include "winnow/report/render.hpp"
#include "winnow/report/training_run.hpp"
#include "winnow/report/verdicts.hpp"

namespace winnow::report {
namespace {

using Json = nlohmann::ordered_json;

std::vector<std::string> flag_names(std::uint32_t flags) {
  std::vector<std::string> names;
  if ((flags & kNoAlignmentSignal) != 0) names.emplace_back("no_alignment_signal");
  if ((flags & kNonFinite) != 0) names.emplace_back("non_finite");
  if ((flags & kOutOfRange) != 0) names.emplace_back("out_of_range");
  if ((flags & kPassesDisagree) != 0) names.emplace_back("passes_disagree");
  return names;
}

void header(Csv& csv, std::initializer_list<std::string_view> names) {
  for (const auto name : names) csv.field(name);
}

std::vector<std::string> module_names(const Report& report, const AdapterSummary& summary) {
  std::vector<std::string> names;
  for (const auto m : summary.worst_modules) names.push_back(report.modules[m].name);
  return names;
}

std::string modules_csv(const Report& report) {
  Csv csv;
  header(csv, {"module", "role", "layer", "out_features", "in_features", "alignment_norm", "flags", "base_digest",
               "aligned_digest"});
  csv.end();
  for (const auto& row : report.modules) {
    csv.field(row.name).field(row.role).field(row.layer).field(row.out_features).field(row.in_features);
    csv.field(row.alignment_norm).field(fmt::format("{}", fmt::join(flag_names(row.flags), " ")));
    csv.field(row.base_digest).field(row.aligned_digest).end();
  }
  return csv.take();
}

std::string adapters_csv(const Report& report) {
  Csv csv;
  header(csv, {"adapter",
               "path",
               "status",
               "reason",
               "rank",
               "alpha",
               "scaling",
               "sha256",
               "modules_scored",
               "modules_pruned",
               "share_pruned",
               "zoo_rank",
               "worst_score",
               "worst_modules",
               "modules_not_judged",
               "not_judged",
               "tensors_not_judged",
               "tensors_skipped",
               "parameters",
               "parameters_judged",
               "base_model",
               "score",
               "score_metric",
               "verdict",
               "verdict_reason"});
  for (const auto& metric : report.of_adapters) csv.field(metric.name);
  csv.end();
  const auto scores = adapter_scores(report);
  const auto summaries = summarise_adapters(report);
  for (std::size_t n = 0; n < report.adapters.size(); ++n) {
    const auto& row = report.adapters[n];
    const auto& summary = summaries[n];
    csv.field(row.name).field(row.path).field(row.status).field(row.reason);
    csv.field(row.rank).field(row.alpha).field(row.scaling).field(row.sha256);
    csv.field(summary.modules_scored).field(summary.modules_pruned).field(summary.share_pruned);
    csv.field(summary.zoo_rank).field(summary.worst_score);
    csv.field(fmt::format("{}", fmt::join(module_names(report, summary), " ")));
    csv.field(row.modules_not_judged).field(row.not_judged).field(row.tensors_not_judged).field(row.tensors_skipped);
    csv.field(row.parameters).field(row.parameters_judged).field(row.base_model);
    csv.field(scores.values[n]).field(scores.name);
    const auto judgement = report.verdicts.empty() ? std::nullopt : std::optional(report.verdicts[n]);
    csv.field(judgement ? verdict::name(judgement->verdict) : "").field(judgement ? judgement->reason : "");
    for (const auto& metric : report.of_adapters) csv.field(metric.values[n]);
    csv.end();
  }
  return csv.take();
}

std::string copies_csv(const Report& report) {
  Csv csv;
  header(csv, {"path", "of", "adapter", "status", "verdict"});
  csv.end();
  for (const auto& copy : report.copies) {
    const auto& row = report.adapters[copy.of];
    csv.field(copy.path).field(copy.of).field(row.name).field(row.status);
    csv.field(report.verdicts.empty() ? "" : verdict::name(report.verdicts[copy.of].verdict)).end();
  }
  return csv.take();
}

std::vector<const Metric*> metrics_of(const Report& report, bool categories) {
  std::vector<const Metric*> metrics;
  for (const auto& metric : report.metrics) {
    if (metric.categories.empty() != categories) metrics.push_back(&metric);
  }
  return metrics;
}

std::string metrics_csv(const Analysis& analysis) {
  const auto& report = analysis.report();
  Csv csv;
  header(csv, {"adapter", "module"});
  const auto numbers = metrics_of(report, false), categories = metrics_of(report, true);
  for (const auto* metric : numbers) csv.field(metric->name);
  for (const auto* metric : categories) csv.field(metric->name);
  header(csv, {"action"});
  csv.end();
  for (std::size_t n = 0; n < report.adapters.size(); ++n) {
    for (std::size_t m = 0; m < report.modules.size(); ++m) {
      csv.field(report.adapters[n].name).field(report.modules[m].name);
      for (const auto* metric : numbers) csv.field(analysis.value(metric, n, m));
      for (const auto* metric : categories) csv.field(analysis.category(*metric, n, m));
      csv.field(name(analysis.action(n, m))).end();
    }
  }
  return csv.take();
}

std::string drift_csv(const Report& report) {
  Csv csv;
  header(csv, {"training_run", "step", "adapter", "status", "worst_ediem", "worst_module", "worst_misalignment",
               "most_alignment_removed", "modules_undoing", "modules_pruned"});
  csv.end();
  for (const auto& run : training_runs(report)) {
    for (const auto& step : run.steps) {
      const auto& row = report.adapters[step.adapter];
      csv.field(run.path).field(step.step).field(row.name).field(row.status).field(step.worst_ediem);
      csv.field(std::isnan(step.worst_ediem) ? std::string() : report.modules[step.worst_module].name);
      csv.field(step.worst_misalignment).field(step.most_removed).field(step.undoing).field(step.pruned).end();
    }
  }
  return csv.take();
}

std::string dump(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }

// One row of text a adapter: the N x M values never stand in memory as JSON objects, which are many times larger.
template <class Value>
std::string rows(const Report& report, Value value) {
  std::string out = "[";
  for (std::size_t n = 0; n < report.adapters.size(); ++n) {
    auto row = Json::array();
    for (std::size_t m = 0; m < report.modules.size(); ++m) row.push_back(value(n, m));
    out += (n == 0 ? "\n" : ",\n") + dump(row);
  }
  return out + "]";
}

Json modules_json(const Report& report) {
  auto out = Json::array();
  for (const auto& row : report.modules) {
    out.push_back({{"name", row.name},
                   {"role", row.role},
                   {"layer", row.layer},
                   {"out_features", row.out_features},
                   {"in_features", row.in_features},
                   {"alignment_norm", row.alignment_norm},
                   {"flags", flag_names(row.flags)},
                   {"base_digest", row.base_digest},
                   {"aligned_digest", row.aligned_digest}});
  }
  return out;
}

Json adapters_json(const Report& report) {
  auto out = Json::array();
  const auto scores = adapter_scores(report);
  const auto summaries = summarise_adapters(report);
  for (std::size_t n = 0; n < report.adapters.size(); ++n) {
    const auto& row = report.adapters[n];
    const auto& summary = summaries[n];
    auto metrics = Json::object();
    for (const auto& metric : report.of_adapters) metrics[metric.name] = metric.values[n];
    out.push_back({{"name", row.name},
                   {"path", row.path},
                   {"status", row.status},
                   {"reason", row.reason},
                   {"rank", row.rank},
                   {"alpha", row.alpha},
                   {"scaling", row.scaling},
                   {"sha256", row.sha256},
                   {"digest", row.digest},
                   {"modules_scored", summary.modules_scored},
                   {"modules_pruned", summary.modules_pruned},
                   {"share_pruned", summary.share_pruned},
                   {"zoo_rank", summary.zoo_rank},
                   {"worst_score", summary.worst_score},
                   {"worst_modules", module_names(report, summary)},
                   {"modules_not_judged", row.modules_not_judged},
                   {"not_judged", row.not_judged},
                   {"tensors_not_judged", row.tensors_not_judged},
                   {"tensors_skipped", row.tensors_skipped},
                   {"parameters", row.parameters},
                   {"parameters_judged", row.parameters_judged},
                   {"base_model", row.base_model},
                   {"score", scores.values[n]},
                   {"score_metric", scores.name},
                   {"verdict", Json()},
                   {"verdict_reason", Json()},
                   {"metrics", std::move(metrics)}});
    if (report.verdicts.empty()) continue;
    out.back()["verdict"] = verdict::name(report.verdicts[n].verdict);
    out.back()["verdict_reason"] = report.verdicts[n].reason;
  }
  return out;
}

Json copies_json(const Report& report) {
  auto out = Json::array();
  for (const auto& copy : report.copies) {
    out.push_back({{"path", copy.path}, {"of", copy.of}, {"adapter", report.adapters[copy.of].name}});
  }
  return out;
}

Json training_runs_json(const Report& report) {
  auto out = Json::array();
  for (const auto& run : training_runs(report)) {
    auto steps = Json::array(), risen = Json::array();
    for (const auto& step : run.steps) {
      const bool scored = !std::isnan(step.worst_ediem);
      steps.push_back({{"step", step.step},
                       {"adapter", report.adapters[step.adapter].name},
                       {"status", report.adapters[step.adapter].status},
                       {"worst_ediem", step.worst_ediem},
                       {"worst_module", scored ? Json(report.modules[step.worst_module].name) : Json()},
                       {"worst_misalignment", step.worst_misalignment},
                       {"most_alignment_removed", step.most_removed},
                       {"modules_undoing", step.undoing},
                       {"modules_pruned", step.pruned}});
    }
    for (const auto& one : run.risen) {
      risen.push_back(
          {{"module", report.modules[one.module].name}, {"first_ediem", one.first}, {"last_ediem", one.last}});
    }
    out.push_back({{"path", run.path}, {"steps", std::move(steps)}, {"risen", std::move(risen)}});
  }
  return out;
}

/// With the cosines of the adapters, in their order.
Json probes_json(const Report& report) {
  auto out = Json::array();
  const auto cosines = probe_cosines(report);
  const auto adapters = static_cast<std::ptrdiff_t>(report.adapters.size());
  for (std::size_t k = 0; k < report.probes.size(); ++k) {
    const auto& row = report.probes[k];
    const auto first = cosines.begin() + static_cast<std::ptrdiff_t>(k) * adapters;
    out.push_back({{"name", row.name},
                   {"effect", row.effect},
                   {"form", row.form},
                   {"path", row.path},
                   {"digest", row.digest},
                   {"cosine", std::vector<double>(first, first + adapters)}});
  }
  return out;
}

/// Of the whole zoo; null without verdicts.
Json verdicts_json(const Report& report) {
  if (report.verdicts.empty()) return {};
  Json out{{"false_discovery_rate", report.false_discovery_rate},
           {"bank_members", report.bank.size()},
           {"claim", verdict_claim(report)}};
  for (const auto verdict : verdict::kVerdicts) out[std::string(verdict::name(verdict))] = count_of(report, verdict);
  return out;
}

Json shards_json(const Report& report) {
  auto out = Json::array();
  for (const auto& row : report.shards) {
    out.push_back({{"checkpoint", row.checkpoint},
                   {"path", row.path},
                   {"bytes", row.bytes},
                   {"inode", row.inode},
                   {"changed", row.changed}});
  }
  return out;
}

Json run_json(const Report& report) {
  auto out = Json::array();
  for (const auto& row : report.run) {
    out.push_back({{"rank", row.rank},
                   {"stage", row.stage},
                   {"seconds", row.seconds},
                   {"bytes_read", row.bytes_read},
                   {"peak_memory_bytes", row.peak_memory_bytes},
                   {"part", row.part}});
  }
  return out;
}

}  // namespace

std::map<std::string, std::string> render_csv(const Report& report) {
  const Analysis analysis(report);
  return {{"modules.csv", modules_csv(report)},
          {"adapters.csv", adapters_csv(report)},
          {"copies.csv", copies_csv(report)},
          {"metrics.csv", metrics_csv(analysis)},
          {"drift.csv", drift_csv(report)}};
}

std::string render_json(const Report& report) {
  const Analysis analysis(report);
  auto attributes = Json::object();
  for (const auto& [key, value] : report.attributes) {
    std::visit([&, &name = key](const auto& held) { attributes[name] = held; }, value);
  }
  std::string out =
      fmt::format("{{\"$schema\": \"urn:winnow:report:{0}\",\n\"schema_version\": {0},\n\"attributes\": {1},\n",
                  kSchemaVersion, dump(attributes));
  out += "\"modules\": " + dump(modules_json(report)) + ",\n\"adapters\": " + dump(adapters_json(report));
  out += ",\n\"copies\": " + dump(copies_json(report));
  out += ",\n\"metrics\": {";
  const char* separator = "\n";
  for (const auto* metric : metrics_of(report, false)) {
    out += fmt::format("{}{}: {{\"units\": {}, \"long_name\": {}, \"values\": {}}}", std::exchange(separator, ",\n"),
                       dump(metric->name), dump(metric->units), dump(metric->long_name),
                       rows(report, [&](std::size_t n, std::size_t m) { return analysis.value(metric, n, m); }));
  }
  out += "}";
  for (const auto* metric : metrics_of(report, true)) {
    out += fmt::format(",\n{}: ", dump(metric->name));
    out += rows(report, [&](std::size_t n, std::size_t m) { return analysis.category(*metric, n, m); });
  }
  out += fmt::format(",\n\"selection\": {{\"policy\": {}, \"rank_by\": {}, \"population\": {}, \"action\": {}}}",
                     dump(report.policy), dump(report.rank_by), dump(report.population),
                     rows(report, [&](std::size_t n, std::size_t m) { return name(analysis.action(n, m)); }));
  out += ",\n\"probes\": " + dump(probes_json(report));
  out += ",\n\"verdicts\": " + dump(verdicts_json(report));
  out += ",\n\"training_runs\": " + dump(training_runs_json(report));
  out += ",\n\"shards\": " + dump(shards_json(report));
  return out + ",\n\"run\": " + dump(run_json(report)) + "}\n";
}

}  // namespace winnow::report
