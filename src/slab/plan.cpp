#include "winnow/slab/plan.hpp"

#include <algorithm>
#include <numeric>

namespace winnow::slab {
namespace {

/// Flops a core does while one byte arrives: measured 2-core machines do 100 GFLOP/s against 4 GB/s of reading. Only
/// the balance between modules of different R depends on it.
constexpr double kFlopsPerByte = 24.0;

double cost(const ModuleTask& task) {
  return std::max(static_cast<double>(task.all_bytes()), task.flops() / kFlopsPerByte);
}

std::vector<double> loads(const std::vector<ModuleTask>& tasks, const std::vector<int>& owner, int ranks) {
  std::vector<double> load(static_cast<std::size_t>(ranks), 0.0);
  for (std::size_t m = 0; m < tasks.size(); ++m) load[static_cast<std::size_t>(owner[m])] += cost(tasks[m]);
  return load;
}

}  // namespace

std::uint64_t ModuleTask::all_bytes() const {
  auto all = bytes() + update_bytes;
  for (const auto& one : further) all += one.tensor.bytes;
  return all;
}

double ModuleTask::flops() const {
  if (dense_updates != 0) {
    const auto products = 2 + (has_base() ? 1 : 0) + further.size() + probe_columns;
    return 2.0 * static_cast<double>(out_features) * static_cast<double>(in_features) *
           static_cast<double>(dense_updates * products);
  }
  if (probe_columns != 0) {
    return 2.0 * static_cast<double>(out_features + in_features) * static_cast<double>(stacked_columns) *
           static_cast<double>(probe_columns);
  }
  const auto ranks = stacked_columns - largest_sketch();
  const auto columns =
      (sweeps - weight_sweeps) * (ranks + sketch_columns) + weight_sweeps * (ranks + weight_sketch_columns);
  return 2.0 * static_cast<double>(out_features) * static_cast<double>(in_features) *
         static_cast<double>(columns + (entries ? 2 * ranks : 0));
}

std::vector<SlabRange> split(const ModuleTask& task, std::uint64_t target_bytes) {
  const std::uint64_t rows = task.rows();
  const std::uint64_t row_bytes = rows == 0 ? 0 : task.bytes() / rows;
  // Half of it for a single tensor: a slot then has two halves of the same size, whatever it holds.
  const auto bytes = task.has_base() ? target_bytes : target_bytes / 2;
  const std::uint64_t step = std::max<std::uint64_t>(1, row_bytes == 0 ? rows : bytes / row_bytes);
  std::vector<SlabRange> slabs;
  for (std::uint64_t begin = 0; begin < rows; begin += step) slabs.push_back({begin, std::min(step, rows - begin)});
  return slabs;
}

std::vector<int> assign(const std::vector<ModuleTask>& tasks, int ranks) {
  std::vector<std::size_t> order(tasks.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return cost(tasks[a]) > cost(tasks[b]); });
  std::vector<double> load(static_cast<std::size_t>(ranks), 0.0);
  std::vector<int> owner(tasks.size(), 0);
  for (const auto m : order) {
    const auto lightest = std::min_element(load.begin(), load.end());
    *lightest += cost(tasks[m]);
    owner[m] = static_cast<int>(lightest - load.begin());
  }
  return owner;
}

double imbalance(const std::vector<ModuleTask>& tasks, const std::vector<int>& owner, int ranks) {
  const auto load = loads(tasks, owner, ranks);
  const double total = std::accumulate(load.begin(), load.end(), 0.0);
  if (total == 0) return 1.0;
  return *std::max_element(load.begin(), load.end()) * ranks / total;
}

}  // namespace winnow::slab
