#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "../analysis.hpp"
#include "../schema.hpp"
#include "column_writer.hpp"
#include "image.hpp"
#include "parts.hpp"
#include "winnow/base/error.hpp"
#include "winnow/base/file.hpp"
#include "winnow/base/sha256.hpp"
#include "winnow/report/adapter_summary.hpp"
#include "winnow/report/hdf5_report.hpp"
#include "winnow/report/training_run.hpp"

namespace winnow::report {
namespace {

using base::ErrorKind;
using Shape = Image::Shape;

template <class Enum>
std::vector<std::uint8_t> codes(const std::vector<Enum>& values, std::size_t size) {
  std::vector<std::uint8_t> out(size);
  std::transform(values.begin(), values.end(), out.begin(),
                 [](Enum value) { return static_cast<std::uint8_t>(value); });
  return out;
}

void write_root(const Image& image, const Report& report) {
  image.attribute(image.root(), "schema_version", std::int64_t{kSchemaVersion});
  for (const auto& [name, value] : report.attributes) {
    if (name == "schema_version") continue;
    std::visit([&, &key = name](const auto& held) { image.attribute(image.root(), key, held); }, value);
  }
}

void write_modules(const Image& image, const Report& report, const Handle& scale) {
  const auto group = image.group("modules");
  image.link(group.get(), schema::kModuleScale);
  const ColumnWriter<ModuleRow> columns(image, group, report.modules, scale);
  columns.text("name", &ModuleRow::name, "module name");
  columns.number("layer", &ModuleRow::layer, "1", "layer number, -1 where the name has none");
  columns.text("role", &ModuleRow::role, "last component of the module name");
  columns.number("out_features", &ModuleRow::out_features, "1", "output features: rows of the weight");
  columns.number("in_features", &ModuleRow::in_features, "1", "input features: columns of the weight");
  columns.number("alignment_norm", &ModuleRow::alignment_norm, "1", "Frobenius norm of W_aligned - W_base");
  const auto flags = columns.number("flags", &ModuleRow::flags, "1", "what is special about the module");
  image.enumeration(flags.get(), "flag_masks", schema::kFlagMasks, schema::kFlagMeanings);
  if (std::all_of(report.modules.begin(), report.modules.end(),
                  [](const auto& row) { return row.base_digest.empty() && row.aligned_digest.empty(); })) {
    return;  // as they came from a report of an earlier version
  }
  columns.text("base_digest", &ModuleRow::base_digest,
               "digest of the base weight: sum of XXH3-128 over pieces of rows; empty if none was read");
  columns.text("aligned_digest", &ModuleRow::aligned_digest, "digest of the aligned weight, likewise");
}

void write_shards(const Image& image, const Report& report) {
  if (report.shards.empty()) return;
  const auto group = image.group("shards");
  const auto scale =
      numbered_scale(image, group, std::string(schema::kShardScale), report.shards.size(), "one file of weights");
  const ColumnWriter<ShardRow> columns(image, group, report.shards, scale);
  columns.text("checkpoint", &ShardRow::checkpoint, "base or aligned");
  columns.text("path", &ShardRow::path, "file");
  columns.number("bytes", &ShardRow::bytes, "byte", "size of the file");
  columns.number("inode", &ShardRow::inode, "1", "number of the file in its file system");
  columns.number("changed", &ShardRow::changed, "nanoseconds since 1970-01-01 00:00:00", "last change of the content");
}

/// Derived from /metrics and /selection, for programs that want one number an adapter; the reader derives them anew.
void write_summaries(const Image& image, const Handle& group, const Report& report, const Handle& scale) {
  const auto summaries = summarise_adapters(report);
  const auto metric = report.rank_by.empty() ? std::string(methods::kDefaultRanking) : report.rank_by;
  const ColumnWriter<AdapterSummary> columns(image, group, summaries, scale);
  columns.number("modules_scored", &AdapterSummary::modules_scored, "1", "LoRA modules with a score");
  columns.number("modules_pruned", &AdapterSummary::modules_pruned, "1", "modules selected for pruning");
  columns.number("share_pruned", &AdapterSummary::share_pruned, "1", "modules_pruned / modules_scored");
  columns.number("zoo_rank", &AdapterSummary::zoo_rank, "1",
                 "place among the adapters by score: 1 is the worst, 0 not scored");
  columns.number("worst_score", &AdapterSummary::worst_score, "1", ("worst " + metric + " of its modules").c_str());
  std::vector<std::string> worst, several;
  for (const auto& summary : summaries) {
    std::vector<std::string> names;
    for (const auto m : summary.worst_modules) names.push_back(report.modules[m].name);
    worst.push_back(names.empty() ? std::string() : names.front());
    several.push_back(fmt::format("{}", fmt::join(names, " ")));
  }
  image.strings(group.get(), "worst_module", std::move(worst), "module with the worst " + metric, {&scale});
  image.strings(
      group.get(), "worst_modules", std::move(several),
      fmt::format("the {} worst modules by {}, worst first, separated by spaces", kWorstModulesListed, metric),
      {&scale});
}

void write_training_steps(const Image& image, const Handle& group, const Report& report, const Handle& scale) {
  std::vector<std::string> names(report.adapters.size());
  std::vector<std::int64_t> steps(report.adapters.size(), -1);
  for (const auto& run : training_runs(report)) {
    for (const auto& step : run.steps) {
      names[step.adapter] = run.path;
      steps[step.adapter] = static_cast<std::int64_t>(std::min<std::uint64_t>(step.step, INT64_MAX));
    }
  }
  image.strings(group.get(), "training_run", std::move(names), "directory of the training run it is a checkpoint of",
                {&scale});
  image.numbers<std::int64_t>(group.get(), "training_step", {steps.size()}, steps, "1",
                              "N of checkpoint-N, -1 where it is no checkpoint of a training run", {&scale});
}

/// One number an adapter, of which the first ranks if there are probes; and that rank's number under one name always.
void write_scores(const Image& image, const Handle& group, const Report& report, const Handle& scale) {
  for (const auto& metric : report.of_adapters) {
    image.numbers<double>(group.get(), metric.name, {metric.values.size()}, metric.values, metric.units,
                          metric.long_name, {&scale});
  }
  const auto scores = adapter_scores(report);
  const auto dataset = image.numbers<double>(group.get(), "score", {scores.values.size()}, scores.values, "1",
                                             "what ranks the adapters, high is worse: " + scores.long_name, {&scale});
  image.attribute(dataset.get(), "metric", scores.name);
}

void write_verdicts(const Image& image, const Handle& group, const Report& report, const Handle& scale) {
  if (report.verdicts.empty()) return;
  std::vector<std::string> verdicts, reasons;
  for (const auto& judgement : report.verdicts) {
    verdicts.emplace_back(verdict::name(judgement.verdict));
    reasons.push_back(judgement.reason);
  }
  const auto dataset = image.strings(group.get(), "verdict", std::move(verdicts),
                                     "pass, review, block, or incomplete: some of it was not judged", {&scale});
  image.attribute(dataset.get(), schema::kVerdictRate, report.false_discovery_rate);
  image.attribute(dataset.get(), "bank_members", static_cast<std::int64_t>(report.bank.size()));
  image.strings(group.get(), "verdict_reason", std::move(reasons), "why, and what to do", {&scale});
}

void write_adapters(const Image& image, const Report& report, const Handle& scale) {
  const auto group = image.group("adapters");
  image.link(group.get(), schema::kAdapterScale);
  const ColumnWriter<AdapterRow> columns(image, group, report.adapters, scale);
  columns.text("name", &AdapterRow::name, "adapter name");
  columns.text("path", &AdapterRow::path, "directory the adapter was read from");
  columns.text("status", &AdapterRow::status, "ok, or quarantined: not scored");
  columns.text("reason", &AdapterRow::reason, "why the adapter was quarantined");
  columns.number("rank", &AdapterRow::rank, "1", "LoRA rank r");
  columns.number("alpha", &AdapterRow::alpha, "1", "LoRA alpha");
  columns.number("scaling", &AdapterRow::scaling, "1", "factor s of the update s B A");
  columns.text("sha256", &AdapterRow::sha256, "SHA-256 of the adapter's weights");
  columns.number("modules_not_judged", &AdapterRow::modules_not_judged, "1", "LoRA modules that could not be scored");
  columns.text("not_judged", &AdapterRow::not_judged, "which LoRA modules could not be scored, by reason");
  columns.number("tensors_not_judged", &AdapterRow::tensors_not_judged, "1",
                 "tensors beside LoRA factors that no metric sees");
  columns.text("tensors_skipped", &AdapterRow::tensors_skipped, "which tensors no metric sees, by reason");
  columns.text("digest", &AdapterRow::digest, "SHA-256 of the adapter's weights and scales");
  columns.number("parameters", &AdapterRow::parameters, "1", "numbers in all tensors that the adapter ships");
  columns.number("parameters_judged", &AdapterRow::parameters_judged, "1", "of those, in factors of scored modules");
  columns.text("base_model", &AdapterRow::base_model, "base model that the adapter names, with its revision");
  write_summaries(image, group, report, scale);
  write_training_steps(image, group, report, scale);
  write_scores(image, group, report, scale);
  write_verdicts(image, group, report, scale);
}

/// The axes of a group whose datasets are [adapters, modules], and what its modules are.
void link_axes(const Image& image, const Handle& group) {
  image.link(group.get(), schema::kAdapterScale);
  image.link(group.get(), schema::kModuleScale);
  for (const auto name : schema::kModuleCoordinates) image.link(group.get(), name, "modules");
}

void write_metrics(const Image& image, const Report& report, const Handle& adapters, const Handle& modules) {
  const Shape shape{report.adapters.size(), report.modules.size()};
  const auto group = image.group("metrics");
  link_axes(image, group);
  for (const auto& metric : report.metrics) {
    if (metric.categories.empty()) {
      const auto dataset = image.numbers<double>(group.get(), metric.name, shape, metric.values, metric.units,
                                                 metric.long_name, {&adapters, &modules});
      image.attribute(dataset.get(), schema::kCoordinates, std::string(schema::kCoordinateNames));
      continue;
    }
    std::vector<std::uint8_t> codes(metric.values.size()), known(category_names(metric).size());
    std::transform(metric.values.begin(), metric.values.end(), codes.begin(),
                   [](double value) { return std::isnan(value) ? std::uint8_t{0} : static_cast<std::uint8_t>(value); });
    std::iota(known.begin(), known.end(), std::uint8_t{0});
    const auto dataset = image.numbers<std::uint8_t>(group.get(), metric.name, shape, codes, metric.units,
                                                     metric.long_name, {&adapters, &modules});
    image.enumeration(dataset.get(), "flag_values", known, metric.categories);
    image.attribute(dataset.get(), schema::kCoordinates, std::string(schema::kCoordinateNames));
  }
}

void write_selection(const Image& image, const Report& report, const Handle& adapters, const Handle& modules) {
  const Shape shape{report.adapters.size(), report.modules.size()};
  const auto group = image.group("selection");
  link_axes(image, group);
  image.attribute(group.get(), "policy", report.policy);
  image.attribute(group.get(), "rank_by", report.rank_by);
  image.attribute(group.get(), "scope", report.scope);
  image.attribute(group.get(), "population", report.population);
  const auto actions = codes(report.action, shape[0] * shape[1]);
  const auto action = image.numbers<std::uint8_t>(group.get(), "action", shape, actions, "1",
                                                  "what the selection decided; none: no LoRA there, or not scored",
                                                  {&adapters, &modules});
  image.enumeration(action.get(), "flag_values", schema::kActionValues, schema::kActionMeanings);
  image.attribute(action.get(), schema::kCoordinates, std::string(schema::kCoordinateNames));
  auto present = report.present;
  present.resize(shape[0] * shape[1]);
  const bool any_dense = std::find(present.begin(), present.end(), std::uint8_t(Presence::dense)) != present.end();
  const auto presence =
      image.numbers<std::uint8_t>(group.get(), "present", shape, present, "1",
                                  std::string("1 if the adapter has LoRA on the module, scored or not") +
                                      (any_dense ? "; 2 if it ships all of its weight" : ""),
                                  {&adapters, &modules});
  image.attribute(presence.get(), schema::kCoordinates, std::string(schema::kCoordinateNames));
}

void write_copies(const Image& image, const Report& report) {
  if (report.copies.empty()) return;
  const auto group = image.group("copies");
  const auto scale =
      numbered_scale(image, group, std::string(schema::kCopyScale), report.copies.size(), "one copy of an adapter");
  const ColumnWriter<CopyRow> columns(image, group, report.copies, scale);
  columns.text("path", &CopyRow::path, "directory that has the content of an adapter and is judged with it");
  columns.number("of", &CopyRow::of, "1", "row of that adapter in /adapters, from 0");
}

void write_run(const Image& image, const Report& report) {
  const auto group = image.group("run");
  const auto scale =
      numbered_scale(image, group, std::string(schema::kStageScale), report.run.size(), "one stage of one MPI rank");
  const ColumnWriter<StageRow> columns(image, group, report.run, scale);
  columns.number("rank", &StageRow::rank, "1", "MPI rank");
  columns.text("stage", &StageRow::stage, "stage of the run");
  columns.number("seconds", &StageRow::seconds, "s", "wall-clock time spent");
  columns.number("bytes_read", &StageRow::bytes_read, "byte", "bytes read from files");
  columns.number("peak_memory_bytes", &StageRow::peak_memory_bytes, "byte",
                 "largest resident memory of the process so far");
  columns.number("readers", &StageRow::readers, "1", "threads by which storage was read best; 0: not measured");
  columns.number("bytes_of_a_read", &StageRow::bytes_of_a_read, "byte", "size of a read of these");
  columns.number("bytes_per_second", &StageRow::bytes_per_second, "byte/s", "what storage gave then");
  const bool merged =
      std::any_of(report.run.begin(), report.run.end(), [](const StageRow& row) { return !row.part.empty(); });
  if (merged) columns.text("part", &StageRow::part, "report that was merged");
}

void check_consistent(const Report& report, const std::string& path) {
  const auto cells = report.adapters.size() * report.modules.size();
  const auto require = [&](bool holds, const std::string& what) {
    if (!holds) throw base::Error(ErrorKind::runtime, "report is inconsistent: " + what).file(path);
  };
  for (const auto& metric : report.metrics) {
    require(metric.values.size() == cells,
            fmt::format("{} values of {} for {} adapters and {} modules", metric.values.size(), metric.name,
                        report.adapters.size(), report.modules.size()));
    const bool reserved = metric.name.empty() || metric.name.find('/') != std::string::npos;
    require(!reserved && !schema::is_axis(metric.name), fmt::format("a metric cannot be called '{}'", metric.name));
  }
  const auto present = report.present.size(), action = report.action.size();
  require(present == cells || present == 0, fmt::format("{} flags of presence for {} cells", present, cells));
  require(action == cells || action == 0, fmt::format("{} actions for {} cells", action, cells));
  for (const auto& copy : report.copies) {
    require(copy.of < report.adapters.size(), fmt::format("a copy of adapter {}", copy.of));
  }
  const auto probes = report.probes.size();
  require(report.probe_norms.size() == probes * report.modules.size() && report.probe_dots.size() == probes * cells,
          fmt::format("products with {} probes", probes));
  require(report.probe_blocks.size() == probes * cells || report.probe_blocks.empty(),
          fmt::format("blocks of {} probes", probes));
  if (report.heads) {
    const auto& heads = *report.heads;
    require(heads.dots.size() == probes * report.adapters.size() * heads.attention.size() * heads.query,
            fmt::format("{} products of heads", heads.dots.size()));
  }
  const auto members = report.bank.size();
  require(report.bank_pulls.size() == probes * members && report.bank_units.size() == (members == 0 ? 0 : probes) &&
              report.bank_log_norms.size() == members &&
              std::all_of(report.bank_numbers.begin(), report.bank_numbers.end(),
                          [&](const Metric& number) { return number.values.size() == members; }),
          fmt::format("a bank of {} adapters", members));
  const auto verdicts = report.verdicts.size();
  require(verdicts == report.adapters.size() || verdicts == 0, fmt::format("{} verdicts", verdicts));
  for (const auto& metric : report.of_adapters) {
    require(metric.values.size() == report.adapters.size(),
            fmt::format("{} of {} adapters", metric.name, metric.values.size()));
  }
}

void fill(const Image& image, const Report& report) {
  write_root(image, report);
  const std::string adapter(schema::kAdapterScale), module(schema::kModuleScale);
  const auto adapters = image.scale(
      image.strings(image.root(), adapter, report.adapters, &AdapterRow::name, "adapter name", {}), adapter);
  const auto modules =
      image.scale(image.strings(image.root(), module, report.modules, &ModuleRow::name, "module name", {}), module);
  write_modules(image, report, modules);
  write_adapters(image, report, adapters);
  write_metrics(image, report, adapters, modules);
  write_selection(image, report, adapters, modules);
  write_probes(image, report, adapters, modules);
  write_bank(image, report);
  write_heads(image, report, adapters);
  write_copies(image, report);
  write_shards(image, report);
  write_run(image, report);
}

}  // namespace

void write_hdf5(const Report& report, const std::string& path) {
  check_consistent(report, path);
  base::AtomicFile file(path);  // first: an unwritable directory is told before any work
  const Image image(path);
  fill(image, report);
  const auto bytes = image.bytes();
  file.append(bytes);
  base::Sha256 hash;
  hash.update(bytes);
  file.append(fmt::format("{}{}\n", schema::kSealPrefix, hash.finish()));
  file.commit();
}

}  // namespace winnow::report
