#include "winnow/pipeline/merge.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <set>
#include <utility>

#include "merge_adapters.hpp"
#include "merge_heads.hpp"
#include "merge_probes.hpp"
#include "winnow/base/error.hpp"
#include "winnow/base/same_file.hpp"
#include "winnow/input/module_names.hpp"
#include "winnow/judge/judge.hpp"
#include "winnow/methods/table.hpp"
#include "winnow/output/destinations.hpp"
#include "winnow/report/hdf5_report.hpp"

namespace winnow::pipeline {
namespace {

namespace fs = std::filesystem;
using base::Error;
using base::ErrorKind;

/// Options that a report tells as attributes and that scores depend on.
constexpr const char* kSameAttributes[] = {"base_fingerprint",
                                           "aligned_fingerprint",
                                           "base_sample",
                                           "aligned_sample",
                                           "winnow_version",
                                           "backend",
                                           "subspace_rank",
                                           "seed",
                                           "scaling",
                                           "dora",
                                           "repair"};
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
  require("scope", first.report.scope, other.report.scope);
  require("population", first.report.population, other.report.population);
  require("fdr", fmt::format("{:g}", first.report.false_discovery_rate),
          fmt::format("{:g}", other.report.false_discovery_rate));
  require("metrics", layer_metrics(first.report), layer_metrics(other.report));
}

/// That passes disagree is of a run and of its adapters, not of the weights.
std::uint32_t flags_of_weights(const report::ModuleRow& module) {
  return module.flags & ~std::uint32_t{report::kPassesDisagree};
}

/// Digests tell every bit apart; the norm is all that reports of earlier versions say of their weights.
void require_same_weights(const report::ModuleRow& known, const report::ModuleRow& module, const ReportPart& part) {
  const auto require = [&](const char* which, const std::string& expected, const std::string& found) {
    if (expected == found) return;
    throw of_different_weights(
        part, module, fmt::format("{} weight with digest {} as in an earlier part, found {}", which, expected, found));
  };
  require("base", known.base_digest, module.base_digest);
  require("aligned", known.aligned_digest, module.aligned_digest);
  if (known.out_features == module.out_features && known.in_features == module.in_features &&
      flags_of_weights(known) == flags_of_weights(module) && about_equal(known.alignment_norm, module.alignment_norm)) {
    return;
  }
  throw of_different_weights(
      part, module,
      fmt::format("{} x {}, norm {}, flags {} as in an earlier part, found {} x {}, norm {}, flags {}",
                  known.out_features, known.in_features, known.alignment_norm, known.flags, module.out_features,
                  module.in_features, module.alignment_norm, module.flags));
}

/// The modules of all parts in the order of an audit; [parts][modules of the part]: where each has gone.
std::vector<std::vector<std::size_t>> merge_modules(const std::vector<ReportPart>& parts, report::Report& merged) {
  struct Order {
    bool operator()(const std::string& a, const std::string& b) const { return input::comes_before(a, b); }
  };
  std::map<std::string, report::ModuleRow, Order> rows;
  std::set<std::string_view> low_rank;
  for (const auto& part : parts) {
    for (std::size_t m = 0; m < part.report.modules.size(); ++m) {
      const auto& module = part.report.modules[m];
      auto& known = rows.try_emplace(module.name, module).first->second;
      require_same_weights(known, module, part);
      known.flags |= module.flags;  // that passes disagree is of a part's adapters
      // Of a module with LoRA an audit takes the norm that its passes have found.
      if (!has_low_rank(part.report, m) || !low_rank.insert(known.name).second) continue;
      known.alignment_norm = module.alignment_norm;
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
  std::vector<bool> counted;
  for (const auto& name : names) counted.push_back(low_rank.contains(name));
  const auto roles = input::roles_beside(names, counted);
  for (std::size_t m = 0; m < roles.size(); ++m) merged.modules[m].role = roles[m];
  std::vector<std::vector<std::size_t>> places;
  for (const auto& part : parts) {
    auto& mine = places.emplace_back();
    for (const auto& module : part.report.modules) mine.push_back(place.at(module.name));
  }
  return places;
}

/// Where adapters have LoRA, and the metrics of single layers: every value where its adapter and module are now.
void merge_metrics(const std::vector<ReportPart>& parts, const std::vector<PartAdapter>& adapters,
                   const std::vector<std::vector<std::size_t>>& places, report::Report& merged) {
  const auto modules = merged.modules.size();
  const auto place = [&](auto& all, const auto& value_of) {
    for (std::size_t n = 0; n < adapters.size(); ++n) {
      const auto& [p, row] = adapters[n];
      const auto& part = parts[p].report;
      for (std::size_t m = 0; m < part.modules.size(); ++m) {
        all[n * modules + places[p][m]] = value_of(part, row, m);
      }
    }
  };
  merged.present.assign(merged.adapters.size() * modules, 0);
  place(merged.present, [](const report::Report& part, std::size_t n, std::size_t m) {
    return static_cast<std::uint8_t>(part.presence(n, m));
  });
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

/// One file given twice, by whichever names, is one part.
void drop_repeated_files(std::vector<std::string>& parts, const base::Log& log) {
  std::vector<std::string> kept;
  std::size_t repeated = 0;
  for (const auto& part : parts) {
    std::error_code ignored;
    const bool known =
        std::any_of(kept.begin(), kept.end(), [&](const auto& other) { return fs::equivalent(other, part, ignored); });
    if (!known) {
      kept.push_back(part);
    } else if (repeated++ == 0) {
      log.warn(fmt::format("a report that is given more than once counts once: {}", part));
    }
  }
  parts = std::move(kept);
}

/// What is the same in all parts; of ranks, how many there were in all.
void merge_attributes(const std::vector<ReportPart>& parts, report::Report& merged) {
  merged.attributes = parts.front().report.attributes;
  merged.shards = parts.front().report.shards;
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
    if (part.report.shards != parts.front().report.shards) merged.shards.clear();  // of copies
    files += (files.empty() ? "" : "\n") + part.path;
  }
  merged.attributes["mpi_ranks"] = ranks;
  merged.attributes["merged_from"] = files;
}

/// Whether the audit had checkpoints.
bool has_pair(const report::Report& report) { return report.find_metric("rms_distance") != nullptr; }

/// The sums that the audit made, by what is there of them.
std::uint32_t sums_of(const report::Report& report) {
  std::uint32_t sums = methods::kUpdateSums;
  if (!report.probes.empty()) sums |= methods::kProbeSums;
  if (report.find_metric("row_concentration") != nullptr) sums |= methods::kSpreadSums;
  if (report.find_metric("weight_cosine") != nullptr) sums |= methods::kWeightSums;
  if (report.find_metric("overlap_right") != nullptr) sums |= methods::kWeightRightSums;
  if (report.find_metric("intruder_dimensions") != nullptr) sums |= methods::kWeightSketchSums;
  if (!has_pair(report)) return sums;
  sums |= methods::kPairSums;
  if (report.find_metric("subspace_energy") != nullptr) sums |= methods::kSubspaceSums;
  if (report.find_metric("projected_q25") != nullptr) sums |= methods::kEntrySums;
  return sums;
}

run::Judging judging_of(const report::Report& report) {
  run::Judging judging;
  judging.rank_by = report.rank_by;
  judging.policy = select::parse_policy(report.policy);
  judging.scope = select::parse_scope(report.scope);
  judging.population = metrics::parse_population(report.population);
  if (report.false_discovery_rate > 0) judging.false_discovery_rate = report.false_discovery_rate;
  return judging;
}

bool prunes(const report::Report& report) {
  const auto repair = text_of(report, "repair");
  return repair == "drop" || repair == "zero";
}

}  // namespace

report::Report merge_reports(std::vector<ReportPart> parts, const base::Log& log) {
  if (parts.empty()) throw Error(ErrorKind::usage, "no reports to merge");
  for (const auto& part : parts) {
    require_same_probes(parts.front(), part);
    require_same_heads(parts.front(), part);
    require_alike(parts.front(), part);
  }
  report::Report merged;
  const auto places = merge_modules(parts, merged);
  const auto adapters = adapters_of(parts, log);
  merge_adapters(parts, adapters.kept, merged);
  merge_copies(parts, adapters, merged);
  merge_metrics(parts, adapters.kept, places, merged);
  merge_probes(parts, adapters.kept, places, merged);
  merge_heads(parts, adapters.kept, merged);
  merge_attributes(parts, merged);
  if (has_pair(merged) && text_of(merged, "base_sample") == "nothing") {
    log.warn("the reports were made by an earlier version: whether they are of the same weights cannot be told");
  }
  for (const auto& part : parts) {
    for (auto row : part.report.run) {
      if (row.part.empty()) row.part = part.path;  // a part may be merged itself
      merged.run.push_back(std::move(row));
    }
  }
  const auto& first = parts.front().report;
  judge::judge(merged, judging_of(first), sums_of(first), prunes(first), log);
  return merged;
}

report::Report merge_report_files(std::vector<std::string> parts, const std::string& path,
                                  const std::map<std::string, report::Attribute>& facts, const base::Log& log) {
  output::check_report(path);
  drop_repeated_files(parts, log);
  std::vector<ReportPart> read;
  for (const auto& part : parts) {
    base::require_not_an_input(path, part, "--report");
    read.push_back({part, report::read_hdf5(part)});
    const auto& report = read.back().report;
    if (!has_pair(report) && report.find_metric("weight_cosine") == nullptr && report.probes.empty()) {
      throw Error(ErrorKind::invalid_input, "report has no metric distance").file(part);
    }
  }
  auto merged = merge_reports(std::move(read), log);
  for (const auto& [name, value] : facts) merged.attributes[name] = value;
  report::write_hdf5(merged, path);
  judge::require_scores(merged);  // of single slices it was not required
  return merged;
}

}  // namespace winnow::pipeline
