#include "winnow/output/repaired_adapters.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "winnow/adapter/treatment.hpp"
#include "winnow/comm/together.hpp"
#include "winnow/output/destinations.hpp"
#include "winnow/output/repair_by_weights.hpp"
#include "winnow/output/repair_in_turn.hpp"

namespace winnow::output {
namespace {

using input::Inputs;
using run::Writing;

/// Of the scored adapters, each without what is selected of it, or with new factors there or everywhere.
std::vector<RepairOrder> make_orders(const report::Report& report, const Inputs& inputs, const Writing& writing,
                                     bool of_selection, const base::Log& log) {
  const auto modules = report.modules.size();
  std::vector<std::vector<std::string>> selected(inputs.adapters.size());
  for (std::size_t m = 0; m < inputs.first_task.size(); ++m) {
    if (inputs.is_dense_alone(m)) continue;  // no repair reaches it
    for (const auto& layer : inputs.layers[inputs.first_task[m]]) {
      if (report.action[layer.adapter * modules + m] == report::Action::prune) {
        selected[layer.adapter].push_back(inputs.lora(layer).adapter_module());
      }
    }
  }
  const auto paths = repaired_directories(inputs.adapters, writing.repaired_dir);
  std::vector<RepairOrder> orders;
  for (std::size_t n = 0; n < selected.size(); ++n) {
    if (report.adapters[n].status != "ok") continue;
    const auto& dense = inputs.adapters[n].dense;
    if (std::any_of(dense.begin(), dense.end(), [](const auto& update) { return update.is_dora(); })) {
      log.warn(fmt::format("adapter {} is not repaired: {}", inputs.adapters[n].name, adapter::dora_reason()));
      continue;
    }
    orders.push_back({inputs.adapters[n].path, paths[n], std::nullopt, n});
    if (of_selection) orders.back().only = std::move(selected[n]);
  }
  return orders;
}

/// Whether only the selected modules are repaired.
bool is_of_selection(const Writing& writing, const select::Policy& policy) {
  if (!writing.module_repair) return true;
  return policy.kind != select::Policy::Kind::none && repair::repair_of(writing.module_repair->kind).of_selection;
}

std::vector<RepairOutcome> carry_out(const std::vector<RepairOrder>& orders, const Inputs& inputs,
                                     const Writing& writing, int threads, comm::Communicator& world,
                                     const base::Log& log) {
  if (!writing.module_repair) return take_out_in_turn(orders, *writing.repair, world);
  const auto& repair = *writing.module_repair;
  return needs_weights(repair) ? repair_by_weights(inputs, orders, repair, threads, world, log).outcomes
                               : repair_in_turn(orders, repair, world, log);
}

}  // namespace

std::vector<RepairedAdapter> write_repaired_adapters(const report::Report& report, const Inputs& inputs,
                                                     const Writing& writing, const select::Policy& policy, int threads,
                                                     comm::Communicator& world, const base::Log& log) {
  const auto bytes = comm::from_coordinator(
      world, [&] { return serialise(make_orders(report, inputs, writing, is_of_selection(writing, policy), log)); });
  const auto orders = comm::result_together(world, [&] { return deserialise_orders(bytes); });
  const auto outcomes = carry_out(orders, inputs, writing, threads, world, log);
  std::vector<RepairedAdapter> all;
  for (std::size_t k = 0; k < outcomes.size(); ++k) {
    const auto& outcome = outcomes[k];
    const auto& adapter = inputs.adapters[orders[k].adapter];
    auto& repaired = all.emplace_back();
    repaired.name = adapter.name;
    repaired.path = orders[k].destination;
    repaired.written = outcome.written.has_value();
    repaired.nothing_left = outcome.nothing_left;
    if (outcome.written) {
      repaired.kept = outcome.written->kept;
      repaired.pruned = outcome.written->replaced;
    } else if (outcome.nothing_left) {
      log.warn(fmt::format("{}: all of its modules are pruned, so no adapter is written", adapter.path));
    } else {
      log.warn(fmt::format("adapter {} is not repaired: {}", adapter.name, outcome.fault->what()));
    }
  }
  return all;
}

}  // namespace winnow::output
