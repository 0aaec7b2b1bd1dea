#include "winnow/output/repaired_adapters.hpp"

#include <fmt/format.h>

#include <memory>
#include <optional>

#include "winnow/base/error.hpp"
#include "winnow/comm/together.hpp"
#include "winnow/output/destinations.hpp"
#include "winnow/output/repairer.hpp"

namespace winnow::output {
namespace {

using input::Inputs;
using run::Writing;

/// Per adapter: whether it is scored, and the modules to prune, as the adapter names them.
struct Order {
  bool scored = false;
  std::vector<std::string> pruned;
};

std::string serialise_orders(const report::Report& report, const Inputs& inputs) {
  base::ByteWriter out;
  const auto modules = report.modules.size();
  std::vector<Order> orders(inputs.adapters.size());
  for (std::size_t m = 0; m < inputs.first_task.size(); ++m) {
    for (const auto& layer : inputs.layers[inputs.first_task[m]]) {
      if (report.action[layer.adapter * modules + m] == report::Action::prune) {
        orders[layer.adapter].pruned.push_back(inputs.lora(layer).adapter_module());
      }
    }
  }
  for (std::size_t n = 0; n < orders.size(); ++n) {
    out.put(report.adapters[n].status == "ok");
    out.put<std::uint64_t>(orders[n].pruned.size());
    for (const auto& module : orders[n].pruned) out.put(module);
  }
  return std::move(out).bytes();
}

/// Nothing for an adapter that cannot be repaired: the others can.
std::optional<adapter::WrittenReplacements> repaired(const adapter::Adapter& source, const std::string& path,
                                                     Repairer& repairer,
                                                     const std::optional<std::vector<std::string>>& only,
                                                     const base::Log& log) {
  try {
    return write_repaired_adapter(repairer, source.path, path, only, log);
  } catch (const base::Error& error) {
    if (error.kind() != base::ErrorKind::invalid_input) throw;
    log.warn(fmt::format("adapter {} is not repaired: {}", source.name, error.what()));
    return std::nullopt;
  }
}

/// Whether only the selected modules are repaired.
bool of_selection(const Writing& writing, const select::Policy& policy) {
  return policy.kind != select::Policy::Kind::none && repair::repair_of(writing.module_repair->kind).of_selection;
}

}  // namespace

std::vector<RepairedAdapter> write_repaired_adapters(const report::Report& report, const Inputs& inputs,
                                                     const Writing& writing, const select::Policy& policy, int threads,
                                                     comm::Communicator& world, const base::Log& log) {
  const auto bytes = comm::from_coordinator(world, [&] { return serialise_orders(report, inputs); });
  const auto paths = repaired_directories(inputs.adapters, writing.repaired_dir);
  base::ByteWriter done;
  const auto note = [&](std::size_t n, bool written, std::size_t kept, std::size_t changed) {
    done.put<std::uint64_t>(n);
    done.put(paths[n]);
    done.put(written);
    done.put<std::uint64_t>(kept);
    done.put<std::uint64_t>(changed);
  };
  comm::run_together(world, [&] {
    base::ByteReader in(bytes);
    std::unique_ptr<Repairer> repairer;
    if (writing.module_repair) repairer = make_repairer(*writing.module_repair, threads, log);
    for (std::size_t n = 0; n < inputs.adapters.size(); ++n) {
      Order order{in.get<bool>(), {}};
      for (auto count = in.get<std::uint64_t>(); count > 0; --count) order.pruned.push_back(in.get_string());
      if (!order.scored || n % static_cast<std::size_t>(world.size()) != static_cast<std::size_t>(world.rank()))
        continue;
      comm::stop_if_peer_failed(world);
      world.peers().keep_alive();
      const auto& source = inputs.adapters[n];
      const auto& path = paths[n];
      if (repairer) {
        const auto only = of_selection(writing, policy) ? std::optional(order.pruned) : std::nullopt;
        if (const auto written = repaired(source, path, *repairer, only, log)) {
          note(n, true, written->kept, written->replaced);
        } else {
          note(n, false, 0, 0);
        }
        continue;
      }
      const auto written = adapter::write_pruned_adapter(source.path, path, order.pruned, *writing.repair);
      if (!written.written) {
        log.warn(fmt::format("{}: all of its modules are pruned, so no adapter is written", source.path));
      }
      note(n, written.written, written.kept, written.pruned);
    }
  });
  std::vector<RepairedAdapter> all(world.is_coordinator() ? inputs.adapters.size() : 0);
  for (const auto& part : world.gather(done.bytes(), comm::kCoordinator)) {
    base::ByteReader in(part);
    while (!in.at_end()) {
      const auto n = in.get<std::uint64_t>();
      auto& repaired = all.at(n);
      repaired.name = inputs.adapters[n].name;
      repaired.path = in.get_string();
      repaired.written = in.get<bool>();
      repaired.kept = in.get<std::uint64_t>();
      repaired.pruned = in.get<std::uint64_t>();
    }
  }
  std::erase_if(all, [](const RepairedAdapter& repaired) { return repaired.name.empty(); });
  return all;
}

}  // namespace winnow::output
