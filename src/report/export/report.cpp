#include <fmt/format.h>

#include <numeric>
#include <stdexcept>
#include <utility>

#include "../analysis.hpp"
#include "../tables/tables.hpp"
#include "../where.hpp"
#include "csv.hpp"
#include "heads.hpp"
#include "json.hpp"
#include "winnow/report/hdf5_report.hpp"
#include "winnow/report/render.hpp"
#include "winnow/report/verdicts.hpp"

namespace winnow::report {
namespace {

// One row of text an adapter: the N x M values never stand in memory as JSON objects, nor as text.
template <class Value>
void write_rows(const Report& report, const Sink& sink, Value value) {
  sink("[");
  for (std::size_t n = 0; n < report.adapters.size(); ++n) {
    auto row = Json::array();
    for (std::size_t m = 0; m < report.modules.size(); ++m) row.push_back(value(n, m));
    sink((n == 0 ? "\n" : ",\n") + dump(row));
  }
  sink("]");
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

Json parts_json(const std::vector<Part>& parts, const char* of) {
  auto out = Json::array();
  for (const auto& part : parts) out.push_back({{of, part.name}, {"share", part.share}});
  return out;
}

/// Of one adapter; null if there is nothing to share out.
Json where_json(const Analysis& analysis, const AdapterView* adapter) {
  const auto where = adapter == nullptr ? std::nullopt : where_of(analysis, *adapter);
  if (!where) return {};
  return {{"depth", parts_json(where->depth, "layers")},
          {"roles", parts_json(where->roles, "role")},
          {"first_direction", where->first_direction},
          {"overlap", where->overlap}};
}

/// One row an adapter, in their order.
void write_where(const Analysis& analysis, const Sink& sink) {
  std::vector<const AdapterView*> views(analysis.report().adapters.size());
  for (const auto& view : analysis.adapters()) views[view.index] = &view;
  sink("[");
  for (std::size_t n = 0; n < views.size(); ++n) sink((n == 0 ? "\n" : ",\n") + dump(where_json(analysis, views[n])));
  sink("]");
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

void write_csv(const Report& report, std::string_view file, const Sink& sink) {
  if (file == "modules.csv") return write_csv_table(modules_table(report), sink);
  if (file == "copies.csv") return write_csv_table(copies_table(report, report.copies.size()), sink);
  const Analysis analysis(report);
  if (file == "adapters.csv") return write_csv_table(all_adapters(analysis), sink);
  if (file == "metrics.csv") return write_csv_table(scores_table(analysis), sink);
  if (file != "drift.csv") throw std::logic_error(fmt::format("a report has no {}", file));
  const auto runs = training_runs(report);
  std::vector<StepRow> steps;
  for (const auto& run : runs) {
    for (const auto& row : steps_of(run)) steps.push_back(row);
  }
  write_csv_table(steps_table(report, std::move(steps)), sink);
}

std::map<std::string, std::string> render_csv(const Report& report) {
  std::map<std::string, std::string> out;
  for (const auto file : kCsvFiles) {
    auto& text = out[std::string(file)];
    write_csv(report, file, [&](std::string_view piece) { text += piece; });
  }
  return out;
}

void write_json(const Report& report, const Sink& sink) {
  const Analysis analysis(report);
  auto attributes = Json::object();
  for (const auto& [key, value] : report.attributes) {
    std::visit([&, &name = key](const auto& held) { attributes[name] = held; }, value);
  }
  sink(fmt::format("{{\"$schema\": \"urn:winnow:report:{0}\",\n\"schema_version\": {0},\n\"attributes\": {1},\n",
                   kSchemaVersion, dump(attributes)));
  sink("\"modules\": ");
  write_json_rows(modules_table(report), sink);
  sink(",\n\"adapters\": ");
  write_json_rows(all_adapters(analysis), sink);
  sink(",\n\"where\": ");
  write_where(analysis, sink);
  sink(",\n\"copies\": ");
  write_json_rows(copies_table(report, report.copies.size()), sink);
  sink(",\n\"metrics\": {");
  const char* separator = "\n";
  for (const auto* metric : metrics_of(report, false)) {
    sink(fmt::format("{}{}: {{\"units\": {}, \"long_name\": {}, \"values\": ", std::exchange(separator, ",\n"),
                     dump(metric->name), dump(metric->units), dump(metric->long_name)));
    write_rows(report, sink, [&](std::size_t n, std::size_t m) { return analysis.value(metric, n, m); });
    sink("}");
  }
  sink("}");
  for (const auto* metric : metrics_of(report, true)) {
    sink(fmt::format(",\n{}: ", dump(metric->name)));
    write_rows(report, sink, [&](std::size_t n, std::size_t m) { return analysis.category(*metric, n, m); });
  }
  sink(fmt::format(
      ",\n\"selection\": {{\"policy\": {}, \"rank_by\": {}, \"scope\": {}, \"population\": {}, \"action\": ",
      dump(report.policy), dump(report.rank_by), dump(report.scope), dump(report.population)));
  write_rows(report, sink, [&](std::size_t n, std::size_t m) { return name(analysis.action(n, m)); });
  sink("}");
  sink(",\n\"probes\": " + dump(probes_json(report)));
  if (report.heads) write_json_heads(analysis, sink);
  sink(",\n\"verdicts\": " + dump(verdicts_json(report)));
  sink(",\n\"training_runs\": " + dump(training_runs_json(analysis)));
  sink(",\n\"shards\": " + dump(json_rows(shards_table(report))));
  sink(",\n\"run\": " + dump(json_rows(run_table(report))) + "}\n");
}

std::string render_json(const Report& report) {
  std::string out;
  write_json(report, [&](std::string_view piece) { out += piece; });
  return out;
}

}  // namespace winnow::report
