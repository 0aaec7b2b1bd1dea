#include "winnow/journal/digests_of_weights.hpp"

#include <algorithm>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "winnow/base/error.hpp"
#include "winnow/base/parallel.hpp"
#include "winnow/comm/together.hpp"
#include "winnow/slab/rows_digest.hpp"

namespace winnow::journal {
namespace {

using base::Error;
using base::ErrorKind;
using checkpoint::TensorDigest;
using input::Inputs;
using run::Seams;
using run::Stopping;

constexpr std::uint64_t kChunkBytes = 8ULL << 20;

/// Whole rows of one of the tensors.
struct Chunk {
  std::size_t weight = 0;
  std::uint64_t row = 0, rows = 0;
};

struct Place {
  const checkpoint::TensorLocation* tensor;
  const std::string *path, *name;
};

Place place_of(const WeightRef& weight, const Inputs& inputs) {
  const auto& task = inputs.tasks.at(weight.module);
  return {&inputs.tensor_of(task, weight.operand), &inputs.shard_of(task, weight.operand).path, &task.weight};
}

std::vector<Chunk> chunks_of(const std::vector<WeightRef>& weights, const Inputs& inputs,
                             const comm::Communicator& world) {
  std::vector<Chunk> mine;
  for (std::size_t k = 0; k < weights.size(); ++k) {
    if (k % static_cast<std::size_t>(world.size()) != static_cast<std::size_t>(world.rank())) continue;
    const auto rows = inputs.tasks.at(weights[k].module).rows();
    const auto row_bytes = std::max<std::uint64_t>(place_of(weights[k], inputs).tensor->bytes / rows, 1);
    const auto step = std::max<std::uint64_t>(kChunkBytes / row_bytes, 1);
    for (std::uint64_t row = 0; row < rows; row += step) mine.push_back({k, row, std::min(step, rows - row)});
  }
  return mine;
}

void leave_if_asked_to_stop(const Stopping& stopping) {
  if (!stopping.is_requested()) return;
  throw Error(ErrorKind::stopped, "stopped at a signal while weights that are journalled were read again")
      .advice("run again with --resume");
}

}  // namespace

Error error_of_weight(ErrorKind kind, const std::string& what, const WeightRef& weight, const Inputs& inputs) {
  const auto place = place_of(weight, inputs);
  return Error(kind, what).file(*place.path).tensor(*place.name);
}

std::vector<TensorDigest> digests_of_weights(const std::vector<WeightRef>& weights, const Inputs& inputs, int threads,
                                             const Seams& seams, const Stopping& stopping, comm::Communicator& world) {
  if (weights.empty()) return {};
  std::string bytes;
  comm::run_together(world, [&] {
    const auto chunks = chunks_of(weights, inputs, world);
    std::vector<std::unique_ptr<slab::RowsDigest>> readers(static_cast<std::size_t>(threads));
    std::map<std::size_t, TensorDigest> found;
    std::mutex mutex;
    base::parallel_blocks(chunks.size(), threads, [&](std::size_t c, int thread) {
      if (thread == 0) {  // that which MPI knows
        comm::stop_if_peer_failed(world);
        world.peers().keep_alive();
        leave_if_asked_to_stop(stopping);
      }
      auto& reader = readers[static_cast<std::size_t>(thread)];
      if (!reader) reader = std::make_unique<slab::RowsDigest>(seams.make_reader());
      const auto& weight = weights[chunks[c].weight];
      const auto place = place_of(weight, inputs);
      const auto row_bytes = place.tensor->bytes / inputs.tasks.at(weight.module).rows();
      const auto digest =
          reader->of(*place.path, *place.name, {place.tensor->offset, row_bytes, chunks[c].row, chunks[c].rows});
      const std::lock_guard lock(mutex);
      found[chunks[c].weight].merge(digest);
    });
    base::ByteWriter out;
    for (const auto& [k, digest] : found) {
      out.put<std::uint64_t>(k);
      out.put(digest);
    }
    bytes = std::move(out).bytes();
  });
  std::vector<TensorDigest> digests(world.is_coordinator() ? weights.size() : 0);
  for (const auto& part : world.gather(bytes, comm::kCoordinator)) {
    for (base::ByteReader in(part); !in.at_end();) {
      const auto k = in.get<std::uint64_t>();
      digests.at(k) = in.get<TensorDigest>();
    }
  }
  return digests;
}

}  // namespace winnow::journal
