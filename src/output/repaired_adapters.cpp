#include "winnow/output/repaired_adapters.hpp"

#include <fmt/format.h>

#include <optional>

#include "winnow/base/bytes.hpp"
#include "winnow/comm/together.hpp"
#include "winnow/output/destinations.hpp"
#include "winnow/output/repair_by_weights.hpp"
#include "winnow/output/repair_in_turn.hpp"

namespace winnow::output {
namespace {

using input::Inputs;
using run::Writing;

/// Of a scored adapter: which it is, and the modules that are selected, as it names them.
struct Selected {
  std::size_t adapter = 0;
  std::vector<std::string> modules;
};

std::string serialise_selected(const report::Report& report, const Inputs& inputs) {
  const auto modules = report.modules.size();
  std::vector<Selected> all(inputs.adapters.size());
  for (std::size_t m = 0; m < inputs.first_task.size(); ++m) {
    for (const auto& layer : inputs.layers[inputs.first_task[m]]) {
      if (report.action[layer.adapter * modules + m] == report::Action::prune) {
        all[layer.adapter].modules.push_back(inputs.lora(layer).adapter_module());
      }
    }
  }
  base::ByteWriter out;
  for (std::size_t n = 0; n < all.size(); ++n) {
    if (report.adapters[n].status != "ok") continue;
    out.put<std::uint64_t>(n);
    out.put<std::uint64_t>(all[n].modules.size());
    for (const auto& module : all[n].modules) out.put(module);
  }
  return std::move(out).bytes();
}

/// The coordinator's, on every rank, by adapter.
std::vector<Selected> selected_of(const report::Report& report, const Inputs& inputs, comm::Communicator& world) {
  const auto bytes = comm::from_coordinator(world, [&] { return serialise_selected(report, inputs); });
  return comm::result_together(world, [&] {
    std::vector<Selected> all;
    base::ByteReader in(bytes);
    while (!in.at_end()) {
      auto& selected = all.emplace_back();
      selected.adapter = in.get<std::uint64_t>();
      selected.modules.resize(in.get<std::uint64_t>());
      for (auto& module : selected.modules) module = in.get_string();
    }
    return all;
  });
}

/// Whether only the selected modules are repaired.
bool of_selection(const run::ModuleRepair& repair, const select::Policy& policy) {
  return policy.kind != select::Policy::Kind::none && repair::repair_of(repair.kind).of_selection;
}

std::vector<RepairedAdapter> with_new_factors(const std::vector<Selected>& selected,
                                              const std::vector<std::string>& paths, const Inputs& inputs,
                                              const run::ModuleRepair& repair, const select::Policy& policy,
                                              int threads, comm::Communicator& world, const base::Log& log) {
  std::vector<RepairOrder> orders;
  for (const auto& [n, modules] : selected) {
    orders.push_back({inputs.adapters[n].path, paths[n], std::nullopt, n});
    if (of_selection(repair, policy)) orders.back().only = modules;
  }
  const auto outcomes = needs_weights(repair) ? repair_by_weights(inputs, orders, repair, threads, world, log).outcomes
                                              : repair_in_turn(orders, repair, world, log);
  std::vector<RepairedAdapter> all;
  for (std::size_t k = 0; k < outcomes.size(); ++k) {
    const auto& [written, fault, remark] = outcomes[k];
    const auto& name = inputs.adapters[orders[k].adapter].name;
    all.push_back({name, orders[k].destination, written.has_value(), written ? written->kept : 0,
                   written ? written->replaced : 0});
    if (fault) log.warn(fmt::format("adapter {} is not repaired: {}", name, fault->what()));
  }
  return all;
}

/// Each by one rank.
std::vector<RepairedAdapter> without_modules(const std::vector<Selected>& selected,
                                             const std::vector<std::string>& paths, const Inputs& inputs,
                                             adapter::Repair repair, comm::Communicator& world, const base::Log& log) {
  base::ByteWriter done;
  comm::run_together(world, [&] {
    const auto ranks = static_cast<std::size_t>(world.size());
    for (auto k = static_cast<std::size_t>(world.rank()); k < selected.size(); k += ranks) {
      comm::stop_if_peer_failed(world);
      world.peers().keep_alive();
      const auto& [n, modules] = selected[k];
      const auto& source = inputs.adapters[n].path;
      const auto written = adapter::write_pruned_adapter(source, paths[n], modules, repair);
      if (!written.written) {
        log.warn(fmt::format("{}: all of its modules are pruned, so no adapter is written", source));
      }
      done.put<std::uint64_t>(k);
      done.put(written.written);
      done.put<std::uint64_t>(written.kept);
      done.put<std::uint64_t>(written.pruned);
    }
  });
  std::vector<RepairedAdapter> all(world.is_coordinator() ? selected.size() : 0);
  for (const auto& part : world.gather(done.bytes(), comm::kCoordinator)) {
    base::ByteReader in(part);
    while (!in.at_end()) {
      const auto k = in.get<std::uint64_t>();
      const auto n = selected.at(k).adapter;
      const bool written = in.get<bool>();
      const auto kept = in.get<std::uint64_t>();
      all.at(k) = {inputs.adapters[n].name, paths[n], written, kept, in.get<std::uint64_t>()};
    }
  }
  return all;
}

}  // namespace

std::vector<RepairedAdapter> write_repaired_adapters(const report::Report& report, const Inputs& inputs,
                                                     const Writing& writing, const select::Policy& policy, int threads,
                                                     comm::Communicator& world, const base::Log& log) {
  const auto selected = selected_of(report, inputs, world);
  const auto paths = repaired_directories(inputs.adapters, writing.repaired_dir);
  if (!writing.module_repair) return without_modules(selected, paths, inputs, *writing.repair, world, log);
  return with_new_factors(selected, paths, inputs, *writing.module_repair, policy, threads, world, log);
}

}  // namespace winnow::output
