#include "winnow/run/compute_place.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "winnow/base/error.hpp"
#include "winnow/base/narrow.hpp"
#include "winnow/base/parallel.hpp"
#include "winnow/comm/together.hpp"

namespace winnow::run {
namespace {

/// What all ranks can do: a node without a GPU must not compute other roundings than its peers.
compute::Target agreed_target(const Means& means, comm::Communicator& world, const base::Log& log) {
  compute::Target target;
  comm::run_together(world,
                     [&] { target = compute::choose_target(means.backend, means.device, compute::cuda_status()); });
  const bool here = target.device == compute::Device::cuda;
  const bool on_all = world.maximum(here ? 0 : 1) == 0, on_some = world.maximum(here ? 1 : 0) == 1;
  if (on_some && !on_all) {
    if (world.is_coordinator()) log.warn("some ranks see no GPU: --device auto computes on the CPU on all of them");
    comm::run_together(world, [&] { target = compute::choose_target(means.backend, compute::Device::cpu, {}); });
  }
  return target;
}

/// Ranks of this node on the same device as this one.
int ranks_on_device(const std::string& identity, comm::Communicator& world) {
  std::string all;
  for (const auto& other : world.gather(identity, comm::kCoordinator)) all += other + '\n';
  world.broadcast(all, comm::kCoordinator);
  int count = 0;
  for (std::size_t at = 0; (at = all.find(identity + '\n', at)) != std::string::npos; at += identity.size() + 1)
    ++count;
  return std::max(count, 1);
}

}  // namespace

ComputeChoice choose_compute_place(const Means& means, comm::Communicator& world, const base::Log& log) {
  return {agreed_target(means, world, log),
          means.threads > 0 ? means.threads : base::default_threads(world.node_size())};
}

ComputePlace open_compute_place(const ComputeChoice& choice, const Means& means, const Seams& seams,
                                comm::Communicator& world) {
  ComputePlace where;
  where.target = choice.target;
  where.threads = choice.threads;
  where.precision = means.precision;
  where.memory_budget = means.memory_budget;
  compute::PassOptions pass;
  pass.backend = where.target.backend;
  pass.device = where.target.device;
  pass.threads = where.threads;
  pass.node_rank = world.node_rank();
  pass.precision = where.precision;
  pass.device_memory = means.device_memory;
  comm::run_together(world, [&] { where.pass = seams.make_pass(pass); });
  auto* const device = where.pass->device();
  where.make_reader = device == nullptr ? seams.make_reader : seams.make_copying_reader;
  if (device == nullptr) return where;

  // The smallest of all: column batches, and with them roundings, are the same everywhere.
  std::string identity;
  std::int64_t memory = 0;
  comm::run_together(world, [&] {
    identity = device->identity();
    memory = base::narrow<std::int64_t>(device->memory(), "device memory");
  });
  const auto sharing = ranks_on_device(identity, world);
  if (means.device_memory == 0) memory /= sharing;
  where.device_memory = static_cast<std::uint64_t>(-world.maximum(-memory));
  comm::run_together(world, [&] { device->set_memory(where.device_memory); });
  return where;
}

void choose_sums(ComputePlace& where, comm::Communicator& team, comm::Communicator& world, const base::Log& log) {
  auto* const device = where.pass->device();
  if (device == nullptr) return;  // as on all other ranks
  const auto identity = comm::result_together(world, [&] { return comm::gpu_identity(device->identity()); });
  const bool alone = comm::all_different(team, identity);
  where.use_nccl = team.size() > 1 && alone;
  if (world.maximum(alone ? 0 : 1) == 1 && world.is_coordinator()) {
    log.warn("ranks of a team share a GPU, which NCCL refuses: their sums go through MPI and host memory");
  }
}

void connect(ComputePlace& where, const Seams& seams, comm::Communicator& team, comm::Communicator& world) {
  if (!where.use_nccl) return;
  const comm::NcclApi* api = nullptr;
  comm::step_together(team, [&] { api = &seams.nccl(); });
  comm::NcclGroup::Options group;
  group.device = where.pass->description();
  group.rank = world.rank();
  group.between = [&world] {
    comm::stop_if_peer_failed(world);
    world.peers().keep_alive();  // it waits for others
  };
  where.nccl = std::make_unique<comm::NcclGroup>(*api, team, std::move(group));
  where.nccl_version = comm::nccl_version(*api);
}

void PlaceSums::sum(std::span<float> values) {
  comm::meet(team_);
  team_.sum(values);
}

void PlaceSums::sum(std::span<double> values) {
  comm::meet(team_);
  team_.sum(values);
}

bool PlaceSums::sum_on_device(const compute::DeviceArray& array) {
  if (nccl_ == nullptr) return false;
  comm::meet(team_);
  nccl_->sum(array.values, array.count, array.is_double, array.stream, array.finished);
  return true;
}

std::map<std::string, report::Attribute> place_facts(const ComputePlace& where, comm::Communicator& world) {
  std::map<std::string, report::Attribute> facts;
  facts["backend"] = std::string(compute::name(where.target.backend));
  facts["device"] = std::string(compute::name(where.target.device));
  auto* const device = where.pass->device();
  if (device == nullptr) return facts;
  const auto peak = comm::result_together(world, [&] {
    for (const auto& [name, value] : device->attributes()) facts[name] = value;
    return base::narrow<std::int64_t>(device->peak_memory(), "device memory");
  });
  facts["device_memory_budget"] = static_cast<std::int64_t>(where.device_memory);
  facts["device_memory_peak"] = world.maximum(peak);  // of any rank
  facts["team_sums"] = std::string(where.nccl ? "NCCL" : "MPI");
  if (where.nccl) facts["nccl_version"] = where.nccl_version;
  for (const auto& [name, value] : comm::nccl_environment()) facts[name] = value;
  return facts;
}

}  // namespace winnow::run
