#include "winnow/pipeline/merge.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <set>
#include <utility>

#include "destinations.hpp"
#include "judge.hpp"
#include "winnow/adapter/adapter.hpp"
#include "winnow/base/error.hpp"
#include "winnow/methods/table.hpp"
#include "winnow/pipeline/module_names.hpp"
#include "winnow/report/hdf5_report.hpp"

namespace winnow::pipeline {
namespace {

namespace fs = std::filesystem;
using base::Error;
using base::ErrorKind;

/// Options that a report tells as attributes and that scores depend on.
constexpr const char* kSameAttributes[] = {"base_fingerprint",
                                           "aligned_fingerprint",
                                           "winnow_version",
                                           "backend",
                                           "subspace_rank",
                                           "seed",
                                           "scaling",
                                           "dora",
                                           "repair"};
/// What a stack of other adapters, or a team, may change of a sum.
constexpr double kSameNorm = 1e-6;

std::string text_of(const report::Report& report, const std::string& attribute) {
  const auto found = report.attributes.find(attribute);
  if (found == report.attributes.end()) return "nothing";
  return std::visit([](const auto& value) { return fmt::format("{}", value); }, found->second);
}

std::string layer_metrics(const report::Report& report) {
  std::string names;
  for (const auto& metric : report.metrics) names += methods::is_over_population(metric.name) ? "" : " " + metric.name;
  return names;
}

/// Like one of an audit in every option that the merged report has only one of.
void require_alike(const ReportPart& first, const ReportPart& other) {
  const auto require = [&](const std::string& what, const std::string& expected, const std::string& found) {
    if (expected == found) return;
    throw Error(ErrorKind::invalid_input, "the reports are not parts of one audit")
        .file(other.path)
        .expected(fmt::format("{} {} as in {}, found {}", what, expected, first.path, found))
        .advice("audit that part again with the options of the others");
  };
  for (const auto* name : kSameAttributes) require(name, text_of(first.report, name), text_of(other.report, name));
  require("rank_by", first.report.rank_by, other.report.rank_by);
  require("select", first.report.policy, other.report.policy);
  require("population", first.report.population, other.report.population);
  require("metrics", layer_metrics(first.report), layer_metrics(other.report));
}

bool about_equal(double a, double b) {
  return (std::isnan(a) && std::isnan(b)) || std::fabs(a - b) <= kSameNorm * std::max(std::fabs(a), std::fabs(b));
}

/// The modules of all parts in the order of an audit; [parts][modules of the part]: where each has gone.
std::vector<std::vector<std::size_t>> merge_modules(const std::vector<ReportPart>& parts, report::Report& merged) {
  struct Order {
    bool operator()(const std::string& a, const std::string& b) const { return comes_before(a, b); }
  };
  std::map<std::string, report::ModuleRow, Order> rows;
  for (const auto& part : parts) {
    for (const auto& module : part.report.modules) {
      auto& known = rows.try_emplace(module.name, module).first->second;
      const auto both = known.flags | (module.flags & report::kPassesDisagree);  // of its adapters, not of the weights
      if (known.out_features == module.out_features && known.in_features == module.in_features &&
          both == (module.flags | (known.flags & report::kPassesDisagree)) &&
          about_equal(known.alignment_norm, module.alignment_norm)) {
        known.flags = both;
        continue;
      }
      throw Error(ErrorKind::invalid_input, "the reports are of different weights")
          .file(part.path)
          .tensor(module.name)
          .expected(fmt::format("{} x {}, norm {}, flags {} as in an earlier part, found {} x {}, norm {}, flags {}",
                                known.out_features, known.in_features, known.alignment_norm, known.flags,
                                module.out_features, module.in_features, module.alignment_norm, module.flags));
    }
  }
  std::vector<std::string> names;
  std::map<std::string, std::size_t> place;
  for (const auto& [name, row] : rows) {
    place[name] = names.size();
    names.push_back(name);
    merged.modules.push_back(row);
  }
  // Whether two kinds of module share a name's end depends on which there are.
  const auto roles = roles_of(names);
  for (std::size_t m = 0; m < roles.size(); ++m) merged.modules[m].role = roles[m];
  std::vector<std::vector<std::size_t>> places;
  for (const auto& part : parts) {
    auto& mine = places.emplace_back();
    for (const auto& module : part.report.modules) mine.push_back(place.at(module.name));
  }
  return places;
}

/// Names are unique within a run: those of a part may not be any more.
void merge_adapters(const std::vector<ReportPart>& parts, report::Report& merged) {
  std::map<std::pair<std::string, std::string>, std::string> seen;  // path and checksum -> part
  std::vector<adapter::Adapter> named;
  for (const auto& part : parts) {
    for (const auto& row : part.report.adapters) {
      const auto path = fs::path(row.path).lexically_normal().string();
      const auto& owner = seen.try_emplace({path, row.sha256}, part.path).first->second;
      if (owner != part.path) {
        throw Error(ErrorKind::invalid_input, fmt::format("adapter {} is in two reports", row.path))
            .file(part.path)
            .expected(fmt::format("each adapter once, found it in {} as well", owner));
      }
      merged.adapters.push_back(row);
      named.emplace_back().path = row.path;
    }
  }
  adapter::assign_unique_names(named);
  for (std::size_t n = 0; n < named.size(); ++n) {
    merged.adapters[n].name = named[n].name;
    if (merged.adapters[n].status == "ok") merged.adapters[n].reason.clear();  // judge() tells anew
  }
}

/// Where adapters have LoRA, and the metrics of single layers: every value where its adapter and module are now.
void merge_metrics(const std::vector<ReportPart>& parts, const std::vector<std::vector<std::size_t>>& places,
                   report::Report& merged) {
  const auto modules = merged.modules.size();
  const auto place = [&](auto& all, const auto& value_of) {
    std::size_t first = 0;
    for (std::size_t k = 0; k < parts.size(); ++k) {
      const auto& part = parts[k].report;
      for (std::size_t n = 0; n < part.adapters.size(); ++n) {
        for (std::size_t m = 0; m < part.modules.size(); ++m) {
          all[(first + n) * modules + places[k][m]] = value_of(part, n, m);
        }
      }
      first += part.adapters.size();
    }
  };
  merged.present.assign(merged.adapters.size() * modules, 0);
  place(merged.present, [](const report::Report& part, std::size_t n, std::size_t m) { return part.is_present(n, m); });
  for (const auto& metric : parts.front().report.metrics) {
    if (methods::is_over_population(metric.name)) continue;
    report::Metric all{metric.name, metric.units, metric.long_name, {}, metric.categories};
    all.values.assign(merged.adapters.size() * modules, methods::kUndefined);
    place(all.values, [&](const report::Report& part, std::size_t n, std::size_t m) {
      return part.find_metric(metric.name)->values[n * part.modules.size() + m];
    });
    merged.metrics.push_back(std::move(all));
  }
}

/// What is the same in all parts; of ranks, how many there were in all.
void merge_attributes(const std::vector<ReportPart>& parts, report::Report& merged) {
  merged.attributes = parts.front().report.attributes;
  std::int64_t ranks = 0;
  std::string files;
  for (const auto& part : parts) {
    const auto& attributes = part.report.attributes;
    std::erase_if(merged.attributes, [&](const auto& entry) {
      const auto found = attributes.find(entry.first);
      return found == attributes.end() || found->second != entry.second;
    });
    const auto found = attributes.find("mpi_ranks");
    const auto* count = found == attributes.end() ? nullptr : std::get_if<std::int64_t>(&found->second);
    ranks += count == nullptr ? 0 : *count;
    files += (files.empty() ? "" : "\n") + part.path;
  }
  merged.attributes["mpi_ranks"] = ranks;
  merged.attributes["merged_from"] = files;
}

AuditOptions options_of(const report::Report& report) {
  AuditOptions options;
  options.rank_by = report.rank_by;
  options.policy = select::parse_policy(report.policy);
  options.population = metrics::parse_population(report.population);
  options.element_statistics = report.find_metric("projected_q25") != nullptr;
  const auto repair = text_of(report, "repair");
  if (repair != "none" && repair != "nothing") options.repair = adapter::Repair::drop;
  return options;
}

}  // namespace

report::Report merge_reports(std::vector<ReportPart> parts, const base::Log& log) {
  if (parts.empty()) throw Error(ErrorKind::usage, "no reports to merge");
  for (const auto& part : parts) require_alike(parts.front(), part);
  report::Report merged;
  const auto places = merge_modules(parts, merged);
  merge_adapters(parts, merged);
  merge_metrics(parts, places, merged);
  merge_attributes(parts, merged);
  for (const auto& part : parts) {
    for (auto row : part.report.run) {
      if (row.part.empty()) row.part = part.path;  // a part may be merged itself
      merged.run.push_back(std::move(row));
    }
  }
  judge(merged, options_of(parts.front().report), log);
  return merged;
}

report::Report merge_report_files(const std::vector<std::string>& parts, const std::string& path,
                                  const std::map<std::string, report::Attribute>& facts, const base::Log& log) {
  check_report(path);
  std::vector<ReportPart> read;
  for (const auto& part : parts) {
    std::error_code ignored;
    if (fs::equivalent(part, path, ignored)) {
      throw Error(ErrorKind::usage, "--report is one of the reports to merge").file(path).advice("choose another");
    }
    read.push_back({part, report::read_hdf5(part)});
    if (read.back().report.find_metric("distance") == nullptr) {
      throw Error(ErrorKind::invalid_input, "report has no metric distance").file(part);
    }
  }
  auto merged = merge_reports(std::move(read), log);
  for (const auto& [name, value] : facts) merged.attributes[name] = value;
  report::write_hdf5(merged, path);
  require_scores(merged);  // of single slices it was not required
  return merged;
}

}  // namespace winnow::pipeline
