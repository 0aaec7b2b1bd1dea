#include "winnow/pipeline/merge.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <set>
#include <string_view>
#include <utility>

#include "merge_probes.hpp"
#include "winnow/adapter/adapter.hpp"
#include "winnow/base/error.hpp"
#include "winnow/base/same_file.hpp"
#include "winnow/input/module_names.hpp"
#include "winnow/input/repeated_adapters.hpp"
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

/// Whether two adapters with the same weights have been scored with the same scales: on the same modules the same
/// norms.
bool have_same_norms(const ReportPart& a, std::size_t row_a, const ReportPart& b, std::size_t row_b) {
  const auto norms = [](const ReportPart& part, std::size_t row) {
    std::map<std::string_view, double> of_module;
    const auto* metric = part.report.find_metric("update_norm");
    for (std::size_t m = 0; metric != nullptr && m < part.report.modules.size(); ++m) {
      const auto value = metric->values[row * part.report.modules.size() + m];
      if (!std::isnan(value)) of_module[part.report.modules[m].name] = value;
    }
    return of_module;
  };
  const auto mine = norms(a, row_a), theirs = norms(b, row_b);
  return std::equal(mine.begin(), mine.end(), theirs.begin(), theirs.end(), [](const auto& one, const auto& other) {
    return one.first == other.first && about_equal(one.second, other.second);
  });
}

bool is_same_adapter(const std::vector<ReportPart>& parts, const PartAdapter& a, const PartAdapter& b) {
  const auto &one = parts[a.part].report.adapters[a.row], &other = parts[b.part].report.adapters[b.row];
  return one.sha256 == other.sha256 && one.status == other.status && one.digest == other.digest &&
         one.reason == other.reason && one.rank == other.rank && one.alpha == other.alpha &&
         one.scaling == other.scaling && !input::are_separate_checkpoints(one.path, other.path) &&
         have_same_norms(parts[a.part], a.row, parts[b.part], b.row);
}

/// Adapters of several reports in one.
struct MergedAdapters {
  std::vector<PartAdapter> kept;
  std::vector<std::vector<std::size_t>> judged_as;  ///< [parts][adapters of the part]: among those that are kept
};

/// The adapters of all parts, each once, whatever it is called: the one that comes first.
MergedAdapters adapters_of(const std::vector<ReportPart>& parts, const base::Log& log) {
  MergedAdapters all;
  std::map<std::string, std::vector<std::size_t>> known;  // by checksum
  std::size_t repeated = 0;
  std::string example;
  for (std::size_t p = 0; p < parts.size(); ++p) {
    auto& judged_as = all.judged_as.emplace_back();
    for (std::size_t n = 0; n < parts[p].report.adapters.size(); ++n) {
      const auto& row = parts[p].report.adapters[n];
      auto& alike = known[row.sha256.empty() ? "path " + fs::path(row.path).lexically_normal().string() : row.sha256];
      const PartAdapter candidate{p, n};
      const auto same = std::find_if(alike.begin(), alike.end(),
                                     [&](auto other) { return is_same_adapter(parts, all.kept[other], candidate); });
      judged_as.push_back(same == alike.end() ? all.kept.size() : *same);
      if (same == alike.end()) {
        alike.push_back(all.kept.size());
        all.kept.push_back(candidate);
      } else if (repeated++ == 0) {
        const auto& [part, kept] = all.kept[*same];
        example = fmt::format("{} of {} is {} of {}", row.path, parts[p].path, parts[part].report.adapters[kept].path,
                              parts[part].path);
      }
    }
  }
  if (repeated != 0) {
    log.warn(fmt::format("{} adapter{} in more than one report and count once: {}{}", repeated,
                         repeated == 1 ? " is" : "s are", example, repeated == 1 ? "" : ", for example"));
  }
  return all;
}

/// Names are unique within a run: those of a part may not be any more.
void merge_adapters(const std::vector<ReportPart>& parts, const std::vector<PartAdapter>& adapters,
                    report::Report& merged) {
  std::vector<adapter::Adapter> named;
  for (const auto& [part, row] : adapters) {
    merged.adapters.push_back(parts[part].report.adapters[row]);
    named.emplace_back().path = merged.adapters.back().path;
  }
  adapter::assign_unique_names(named);
  for (std::size_t n = 0; n < named.size(); ++n) {
    merged.adapters[n].name = named[n].name;
    if (merged.adapters[n].status == "ok") merged.adapters[n].reason.clear();  // judge() tells anew
  }
}

/// Those of the parts, and their adapters that another stands for now. Every directory once beside one adapter, and
/// none that is an adapter's own.
void merge_copies(const std::vector<ReportPart>& parts, const MergedAdapters& adapters, report::Report& merged) {
  std::set<std::pair<std::string, std::uint64_t>> known;
  const auto add = [&](const std::string& path, std::size_t of) {
    if (input::are_one_path(path, merged.adapters[of].path) || !known.emplace(path, of).second) return;
    merged.copies.push_back({path, of});
  };
  for (std::size_t p = 0; p < parts.size(); ++p) {
    const auto& part = parts[p].report;
    const auto& judged_as = adapters.judged_as[p];
    for (std::size_t n = 0; n < judged_as.size(); ++n) add(part.adapters[n].path, judged_as[n]);
    for (const auto& copy : part.copies) add(copy.path, judged_as.at(copy.of));
  }
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
    require_alike(parts.front(), part);
  }
  report::Report merged;
  const auto places = merge_modules(parts, merged);
  const auto adapters = adapters_of(parts, log);
  merge_adapters(parts, adapters.kept, merged);
  merge_copies(parts, adapters, merged);
  merge_metrics(parts, adapters.kept, places, merged);
  merge_probes(parts, adapters.kept, places, merged);
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
