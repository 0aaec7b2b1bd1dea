#include "winnow/pipeline/repair.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <numeric>
#include <utility>

#include "winnow/adapter/adapter.hpp"
#include "winnow/base/error.hpp"
#include "winnow/base/parallel.hpp"
#include "winnow/base/same_file.hpp"
#include "winnow/comm/together.hpp"
#include "winnow/input/inputs.hpp"
#include "winnow/output/destinations.hpp"
#include "winnow/output/repair_by_weights.hpp"
#include "winnow/output/repair_in_turn.hpp"
#include "winnow/output/repairer.hpp"
#include "winnow/report/hdf5_report.hpp"

namespace winnow::pipeline {
namespace {

using adapter::Adapter;
using base::Error;
using base::ErrorKind;
using input::Inputs;
using output::RepairOrder;

/// Directories, with what is known of the adapters in them.
struct Sources {
  std::vector<Adapter> adapters;
  std::vector<std::size_t> place;  ///< [adapters]: among Inputs::adapters
};

/// The adapters of the run, and those that are to be written.
struct Plan {
  std::vector<Repaired> adapters;       ///< on the coordinator; those without an order have their fault
  std::vector<RepairOrder> orders;      ///< on every rank
  std::vector<std::size_t> adapter_of;  ///< [orders], into `adapters`, on the coordinator
};

/// Nothing is opened yet.
Sources unopened(const RepairOptions& options, comm::Communicator& world, const base::Log& log) {
  std::vector<std::string> directories{options.adapter};
  if (!options.zoo.empty()) {
    directories = adapter::find_adapters(options.zoo, false, log, [&] { world.peers().keep_alive(); });
  }
  Sources sources{std::vector<Adapter>(directories.size()), std::vector<std::size_t>(directories.size())};
  for (std::size_t n = 0; n < directories.size(); ++n) sources.adapters[n].path = directories[n];
  adapter::assign_unique_names(sources.adapters);
  return sources;
}

/// What an audit judges once is written as often as it is there.
Sources opened(const Inputs& inputs) {
  Sources sources{inputs.adapters, {}};
  sources.place.resize(inputs.adapters.size());
  std::iota(sources.place.begin(), sources.place.end(), std::size_t{0});
  for (const auto& copy : inputs.copies) {
    sources.adapters.push_back(inputs.adapters[copy.of]);
    sources.adapters.back().path = copy.path;
    sources.place.push_back(copy.of);
  }
  adapter::assign_unique_names(sources.adapters);
  return sources;
}

/// What cannot be repaired is no error of a zoo.
class Orders {
 public:
  Orders(const RepairOptions& options, const base::Log& log) : options_(options), log_(log) {
    if (!options.report.empty()) report_ = report::read_hdf5(options.report);
  }

  Plan of(const Sources& sources) {
    const auto below = output::repaired_directories(sources.adapters, options_.output);
    Plan plan;
    for (std::size_t n = 0; n < sources.adapters.size(); ++n) {
      const auto& adapter = sources.adapters[n];
      auto& repaired = plan.adapters.emplace_back();
      repaired = {adapter.name, adapter.path, is_lone() ? options_.output : below[n], false, {}};
      try {
        RepairOrder order{repaired.source, repaired.destination, std::nullopt, sources.place[n]};
        require_sound(adapter);
        if (report_) order.only = modules_to_prune(*report_, adapter.path, options_.anew, log_);
        repaired.nothing_selected = order.only && order.only->empty();
        plan.orders.push_back(std::move(order));
        plan.adapter_of.push_back(n);
      } catch (const Error& error) {
        if (is_lone() || error.kind() != ErrorKind::invalid_input) throw;
        repaired.outcome.fault = error;
      }
    }
    check_destinations(plan, sources.adapters);
    return plan;
  }

 private:
  bool is_lone() const { return options_.zoo.empty(); }

  void require_sound(const Adapter& adapter) const {
    if (adapter.status == adapter::AdapterStatus::ok) return;
    const bool named = adapter.reason.find(adapter.path) != std::string::npos;
    throw Error(ErrorKind::invalid_input, fmt::format("the adapter cannot be repaired{}: {}", along(), adapter.reason))
        .file(named ? "" : adapter.path);
  }

  /// What the adapter was held against, if that is no checkpoint.
  std::string along() const {
    std::string text;
    if (!options_.repair) return text;
    for (const auto& probe : options_.repair->probes) text += (text.empty() ? " along " : ", ") + probe.path;
    return text;
  }

  /// Before hours of work.
  static void check_destinations(const Plan& plan, const std::vector<Adapter>& adapters) {
    for (const auto& order : plan.orders) {
      if (!adapter::check_destination(order.destination)) continue;
      for (const auto& adapter : adapters) base::require_not_an_input(order.destination, adapter.path, "--output");
    }
  }

  const RepairOptions& options_;
  const base::Log& log_;
  std::optional<report::Report> report_;
};

/// Collective. `sources` are the coordinator's.
Plan make_plan(const RepairOptions& options, const std::function<Sources()>& sources, comm::Communicator& world,
               const base::Log& log) {
  Plan plan;
  const auto bytes = comm::from_coordinator(world, [&] {
    plan = Orders(options, log).of(sources());
    return output::serialise(plan.orders);
  });
  comm::run_together(world, [&] { plan.orders = output::deserialise_orders(bytes); });
  return plan;
}

/// By the rules of an audit.
Inputs read_inputs(const RepairOptions& options, comm::Communicator& world, const base::Log& log) {
  run::Reading reading;
  reading.base = options.repair->base;
  reading.aligned = options.repair->aligned;
  reading.probes = options.repair->probes;
  reading.adapter.dense = false;  // repairs are of updates that are low-rank
  if (!options.adapter.empty()) reading.adapters = {options.adapter};
  reading.zoo = options.zoo;
  const run::Measuring measuring{.sums = 0, .subspace_rank = 0};
  input::References references;
  comm::from_coordinator(world, [&] {
    references = input::read_references(reading, log, [&] { world.peers().keep_alive(); });
    return std::string();
  });
  // What is wrong with an adapter is told later, if it is not repaired.
  return input::read_inputs(reading, measuring, {}, {}, world, base::Log(), &references);
}

/// A direction need not have every module; the model should.
void tell_of_unjudged(const std::string& source, const Adapter& adapter, bool of_model, const base::Log& log) {
  const auto is_told = [&](const auto& module) { return of_model || !module.mismatch; };
  const auto first = std::find_if(adapter.unjudged.begin(), adapter.unjudged.end(), is_told);
  if (first == adapter.unjudged.end()) return;
  log.warn(fmt::format("{}: {} of its modules stay as they are, the first {}: {}", source,
                       std::count_if(first, adapter.unjudged.end(), is_told), first->module, first->reason));
}

RepairResult result_of(Plan plan, std::vector<output::RepairOutcome> outcomes) {
  RepairResult result{std::move(plan.adapters), 0};
  for (std::size_t k = 0; k < outcomes.size(); ++k) {
    result.adapters[plan.adapter_of[k]].outcome = std::move(outcomes[k]);
  }
  return result;
}

RepairResult by_weights(const RepairOptions& options, comm::Communicator& world, const base::Log& log) {
  const auto inputs = read_inputs(options, world, log);
  auto plan = make_plan(
      options, [&] { return opened(inputs); }, world, log);
  if (world.is_coordinator()) {
    for (const auto& order : plan.orders) {
      tell_of_unjudged(order.source, inputs.adapters[order.adapter], inputs.has_checkpoint(), log);
      output::tell_of_other_tensors(inputs.adapters[order.adapter], order.source, log);
    }
  }
  auto swept = output::repair_by_weights(inputs, plan.orders, *options.repair, base::default_threads(world.node_size()),
                                         world, log);
  auto result = result_of(std::move(plan), std::move(swept.outcomes));
  result.weight_bytes = swept.weight_bytes;
  return result;
}

}  // namespace

RepairResult repair(const RepairOptions& options, comm::Communicator& world, const base::Log& log) {
  auto result = [&] {
    if (options.repair && output::needs_weights(*options.repair)) return by_weights(options, world, log);
    auto plan = make_plan(
        options, [&] { return unopened(options, world, log); }, world, log);
    auto outcomes = options.repair ? output::repair_in_turn(plan.orders, *options.repair, world, log)
                                   : output::take_out_in_turn(plan.orders, options.taken_out, world);
    return result_of(std::move(plan), std::move(outcomes));
  }();
  comm::from_coordinator(world, [&] {
    if (options.zoo.empty() && result.adapters.front().outcome.fault)
      throw Error(*result.adapters.front().outcome.fault);
    return std::string();
  });
  return result;
}

}  // namespace winnow::pipeline
