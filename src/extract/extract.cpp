#include "winnow/extract/extract.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <memory>
#include <optional>
#include <utility>

#include "tensors.hpp"
#include "winnow/adapter/adapter_writer.hpp"
#include "winnow/adapter/new_adapter.hpp"
#include "winnow/base/bytes.hpp"
#include "winnow/base/error.hpp"
#include "winnow/base/file.hpp"
#include "winnow/base/sha256.hpp"
#include "winnow/checkpoint/model_kind.hpp"
#include "winnow/comm/together.hpp"
#include "winnow/division/team_plan.hpp"
#include "winnow/output/factor_spool.hpp"

namespace winnow::extract {
namespace {

using base::Error;
using base::ErrorKind;
using checkpoint::Catalogue;
using checkpoint::TensorLocation;
using output::SpoolPlace;

constexpr std::uint64_t kChunkBytes = std::uint64_t{16} << 20;

struct Checkpoints {
  Catalogue from, merged;
  checkpoint::ModelConfig model;
};

/// What became of one pair.
struct Made {
  std::uint64_t pair = 0;
  bool equal = false;
  Extracted facts;  ///< without its names
  SpoolPlace a, b;
  int maker = 0;  ///< the rank in whose spool they are
};

/// For the coordinator.
Checkpoints read(const Request& request, const base::Log& log) {
  std::error_code ignored;
  if (std::filesystem::equivalent(request.from, request.merged, ignored)) {
    throw Error(ErrorKind::usage, "--from and --merged are the same checkpoint")
        .file(request.merged)
        .expected("a model before and after an adapter was merged into it");
  }
  Checkpoints read{checkpoint::read_checkpoint(request.from, log), checkpoint::read_checkpoint(request.merged, log),
                   checkpoint::read_model_config(request.from)};
  const auto merged_model = checkpoint::read_model_config(request.merged);
  if (checkpoint::differ_in_kind(read.model, merged_model)) {
    throw Error(ErrorKind::invalid_input, "the two checkpoints are of different models")
        .file((std::filesystem::path(request.merged) / "config.json").string())
        .expected(fmt::format("model_type {} as in {}, found {}", read.model.model_type, request.from,
                              merged_model.model_type));
  }
  return read;
}

Checkpoints read_together(const Request& request, comm::Communicator& world, const base::Log& log) {
  const auto bytes = comm::from_coordinator(world, [&] {
    adapter::check_destination(request.output);
    const auto checkpoints = read(request, log);
    base::ByteWriter out;
    checkpoints.from.serialise(out);
    checkpoints.merged.serialise(out);
    checkpoints.model.serialise(out);
    return std::move(out).bytes();
  });
  return comm::result_together(world, [&] {
    base::ByteReader in(bytes);
    Checkpoints read;
    read.from = Catalogue::deserialise(in);
    read.merged = Catalogue::deserialise(in);
    read.model = checkpoint::ModelConfig::deserialise(in);
    return read;
  });
}

const std::string& file_of(const Catalogue& weights, const TensorLocation& tensor) {
  return weights.shards.at(tensor.shard).path;
}

/// One rank's part of the work.
class Worker {
 public:
  Worker(const Request& request, const Checkpoints& checkpoints, const std::vector<Pair>& pairs, int threads,
         const std::string& directory, comm::Communicator& world, const base::Log& log)
      : request_(request),
        checkpoints_(checkpoints),
        pairs_(pairs),
        threads_(threads),
        world_(world),
        log_(log),
        spool_(directory, world.rank()) {}

  /// What became of `mine`, one after the other.
  std::string run(const std::vector<std::size_t>& mine) {
    base::ByteWriter out;
    run::Progress progress{0, mine.size(), 0, 0};
    for (const auto n : mine) progress.bytes += pairs_[n].task.bytes();
    for (const auto n : mine) {
      comm::stop_if_peer_failed(world_);
      world_.peers().keep_alive();
      auto made = pairs_[n].why_not.empty() ? extracted(pairs_[n].task) : compared(pairs_[n].task);
      made.pair = n;
      made.maker = world_.rank();
      log_.info(fmt::format("{} {}", pairs_[n].task.weight, told(made)));
      ++progress.modules_done;
      progress.bytes_done += pairs_[n].task.bytes();
      if (request_.progress) request_.progress(progress);
      put(out, made);
    }
    spool_.close();
    return std::move(out).bytes();
  }

  static void put(base::ByteWriter& out, const Made& made) {
    const auto& facts = made.facts;
    for (const auto value :
         {made.pair, facts.rank, facts.elements, made.a.offset, made.a.bytes, made.b.offset, made.b.bytes}) {
      out.put(value);
    }
    for (const auto value : {facts.norm, facts.residual, facts.rounding, facts.share_equal}) out.put(value);
    out.put(made.equal);
    out.put(facts.is_low_rank);
    out.put(facts.dtype);
    out.put(made.maker);
  }
  static Made get(base::ByteReader& in) {
    Made made;
    auto& facts = made.facts;
    for (auto* value :
         {&made.pair, &facts.rank, &facts.elements, &made.a.offset, &made.a.bytes, &made.b.offset, &made.b.bytes}) {
      *value = in.get<std::uint64_t>();
    }
    for (auto* value : {&facts.norm, &facts.residual, &facts.rounding, &facts.share_equal}) *value = in.get<double>();
    made.equal = in.get<bool>();
    facts.is_low_rank = in.get<bool>();
    facts.dtype = in.get<base::DType>();
    made.maker = in.get<int>();
    return made;
  }

 private:
  static std::string told(const Made& made) {
    if (made.equal) return "is equal";
    if (made.facts.rank == 0) return "differs";
    return fmt::format("differs by rank {}", made.facts.rank);
  }

  static std::vector<std::byte> bytes_of(const Catalogue& weights, const TensorLocation& tensor) {
    std::vector<std::byte> bytes(tensor.bytes);
    base::File::open_for_reading(file_of(weights, tensor)).read_exact(tensor.offset, bytes);
    return bytes;
  }

  /// Of a tensor no adapter can hold: whether it has changed.
  Made compared(const slab::ModuleTask& task) const {
    Made made;
    if (task.base.dtype != task.aligned.dtype || task.base.bytes != task.aligned.bytes) return made;
    const auto before = base::File::open_for_reading(file_of(checkpoints_.from, task.base));
    const auto after = base::File::open_for_reading(file_of(checkpoints_.merged, task.aligned));
    std::vector<std::byte> x, y;
    for (std::uint64_t at = 0; at < task.base.bytes; at += x.size()) {
      x.resize(std::min(kChunkBytes, task.base.bytes - at));
      y.resize(x.size());
      before.read_exact(task.base.offset + at, x);
      after.read_exact(task.aligned.offset + at, y);
      if (x != y) return made;
    }
    made.equal = true;
    return made;
  }

  Made extracted(const slab::ModuleTask& task) {
    const auto before = bytes_of(checkpoints_.from, task.base), after = bytes_of(checkpoints_.merged, task.aligned);
    Made made;
    made.equal = task.base.dtype == task.aligned.dtype && before == after;
    if (made.equal) return made;
    const auto& shape = task.aligned.shape;
    const repair::StoredWeights weights{
        task.out_features, task.in_features, task.stored_transposed,
        slab::Slab{0, shape[0], shape[1], before.data(), after.data(), task.base.dtype, task.aligned.dtype}};
    const auto found = repair::low_rank(
        weights, request_.rule, threads_,
        {task.weight, file_of(checkpoints_.from, task.base), file_of(checkpoints_.merged, task.aligned)});
    made.equal = found.norm == 0;  // in another type
    made.facts = {{},
                  task.aligned.dtype,
                  found.update.rank,
                  task.out_features * task.in_features,
                  found.norm,
                  found.residual,
                  found.rounding,
                  found.share_equal,
                  found.is_low_rank};
    made.a = spool_.put(adapter::encoded(request_.dtype, found.update.a, task.name));
    made.b = spool_.put(adapter::encoded(request_.dtype, found.update.b, task.name));
    return made;
  }

  const Request& request_;
  const Checkpoints& checkpoints_;
  const std::vector<Pair>& pairs_;
  int threads_;
  comm::Communicator& world_;
  const base::Log& log_;
  output::FactorSpool spool_;
};

/// Of all ranks, by pair. On the coordinator.
std::vector<Made> gathered(const std::string& mine, std::size_t pairs, comm::Communicator& world) {
  std::vector<Made> all(pairs);
  for (const auto& part : world.gather(mine, comm::kCoordinator)) {
    base::ByteReader in(part);
    while (!in.at_end()) {
      const auto made = Worker::get(in);
      all.at(made.pair) = made;
    }
  }
  return all;
}

std::string task_type(const std::string& architecture) {
  const bool causal = architecture.ends_with("ForCausalLM") || architecture.ends_with("LMHeadModel");
  return causal ? "CAUSAL_LM" : "";
}

adapter::RepairNote note_of(const Request& request, const Checkpoints& checkpoints) {
  adapter::RepairNote note{"extract", {}};
  for (const auto& [name, weights] :
       {std::pair<std::string, const Catalogue*>{"from", &checkpoints.from}, {"merged", &checkpoints.merged}}) {
    note.settings.emplace_back(name, weights->directory);
    note.settings.emplace_back(name + "_digest", base::sha256_hex(weights->fingerprint + weights->sample));
  }
  note.settings.emplace_back("rank", request.rule.rank ? fmt::format("{}", *request.rule.rank)
                                                       : fmt::format("auto, {} at most", request.rule.largest));
  return note;
}

/// Writes the adapter and says what it holds.
Result written(const Request& request, const Checkpoints& checkpoints, Tensors tensors, const std::vector<Made>& made,
               output::Spools& spools) {
  Result result;
  result.remaining = std::move(tensors.remaining);
  adapter::NewAdapter adapter{request.from, task_type(checkpoints.model.architecture), false, request.dtype, {}};
  std::vector<const Made*> kept;
  for (std::size_t n = 0; n < made.size(); ++n) {
    const auto& pair = tensors.pairs[n];
    const auto& task = pair.task;
    if (made[n].equal) {
      ++result.equal;
      continue;
    }
    if (!pair.why_not.empty()) {
      result.remaining.push_back({task.weight, pair.why_not});
      continue;
    }
    result.modules.push_back(made[n].facts);
    result.modules.back().module = task.name;
    if (made[n].facts.rank == 0) continue;
    adapter.fan_in_fan_out |= task.stored_transposed;
    adapter.modules.push_back({task.name, made[n].facts.rank, task.out_features, task.in_features});
    kept.push_back(&made[n]);
  }
  if (kept.empty()) return result;
  result.rank = adapter::write_new_adapter(
      request.output, adapter,
      [&](std::size_t n) {
        return adapter::NewFactors{spools.get(kept[n]->maker, kept[n]->a), spools.get(kept[n]->maker, kept[n]->b)};
      },
      note_of(request, checkpoints));
  return result;
}

/// The pairs of this rank: by size, as modules of an audit are.
std::vector<std::size_t> share_of(const std::vector<Pair>& pairs, const comm::Communicator& world) {
  std::vector<slab::ModuleTask> tasks;
  tasks.reserve(pairs.size());
  for (const auto& pair : pairs) tasks.push_back(pair.task);
  const std::vector<bool> none(tasks.size());
  return division::assign_rest(tasks, none, world.size(), 1).modules_of(world.rank());
}

}  // namespace

Result extract(const Request& request, comm::Communicator& world, int threads, const base::Log& log) {
  const auto checkpoints = read_together(request, world, log);
  auto tensors =
      comm::result_together(world, [&] { return tensors_of(checkpoints.from, checkpoints.merged, checkpoints.model); });
  std::unique_ptr<output::SpoolDirectory> kept;
  const auto directory = comm::from_coordinator(world, [&] {
    kept = std::make_unique<output::SpoolDirectory>(request.output);
    return kept->path();
  });
  const auto mine = comm::result_together(world, [&] {
    return Worker(request, checkpoints, tensors.pairs, threads, directory, world, log)
        .run(share_of(tensors.pairs, world));
  });
  const auto made = gathered(mine, tensors.pairs.size(), world);
  Result result;
  comm::from_coordinator(world, [&] {
    output::Spools spools(directory, world.size());
    result = written(request, checkpoints, std::move(tensors), made, spools);
    return std::string();
  });
  return result;
}

}  // namespace winnow::extract
