#include "winnow/forecast/plan.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <numeric>
#include <set>

#include "winnow/base/text.hpp"
#include "winnow/comm/together.hpp"
#include "winnow/division/memory.hpp"
#include "winnow/metrics/quantile.hpp"
#include "winnow/output/destinations.hpp"

namespace winnow::forecast {
namespace {

using division::TeamPlace;
using input::Inputs;
using run::AuditOptions;
using run::Means;
using run::Measuring;

std::uint64_t adapter_bytes(const Inputs& inputs, std::size_t module) {
  std::uint64_t bytes = 0;
  for (const auto& layer : inputs.layers[module]) bytes += inputs.layer_bytes(inputs.tasks[module], layer);
  return bytes;
}

/// What a member of a team that has these modules reads and computes: its slabs, but every factor.
RankLoad load_of(const Inputs& inputs, const std::vector<std::size_t>& modules, std::uint64_t budget,
                 const TeamPlace& place) {
  RankLoad load;
  for (const auto m : modules) {
    const auto& task = inputs.tasks[m];
    std::uint64_t rows = 0;
    for (const auto& slab : division::member_slabs(task, place)) rows += slab.rows;
    if (inputs.is_dense(task)) rows = place.member == 0 ? task.rows() : 0;  // one member does it alone
    const std::uint64_t row_bytes = task.rows() == 0 ? 0 : (task.all_bytes() - task.update_bytes) / task.rows();
    ++load.modules;
    load.weight_bytes += rows * row_bytes;
    load.adapter_bytes += adapter_bytes(inputs, m);
    load.flops += task.rows() == 0 ? 0 : task.flops() * static_cast<double>(rows) / static_cast<double>(task.rows());
  }
  load.memory_bytes = division::expected_memory(inputs, modules, budget, place);
  return load;
}

std::string gigabytes(std::uint64_t bytes) { return fmt::format("{:.3f} GB", static_cast<double>(bytes) / 1e9); }

void render_checkpoint(std::string& text, std::string_view label, const checkpoint::Catalogue& catalogue) {
  text += fmt::format("{:<9}{}: {} shards, {} tensors, {}\n", label, base::printable(catalogue.directory),
                      catalogue.shards.size(), catalogue.tensors.size(), gigabytes(catalogue.total_bytes()));
}

void render_adapters(std::string& text, const Inputs& inputs) {
  for (const auto& adapter : inputs.adapters) {
    if (adapter.status == adapter::AdapterStatus::ok) {
      text += fmt::format("adapter  {}: {} LoRA modules, rank {}, scale {:g}", base::printable(adapter.name),
                          adapter.modules.size(), adapter.rank, adapter.scale);
      if (!adapter.dense.empty()) text += fmt::format(", {} dense", adapter.dense.size());
      if (!adapter.skipped.empty()) {
        text += fmt::format(", {} tensor{} not scored", adapter.skipped.size(), adapter.skipped.size() == 1 ? "" : "s");
      }
      if (!adapter.unjudged.empty()) text += fmt::format(", {} not judged", adapter.unjudged.size());
      text += '\n';
    } else {
      text +=
          fmt::format("adapter  {}: quarantined: {}\n", base::printable(adapter.name), base::printable(adapter.reason));
    }
    for (const auto& skipped : adapter.skipped)
      text += fmt::format("           {}: {}\n", base::printable(skipped.key), base::printable(skipped.reason));
    for (const auto& module : adapter.unjudged) {
      if (module.mismatch)
        text += fmt::format("           {}: {}\n", base::printable(module.module), base::printable(module.reason));
    }
  }
}

void render_modules(std::string& text, const AuditPlan& plan) {
  text += "\nmodule                                               shape          dtype   columns  rank  shard\n";
  for (std::size_t m = 0; m < plan.inputs.tasks.size(); ++m) {
    const auto& task = plan.inputs.tasks[m];
    const bool streamed = task.aligned.bytes != 0;
    const auto file = streamed
                          ? std::filesystem::path(plan.inputs.shard_of(task, !task.has_base()).path).filename().string()
                          : std::string("(probes that are adapters)");
    text += fmt::format("{:<52} {:<14} {:<7} {:>7}  {:>4}  {}{}\n", base::printable(task.name),
                        fmt::format("{}x{}", task.out_features, task.in_features),
                        streamed ? base::name(task.has_base() ? task.base.dtype : task.aligned.dtype) : "-",
                        task.stacked_columns, plan.owner[m], base::printable(file),
                        task.stored_transposed ? " (stored transposed)" : "");
    // If an adapter's own name differs, the mapping is worth seeing.
    std::set<std::string> names;
    for (const auto& layer : plan.inputs.layers[m]) names.insert(plan.inputs.adapter_module(task, layer));
    for (const auto& name : names) {
      if (name != task.name) text += fmt::format("    <- {}\n", base::printable(name));
    }
    if (task.weight != task.name + ".weight") text += fmt::format("    -> tensor {}\n", base::printable(task.weight));
  }
}

std::string rank_line(std::string_view label, const RankLoad& load) {
  return fmt::format("{:>8} {:>7} {:>12} {:>12} {:>12.4g} {:>12}\n", label, load.modules, gigabytes(load.weight_bytes),
                     gigabytes(load.adapter_bytes), load.flops / 1e12, gigabytes(load.memory_bytes));
}

/// Each column by itself: no rank need have all of these.
RankLoad column_quantile(const std::vector<RankLoad>& ranks, double q) {
  const auto of = [&](auto member) {
    std::vector<double> values;
    for (const auto& load : ranks) values.push_back(static_cast<double>(load.*member));
    return metrics::quantile(std::move(values), q);
  };
  const auto count = [&](auto member) { return static_cast<std::uint64_t>(std::llround(of(member))); };
  RankLoad load;
  load.modules = count(&RankLoad::modules);
  load.weight_bytes = count(&RankLoad::weight_bytes);
  load.adapter_bytes = count(&RankLoad::adapter_bytes);
  load.flops = of(&RankLoad::flops);
  load.memory_bytes = count(&RankLoad::memory_bytes);
  return load;
}

void render_ranks(std::string& text, const std::vector<RankLoad>& ranks, bool every_rank) {
  constexpr std::size_t kListedAll = 8, kListedMost = 4;
  text += "    rank modules      weights     adapters        TFLOP       memory\n";
  std::vector<std::size_t> listed(ranks.size());
  std::iota(listed.begin(), listed.end(), std::size_t{0});
  if (!every_rank && ranks.size() > kListedAll) {
    text += rank_line("least", column_quantile(ranks, 0)) + rank_line("median", column_quantile(ranks, 0.5)) +
            rank_line("most", column_quantile(ranks, 1));
    std::stable_sort(listed.begin(), listed.end(),
                     [&](auto a, auto b) { return ranks[a].weight_bytes > ranks[b].weight_bytes; });
    listed.resize(kListedMost);
  }
  for (const auto r : listed) text += rank_line(fmt::format("{}", r), ranks[r]);
  if (listed.size() == ranks.size()) return;
  text += fmt::format(
      "(least, median and most of each column, and the {} of {} ranks that read most; --every-rank lists "
      "them all)\n",
      listed.size(), ranks.size());
}

/// Who does what, and what that takes.
void divide(AuditPlan& plan, const Means& means, const Measuring& measuring, int ranks) {
  const auto assignment = division::assign_modules(means, measuring, plan.inputs.tasks, ranks);
  plan.team = assignment.members;
  plan.owner = assignment.team_of_module;
  plan.imbalance = slab::imbalance(plan.inputs.tasks, plan.owner, static_cast<int>(assignment.modules.size()));
  for (int rank = 0; rank < ranks; ++rank) {
    plan.ranks.push_back(
        load_of(plan.inputs, assignment.modules_of(rank), means.memory_budget, assignment.place_of(rank)));
  }
  plan.work = audit_work(plan.inputs, assignment, means.memory_budget);
}

}  // namespace

AuditPlan plan_audit(const AuditOptions& options, int ranks, comm::Communicator& world, const base::Log& log) {
  comm::run_together(world, [&] { run::validate(options); });
  comm::from_coordinator(world, [&] {
    output::check_destinations(options.write, options.journal, options.judge.bank);
    return std::string();
  });
  AuditPlan plan;
  const auto start = std::chrono::steady_clock::now();
  plan.inputs = input::read_inputs(options.read, options.measure, options.means, options.stop, world, log);
  const std::chrono::duration<double> header_time = std::chrono::steady_clock::now() - start;
  comm::from_coordinator(world, [&] {
    output::check_repaired_adapters(plan.inputs, options.write);
    return std::string();
  });
  comm::run_together(world, [&] { divide(plan, options.means, options.measure, ranks); });
  plan.work.header_seconds = header_time.count();
  return plan;
}

std::string render_plan(const AuditPlan& plan, const PlanDetail& detail) {
  std::string text;
  if (plan.inputs.has_pair()) {
    render_checkpoint(text, "base", plan.inputs.base);
    render_checkpoint(text, "aligned", plan.inputs.aligned);
  }
  for (const auto& probe : plan.inputs.probes) {
    if (probe.is_direction()) {
      render_checkpoint(text, "probe", probe.weights);
    } else {
      text += fmt::format("probe    {}: {} LoRA modules\n", base::printable(probe.name), probe.adapter.modules.size());
    }
  }
  render_adapters(text, plan.inputs);
  if (detail.every_module) render_modules(text, plan);
  RankLoad total;
  for (const auto& load : plan.ranks) {
    total.weight_bytes += load.weight_bytes;
    total.adapter_bytes += load.adapter_bytes;
    total.flops += load.flops;
    total.memory_bytes = std::max(total.memory_bytes, load.memory_bytes);
  }
  text += fmt::format("\n{} modules{}: {} of weights and {} of adapters to read, {:.4g} TFLOP, {:.3g} flop per byte\n",
                      plan.inputs.first_task.size(),
                      plan.inputs.tasks.size() == plan.inputs.first_task.size()
                          ? ""
                          : fmt::format(", {} operands on them", plan.inputs.tasks.size()),
                      gigabytes(total.weight_bytes), gigabytes(total.adapter_bytes), total.flops / 1e12,
                      total.weight_bytes == 0 ? 0.0 : total.flops / static_cast<double>(total.weight_bytes));
  text += fmt::format("memory   {} a rank at most, libraries aside\n", gigabytes(total.memory_bytes));
  if (plan.team > 1) {
    text +=
        fmt::format("teams    {} ranks share each module: their team, not their rank, is listed with it\n", plan.team);
  }
  text += fmt::format("balance  {:.3f} (largest load of a rank over the mean)\n\n", plan.imbalance);
  render_ranks(text, plan.ranks, detail.every_rank);
  return text;
}

}  // namespace winnow::forecast
