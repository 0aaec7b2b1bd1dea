#include "winnow/output/repair_by_weights.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <unordered_set>
#include <utility>

#include "families.hpp"
#include "module_repairer.hpp"
#include "winnow/base/bytes.hpp"
#include "winnow/comm/together.hpp"
#include "winnow/division/team_plan.hpp"
#include "winnow/output/factor_spool.hpp"

namespace winnow::output {
namespace {

using base::Error;
using base::ErrorKind;
using input::Inputs;
using input::LayerRef;
using run::ModuleRepair;

/// What became of one layer.
struct Made {
  std::uint32_t position = 0;  ///< of the module in its adapter
  bool unchanged_weight = false;
  bool replaced = false;
  std::uint64_t rank = 0;  ///< of the update, if it was replaced
  SpoolPlace a, b;
  int maker = 0;                       ///< the rank in whose spool they are
  std::shared_ptr<const Error> fault;  ///< of the adapter, or of the weight; few have one, and an Error is large

  void serialise(base::ByteWriter& out) const {
    out.put(position);
    out.put(unchanged_weight);
    out.put(replaced);
    for (const auto value : {rank, a.offset, a.bytes, b.offset, b.bytes}) out.put(value);
    out.put(fault != nullptr);
    if (fault) fault->serialise(out);
  }
  static Made deserialise(base::ByteReader& in, int maker) {
    Made made;
    made.position = in.get<std::uint32_t>();
    made.unchanged_weight = in.get<bool>();
    made.replaced = in.get<bool>();
    for (auto* value : {&made.rank, &made.a.offset, &made.a.bytes, &made.b.offset, &made.b.bytes}) {
      *value = in.get<std::uint64_t>();
    }
    made.maker = maker;
    if (in.get<bool>()) made.fault = std::make_shared<const Error>(Error::deserialise(in));
    return made;
  }
};

/// Which layers are to be repaired.
class Wanted {
 public:
  Wanted(const Inputs& inputs, const std::vector<RepairOrder>& orders)
      : inputs_(inputs), ordered_(inputs.adapters.size()), only_(inputs.adapters.size()) {
    for (const auto& order : orders) {
      ordered_.at(order.adapter) = true;
      if (order.only) only_[order.adapter].emplace(order.only->begin(), order.only->end());
    }
  }

  bool has(const LayerRef& layer) const {
    const auto& only = only_[layer.adapter];
    return ordered_[layer.adapter] && (!only || only->contains(inputs_.lora(layer).adapter_module()));
  }
  bool has_any(const std::vector<LayerRef>& layers) const {
    return std::any_of(layers.begin(), layers.end(), [&](const auto& layer) { return has(layer); });
  }

 private:
  const Inputs& inputs_;
  std::vector<bool> ordered_;                                         // [adapters]
  std::vector<std::optional<std::unordered_set<std::string>>> only_;  // [adapters]
};

bool goes_by_probes(const ModuleRepair& repair) {
  return (repair::repair_of(repair.kind).needs & repair::kProbes) != 0;
}

/// The modules that this rank takes, each by a task of its own: those of which the repair needs something and a layer
/// is wanted, divided by size.
std::vector<std::size_t> modules_of(const Inputs& inputs, const ModuleRepair& repair, const Wanted& wanted,
                                    const comm::Communicator& world) {
  std::vector<bool> others(inputs.tasks.size(), true);
  std::optional<std::size_t> last;
  for (std::size_t m = 0; m < others.size(); ++m) {
    const bool needed = goes_by_probes(repair) ? is_taken_out(inputs, inputs.tasks[m], repair)
                                               : inputs.is_of_checkpoint(inputs.tasks[m]);
    if (!needed || last == inputs.module_of[m] || !wanted.has_any(inputs.layers[m])) continue;
    others[m] = false;
    last = inputs.module_of[m];
  }
  return division::assign_rest(inputs.tasks, others, world.size(), 1).modules_of(world.rank());
}

/// Whether the run goes on without the adapter.
bool is_of_one_adapter(const Error& error) {
  return error.kind() == ErrorKind::invalid_input || adapter::concerns_adapter_alone(error);
}

/// One rank's part of the sweep.
class Sweep {
 public:
  Sweep(const Inputs& inputs, const ModuleRepair& repair, const Wanted& wanted, int threads,
        const std::string& directory, comm::Communicator& world)
      : inputs_(inputs),
        repair_(repair),
        wanted_(wanted),
        threads_(threads),
        world_(world),
        spool_(directory, world.rank()) {}

  void run(const std::vector<std::size_t>& modules) {
    for (const auto m : modules) {
      comm::stop_if_peer_failed(world_);
      world_.peers().keep_alive();
      sweep(m);
    }
    spool_.close();
  }

  std::uint64_t weight_bytes() const { return weight_bytes_; }
  /// Adapter and layer, one after the other.
  std::string take_made() && { return std::move(made_).bytes(); }

 private:
  void sweep(std::size_t m) {
    std::unique_ptr<ModuleRepairer> repairer;
    std::shared_ptr<const Error> fault;
    try {
      repairer = goes_by_probes(repair_) ? by_directions(inputs_, m, repair_, threads_)
                                         : by_weights(inputs_, m, repair_, threads_);
      weight_bytes_ += repairer->bytes_read();
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::invalid_input) throw;
      fault = std::make_shared<const Error>(error);
    }
    for (const auto& layer : inputs_.layers[m]) {
      if (!wanted_.has(layer)) continue;
      comm::stop_if_peer_failed(world_);
      world_.peers().keep_alive();
      Made made;
      if (fault) {
        made.fault = fault;
      } else {
        made = repaired(*repairer, layer);
      }
      made.position = layer.position;
      made_.put(layer.adapter);
      made.serialise(made_);
    }
  }

  Made repaired(const ModuleRepairer& repairer, const LayerRef& layer) {
    const auto& adapter = inputs_.adapters[layer.adapter];
    const auto& module = inputs_.lora(layer);
    Made made;
    made.unchanged_weight = repairer.is_unchanged();
    std::optional<adapter::Replacement> replacement;
    try {
      replacement = replacement_of(adapter, module, [&](const auto& update) { return repairer.repaired(update); });
    } catch (const Error& error) {
      if (!is_of_one_adapter(error)) throw;
      made.fault = std::make_shared<const Error>(error);
      return made;
    }
    if (!replacement) return made;
    made.replaced = true;
    made.rank = replacement->rank;
    made.a = spool_.put(replacement->a);
    made.b = spool_.put(replacement->b);
    return made;
  }

  const Inputs& inputs_;
  const ModuleRepair& repair_;
  const Wanted& wanted_;
  int threads_;
  comm::Communicator& world_;
  FactorSpool spool_;
  base::ByteWriter made_;
  std::uint64_t weight_bytes_ = 0;
};

/// What all ranks made of their modules, and of each adapter that this rank writes what became of its layers, by
/// position.
std::vector<std::vector<Made>> made_for(const std::vector<bool>& mine, const std::string& made,
                                        comm::Communicator& world) {
  auto parts = world.gather(made, comm::kCoordinator);
  const auto joined = comm::from_coordinator(world, [&] {
    base::ByteWriter out;
    for (const auto& part : parts) out.put(part);
    return std::move(out).bytes();
  });
  std::vector<std::vector<Made>> all(mine.size());
  comm::run_together(world, [&] {
    base::ByteReader in(joined);
    for (int maker = 0; !in.at_end(); ++maker) {
      const auto part = in.get_string();
      base::ByteReader of_rank(part);
      while (!of_rank.at_end()) {
        const auto adapter = of_rank.get<std::uint32_t>();
        auto layer = Made::deserialise(of_rank, maker);
        if (mine.at(adapter)) all[adapter].push_back(std::move(layer));
      }
    }
    for (auto& of_adapter : all) {
      std::sort(of_adapter.begin(), of_adapter.end(),
                [](const auto& x, const auto& y) { return x.position < y.position; });
    }
  });
  return all;
}

/// What an adapter's file becomes.
adapter::WrittenReplacements write(const adapter::Adapter& adapter, const RepairOrder& order,
                                   const std::vector<Made>& made, Spools& spools, const adapter::RepairNote& note) {
  std::vector<adapter::Replacement> replacements;
  for (const auto& layer : made) {
    if (!layer.replaced) continue;
    replacements.push_back({adapter.modules[layer.position].adapter_module(), layer.rank,
                            spools.get(layer.maker, layer.a), spools.get(layer.maker, layer.b)});
  }
  return adapter::write_replaced_adapter(order.source, order.destination, replacements, note, adapter.sha256);
}

/// Why an adapter is not written; nothing if it is.
std::optional<Error> fault_of(const Inputs& inputs, const RepairOrder& order, const std::vector<Made>& made) {
  const auto failed = std::find_if(made.begin(), made.end(), [](const auto& layer) { return layer.fault != nullptr; });
  if (failed != made.end()) return *failed->fault;
  const auto unchanged =
      std::count_if(made.begin(), made.end(), [](const auto& layer) { return layer.unchanged_weight; });
  if (unchanged == 0 || static_cast<std::size_t>(unchanged) != inputs.adapters[order.adapter].modules.size()) {
    return std::nullopt;
  }
  return Error(ErrorKind::invalid_input, "the two checkpoints do not differ in any module of the adapter")
      .file(inputs.aligned.directory)
      .expected(fmt::format("the model after alignment, found the weights of {}", inputs.base.directory))
      .advice("is one of them a copy of the other?");
}

/// Of an adapter that was written.
std::string remark_on(const Inputs& inputs, const RepairOrder& order, const std::vector<Made>& made) {
  const auto is_unchanged = [](const auto& layer) { return layer.unchanged_weight; };
  const auto first = std::find_if(made.begin(), made.end(), is_unchanged);
  if (first == made.end()) return {};
  return fmt::format(
      "{}: alignment did not change the weights of {} of its modules, which stay as they are, the first {}",
      order.source, std::count_if(first, made.end(), is_unchanged),
      inputs.adapters[order.adapter].modules[first->position].adapter_module());
}

}  // namespace

bool needs_weights(const ModuleRepair& repair) {
  const bool of_model = (repair::repair_of(repair.kind).needs & (repair::kPair | repair::kAligned)) != 0;
  return of_model || std::any_of(repair.probes.begin(), repair.probes.end(),
                                 [](const auto& probe) { return probe.form == probes::Form::direction; });
}

SweptRepairs repair_by_weights(const Inputs& inputs, const std::vector<RepairOrder>& orders, const ModuleRepair& repair,
                               int threads, comm::Communicator& world, const base::Log& log) {
  comm::run_together(world, [&] { run::check(repair); });
  if (orders.empty()) return {};
  std::unique_ptr<SpoolDirectory> kept;
  const auto directory = comm::from_coordinator(world, [&] {
    kept = std::make_unique<SpoolDirectory>(orders.front().destination);
    return kept->path();
  });
  std::string made_here;
  std::vector<bool> mine(inputs.adapters.size());  // those that this rank writes
  double weight_bytes = 0;
  const auto ranks = static_cast<std::size_t>(world.size()), rank = static_cast<std::size_t>(world.rank());
  comm::run_together(world, [&] {
    for (auto k = rank; k < orders.size(); k += ranks) mine.at(orders[k].adapter) = true;
    const Wanted wanted(inputs, orders);
    Sweep sweep(inputs, repair, wanted, threads, directory, world);
    sweep.run(modules_of(inputs, repair, wanted, world));
    weight_bytes = static_cast<double>(sweep.weight_bytes());
    made_here = std::move(sweep).take_made();
  });
  const auto made = made_for(mine, made_here, world);
  world.sum(std::span(&weight_bytes, 1));

  std::map<std::size_t, RepairOutcome> written;  // by this rank
  comm::run_together(world, [&] {
    const auto note = goes_by_probes(repair) ? note_by_directions(repair, inputs) : note_by_weights(repair, inputs);
    Spools spools(directory, world.size());
    for (auto k = rank; k < orders.size(); k += ranks) {
      comm::stop_if_peer_failed(world);
      world.peers().keep_alive();
      const auto& order = orders[k];
      const auto& layers = made[order.adapter];
      auto& outcome = written[k];
      outcome.fault = fault_of(inputs, order, layers);
      if (outcome.fault) continue;
      try {
        outcome.written = write(inputs.adapters[order.adapter], order, layers, spools, note);
        outcome.remark = remark_on(inputs, order, layers);
      } catch (const Error& error) {
        if (error.kind() != ErrorKind::invalid_input) throw;
        outcome.fault = error;
      }
    }
  });
  SweptRepairs result{gather_outcomes(written, orders.size(), world), static_cast<std::uint64_t>(weight_bytes)};
  for (const auto& outcome : result.outcomes) {
    if (!outcome.remark.empty()) log.warn(outcome.remark);
  }
  return result;
}

}  // namespace winnow::output
