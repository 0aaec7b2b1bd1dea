#include "winnow/forecast/prediction.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <variant>

#include "winnow/base/error.hpp"
#include "winnow/base/parallel.hpp"

namespace winnow::forecast {
namespace {

using base::Error;
using base::ErrorKind;
using run::Means;
using run::Measuring;

/// Shorter than this, a stage is not worth a percentage.
constexpr double kShortestStage = 1e-3;

std::string counted(std::size_t count, std::string_view what) {
  return fmt::format("{} {}{}", count, what, count == 1 ? "" : "s");
}

/// What of a site follows from the number of ranks.
struct Layout {
  std::size_t per_node = 1;  ///< ranks
  int threads = 1;           ///< of a rank
};

Layout layout(std::size_t ranks, const CostConstants& constants, const Site& site) {
  const auto per_node = std::min<std::size_t>(static_cast<std::size_t>(site.ranks_per_node), ranks);
  return {per_node, site.threads > 0 ? site.threads : std::max(1, constants.cores / static_cast<int>(per_node))};
}

std::string describe(std::size_t ranks, const KnownConstants& known, const Site& site) {
  const auto& constants = known.constants;
  const auto [per_node, threads] = layout(ranks, constants, site);
  std::string text =
      fmt::format("{}, {} a node, {} each, weights {}in the page cache", counted(ranks, "rank"), per_node,
                  counted(static_cast<std::size_t>(threads), "thread"), site.warm ? "" : "not ");
  if (site.node_bandwidth > 0) text += fmt::format(", storage {:.3g} GB/s a node", site.node_bandwidth / 1e9);
  text += '\n';
  if (known.file.empty()) {
    text += "  constants: cautious defaults, not of this machine; measure them with winnow plan --calibrate\n";
  } else {
    text += fmt::format("  constants: {} ({}, {}, {})\n", known.file, constants.created_utc, constants.machine,
                        counted(static_cast<std::size_t>(constants.cores), "core"));
  }
  return text;
}

[[noreturn]] void refuse(const std::string& path, std::string_view expectation) {
  throw Error(ErrorKind::invalid_input, "the report is of another audit").file(path).expected(expectation);
}

/// What the work depends on and a report tells.
void require_same_audit(const AuditPlan& plan, const report::Report& report, const std::string& path,
                        const Means& means, const Measuring& measuring) {
  const auto is = [&](const char* name, const report::Attribute& value) {
    const auto found = report.attributes.find(name);
    return found != report.attributes.end() && found->second == value;
  };
  if (!is("base_fingerprint", plan.inputs.base.fingerprint)) refuse(path, "one of the same base checkpoint");
  if (!is("aligned_fingerprint", plan.inputs.aligned.fingerprint)) refuse(path, "one of the same aligned checkpoint");
  if (!is("subspace_rank", static_cast<std::int64_t>(measuring.subspace_rank)))
    refuse(path, "the same --subspace-rank");
  if (!is("backend", std::string(compute::name(means.backend)))) refuse(path, "the same --backend");
  std::vector<std::string> planned, audited;
  for (const auto& adapter : plan.inputs.adapters) planned.push_back(adapter.sha256);
  for (const auto& adapter : report.adapters) audited.push_back(adapter.sha256);
  std::sort(planned.begin(), planned.end());
  std::sort(audited.begin(), audited.end());
  if (planned != audited) refuse(path, "one of the same adapters");
}

/// Seconds of each stage, mean over the ranks.
std::map<std::string, double> recorded_stages(const report::Report& report, int ranks) {
  std::map<std::string, double> stages;
  for (const auto& row : report.run) stages[row.stage] += row.seconds / ranks;
  return stages;
}

std::string residual(double predicted, double recorded) {
  if (std::max(predicted, recorded) < kShortestStage || recorded <= 0) return "-";
  return fmt::format("{:+.1f} %", 100 * (predicted - recorded) / recorded);
}

std::string gigabytes(std::uint64_t bytes) { return fmt::format("{:.3f} GB", static_cast<double>(bytes) / 1e9); }

}  // namespace

KnownConstants known_constants(const std::string& file) {
  if (!file.empty()) return {read_constants(file), file};
  const auto path = default_constants_path();
  std::error_code ignored;
  if (!path.empty() && std::filesystem::exists(path, ignored)) return {read_constants(path), path};
  return {default_constants(base::default_threads(1)), {}};
}

std::string render_prediction(const AuditPlan& plan, const KnownConstants& known, const Site& site) {
  const auto& constants = known.constants;
  const auto prediction = predict(plan.work, constants, site);
  std::string text = "\nprediction: " + describe(plan.work.ranks.size(), known, site);
  std::uint64_t weights = 0, read = 0;
  for (const auto& rank : plan.work.ranks) {
    weights += rank.weight_bytes;
    read += rank.read_bytes;
  }
  for (const auto& stage : prediction.stages) text += fmt::format("  {:<12} {:>10.3f} s\n", stage.stage, stage.seconds);
  if (plan.team > 1) text += "  and what the ranks of a team take to add up Y and f^2, which is not predicted\n";
  text += fmt::format("  {:<12} {:>10.3f} s, {:.3g} GB/s of weights; {:.2f} s more to start\n", "total",
                      prediction.total, prediction.bytes_per_second / 1e9, constants.start_up_seconds);
  if (read > weights) {
    text += fmt::format("  reads {} of weights: modules that do not fit --memory-budget are read once a pass\n",
                        gigabytes(read));
  }
  text +=
      fmt::format("  bottleneck: {} (on the slowest rank, storage alone takes {:.3g} s, arithmetic alone {:.3g} s)\n",
                  prediction.bottleneck, prediction.storage, prediction.arithmetic);
  if (const auto adapters = crossover(plan.work, constants, site)) {
    text += *adapters == 1
                ? std::string("  arithmetic takes longer than reading the weights from the first adapter on\n")
                : fmt::format("  arithmetic takes longer than reading the weights from {} adapters on\n", *adapters);
  }
  return text;
}

std::string prediction_json(const AuditPlan& plan, const KnownConstants& known, const Site& site) {
  using nlohmann::ordered_json;
  const auto& constants = known.constants;
  const auto prediction = predict(plan.work, constants, site);
  const auto place = layout(plan.work.ranks.size(), constants, site);
  std::uint64_t weights = 0, read = 0;
  for (const auto& rank : plan.work.ranks) weights += rank.weight_bytes, read += rank.read_bytes;
  ordered_json stages = ordered_json::object();
  for (const auto& stage : prediction.stages) stages[stage.stage] = stage.seconds;
  const auto adapters = crossover(plan.work, constants, site);
  const ordered_json document = {
      {"schema_version", 1},
      {"modules", plan.inputs.tasks.size()},
      {"adapters", plan.work.adapters},
      {"weight_bytes", weights},
      {"read_bytes", read},
      {"ranks", plan.work.ranks.size()},
      {"ranks_per_node", place.per_node},
      {"threads", place.threads},
      {"team", plan.team},
      {"warm", site.warm},
      {"storage_bandwidth", site.node_bandwidth > 0 ? ordered_json(site.node_bandwidth) : ordered_json(nullptr)},
      {"constants",
       {{"file", known.file.empty() ? ordered_json(nullptr) : ordered_json(known.file)},
        {"measured", constants.measured()},
        {"created_utc", constants.created_utc},
        {"machine", constants.machine},
        {"cores", constants.cores}}},
      {"stages", stages},
      {"total_seconds", prediction.total},
      {"start_up_seconds", constants.start_up_seconds},
      {"bytes_per_second", prediction.bytes_per_second},
      {"storage_seconds", prediction.storage},
      {"arithmetic_seconds", prediction.arithmetic},
      {"bottleneck", prediction.bottleneck},
      {"crossover_adapters", adapters ? ordered_json(*adapters) : ordered_json(nullptr)},
  };
  // Paths may hold what is not UTF-8.
  return document.dump(2, ' ', false, ordered_json::error_handler_t::replace) + "\n";
}

std::string render_check(const AuditPlan& plan, const report::Report& report, const std::string& path,
                         const KnownConstants& known, const Means& means, const Measuring& measuring,
                         const Site& site) {
  require_same_audit(plan, report, path, means, measuring);
  const auto found = report.attributes.find("mpi_ranks");
  const auto* count = found == report.attributes.end() ? nullptr : std::get_if<std::int64_t>(&found->second);
  if (count == nullptr || *count < 1 || *count > kMostRanks || report.run.empty()) {
    refuse(path, "one that tells its ranks and their stages");
  }
  // Of those /run does not tell the whole of what was done, or tells it several times over.
  if (report.attributes.count("merged_from") != 0) refuse(path, "one of a single audit, not a merged one");
  if (report.attributes.count("resumed_modules") != 0) refuse(path, "one of an audit that was not resumed");
  const int ranks = static_cast<int>(*count);
  auto work = audit_work(plan.inputs, division::assign_modules(means, measuring, plan.inputs.tasks, ranks),
                         means.memory_budget);
  work.header_seconds = plan.work.header_seconds;
  const auto prediction = predict(work, known.constants, site);
  auto recorded = recorded_stages(report, ranks);

  std::string text = fmt::format("\ncheck: {}: {}", path, describe(work.ranks.size(), known, site));
  text += "                predicted    recorded    residual\n";
  const auto row = [&](std::string_view name, double predicted, double measured) {
    text += fmt::format("  {:<12} {:>10.3f} s {:>9.3f} s {:>11}\n", name, predicted, measured,
                        residual(predicted, measured));
  };
  double total = 0;
  for (const auto& stage : prediction.stages) {
    row(stage.stage, stage.seconds, recorded[stage.stage]);
    total += recorded[stage.stage];
    recorded.erase(stage.stage);
  }
  row("total", prediction.total, total);
  std::uint64_t to_read = 0, was_read = 0;
  for (const auto& rank : work.ranks) to_read += rank.read_bytes;
  for (const auto& stage : report.run) was_read += stage.stage == "read" ? stage.bytes_read : 0;
  text += fmt::format("  {:<12} {:>13} {:>11}  {:>9}\n", "weights", gigabytes(to_read), gigabytes(was_read),
                      to_read == was_read ? "equal" : "different");
  for (const auto& [stage, seconds] : recorded) {
    text += fmt::format("  {:<12} {:>10} {:>11.3f} s, not in the model nor in the total\n", stage, "-", seconds);
  }
  return text;
}

}  // namespace winnow::forecast
