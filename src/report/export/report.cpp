#include <fmt/format.h>

#include <numeric>
#include <utility>

#include "../analysis.hpp"
#include "../tables/tables.hpp"
#include "csv.hpp"
#include "json.hpp"
#include "winnow/report/hdf5_report.hpp"
#include "winnow/report/render.hpp"
#include "winnow/report/verdicts.hpp"

namespace winnow::report {
namespace {

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

Json training_runs_json(const Analysis& analysis) {
  auto out = Json::array();
  for (const auto& run : training_runs(analysis.report())) {
    out.push_back({{"path", run.path},
                   {"steps", json_rows(steps_table(analysis.report(), steps_of(run)))},
                   {"risen", json_rows(risen_table(analysis, run, run.risen.size()))}});
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

/// Of all adapters, in their order.
Table all_adapters(const Analysis& analysis) {
  std::vector<std::size_t> adapters(analysis.report().adapters.size());
  std::iota(adapters.begin(), adapters.end(), std::size_t{0});
  return adapters_table(analysis, adapters);
}

}  // namespace

std::map<std::string, std::string> render_csv(const Report& report) {
  const Analysis analysis(report);
  const auto runs = training_runs(report);
  std::vector<StepRow> steps;
  for (const auto& run : runs) {
    for (const auto& row : steps_of(run)) steps.push_back(row);
  }
  return {{"modules.csv", csv_text(modules_table(report))},
          {"adapters.csv", csv_text(all_adapters(analysis))},
          {"copies.csv", csv_text(copies_table(report, report.copies.size()))},
          {"metrics.csv", csv_text(scores_table(analysis))},
          {"drift.csv", csv_text(steps_table(report, std::move(steps)))}};
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
  out += "\"modules\": " + dump(json_rows(modules_table(report)));
  out += ",\n\"adapters\": " + dump(json_rows(all_adapters(analysis)));
  out += ",\n\"copies\": " + dump(json_rows(copies_table(report, report.copies.size())));
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
  out += fmt::format(
      ",\n\"selection\": {{\"policy\": {}, \"rank_by\": {}, \"scope\": {}, \"population\": {}, \"action\": {}}}",
      dump(report.policy), dump(report.rank_by), dump(report.scope), dump(report.population),
      rows(report, [&](std::size_t n, std::size_t m) { return name(analysis.action(n, m)); }));
  out += ",\n\"probes\": " + dump(probes_json(report));
  out += ",\n\"verdicts\": " + dump(verdicts_json(report));
  out += ",\n\"training_runs\": " + dump(training_runs_json(analysis));
  out += ",\n\"shards\": " + dump(json_rows(shards_table(report)));
  return out + ",\n\"run\": " + dump(json_rows(run_table(report))) + "}\n";
}

}  // namespace winnow::report
