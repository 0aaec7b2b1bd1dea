#include "jobs.hpp"

#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <memory>
#include <mutex>

#include "winnow/adapter/adapter.hpp"
#include "winnow/adapter/lone_adapter.hpp"
#include "winnow/base/bytes.hpp"
#include "winnow/base/error.hpp"
#include "winnow/base/file_type.hpp"
#include "winnow/base/parallel.hpp"
#include "winnow/comm/together.hpp"
#include "winnow/slab/reader.hpp"
#include "winnow/slab/rows_digest.hpp"

namespace winnow::verify {
namespace {

using base::Error;
using base::ErrorKind;
using checkpoint::TensorDigest;

constexpr std::uint64_t kPieceBytes = 8ULL << 20;

/// Whole rows of one tensor, or one adapter.
struct Piece {
  bool is_adapter = false;
  std::size_t job = 0;
  std::uint64_t row = 0, rows = 0;
};

/// Piece by piece to one rank after another, so that a large tensor is not one rank's alone.
std::vector<Piece> share_of(const Jobs& jobs, const comm::Communicator& world) {
  std::vector<Piece> mine;
  std::size_t number = 0;
  const auto add = [&](const Piece& piece) {
    if (number++ % static_cast<std::size_t>(world.size()) == static_cast<std::size_t>(world.rank())) {
      mine.push_back(piece);
    }
  };
  for (std::size_t k = 0; k < jobs.tensors.size(); ++k) {
    const auto& tensor = jobs.tensors[k];
    const auto step = std::max<std::uint64_t>(kPieceBytes / std::max<std::uint64_t>(tensor.row_bytes, 1), 1);
    for (std::uint64_t row = 0; row < tensor.rows; row += step) {
      add({false, k, row, std::min(step, tensor.rows - row)});
    }
  }
  for (std::size_t k = 0; k < jobs.adapters.size(); ++k) add({true, k, 0, 0});
  return mine;
}

/// Opened as by an audit, but by what it holds itself: digests do not depend on a checkpoint.
FoundAdapter look_at(const AdapterJob& job, const Jobs& jobs) {
  FoundAdapter found;
  const auto weights = (std::filesystem::path(job.directory) / "adapter_model.safetensors").string();
  try {
    found.is_there = base::type_of(weights) != std::filesystem::file_type::not_found;
    if (!found.is_there) return found;
    // An audit that had the weights has judged DoRA whatever it was asked for; the digest is the same.
    const adapter::AdapterOptions options{.unit_scale = jobs.unit_scale, .allow_dora = true, .whole_model = false};
    const auto names = adapter::modules_of(job.directory);
    const auto opened = adapter::open_adapter(job.directory, names, {}, options, base::Log());
    found.is_unreadable = opened.is_unreadable;
    found.sha256 = opened.sha256;
    found.digest = opened.digest;
    found.reason = opened.reason;
  } catch (const Error& error) {
    if (!adapter::concerns_adapter_alone(error)) throw;
    found.is_unreadable = error.kind() == ErrorKind::runtime;
    found.reason = error.what();
  }
  return found;
}

void put(base::ByteWriter& out, const FoundAdapter& found) {
  out.put(found.is_there);
  out.put(found.is_unreadable);
  for (const auto* text : {&found.sha256, &found.digest, &found.reason}) out.put(*text);
}

FoundAdapter get_adapter(base::ByteReader& in) {
  FoundAdapter found;
  found.is_there = in.get<bool>();
  found.is_unreadable = in.get<bool>();
  for (auto* text : {&found.sha256, &found.digest, &found.reason}) *text = in.get_string();
  return found;
}

/// This rank's share, serialised: each piece's kind, job and what was found.
std::string work(const Jobs& jobs, comm::Communicator& world) {
  const auto pieces = share_of(jobs, world);
  const int threads = base::default_threads(world.node_size());
  std::vector<std::unique_ptr<slab::RowsDigest>> readers(static_cast<std::size_t>(threads));
  base::ByteWriter out;
  std::mutex mutex;
  base::parallel_blocks(pieces.size(), threads, [&](std::size_t p, int thread) {
    if (thread == 0) {  // that which MPI knows
      comm::stop_if_peer_failed(world);
      world.peers().keep_alive();
    }
    const auto& piece = pieces[p];
    FoundAdapter adapter;
    TensorDigest digest;
    if (piece.is_adapter) {
      adapter = look_at(jobs.adapters[piece.job], jobs);
    } else {
      auto& reader = readers[static_cast<std::size_t>(thread)];
      if (!reader) reader = std::make_unique<slab::RowsDigest>(slab::make_reader(slab::IoMode::automatic));
      const auto& tensor = jobs.tensors[piece.job];
      digest = reader->of(tensor.file, tensor.name, {tensor.offset, tensor.row_bytes, piece.row, piece.rows});
    }
    const std::lock_guard lock(mutex);
    out.put(piece.is_adapter);
    out.put<std::uint64_t>(piece.job);
    if (piece.is_adapter) {
      put(out, adapter);
    } else {
      out.put(digest);
    }
  });
  return std::move(out).bytes();
}

}  // namespace

std::string Jobs::serialise() const {
  base::ByteWriter out;
  out.put(unit_scale);
  out.put<std::uint64_t>(adapters.size());
  for (const auto& job : adapters) out.put(job.directory);
  out.put<std::uint64_t>(tensors.size());
  for (const auto& job : tensors) {
    out.put(job.file);
    out.put(job.name);
    out.put(job.offset);
    out.put(job.rows);
    out.put(job.row_bytes);
  }
  return std::move(out).bytes();
}

Jobs Jobs::deserialise(const std::string& bytes) {
  base::ByteReader in(bytes);
  Jobs jobs;
  jobs.unit_scale = in.get<bool>();
  for (auto left = in.get<std::uint64_t>(); left > 0; --left) jobs.adapters.push_back({in.get_string()});
  for (auto left = in.get<std::uint64_t>(); left > 0; --left) {
    TensorJob job;
    job.file = in.get_string();
    job.name = in.get_string();
    job.offset = in.get<std::uint64_t>();
    job.rows = in.get<std::uint64_t>();
    job.row_bytes = in.get<std::uint64_t>();
    jobs.tensors.push_back(std::move(job));
  }
  return jobs;
}

Found carry_out(const Jobs& jobs, comm::Communicator& world) {
  const auto all = Jobs::deserialise(comm::from_coordinator(world, [&] { return jobs.serialise(); }));
  const auto mine = comm::result_together(world, [&] { return work(all, world); });
  const auto parts = world.gather(mine, comm::kCoordinator);
  Found found{std::vector<FoundAdapter>(all.adapters.size()), std::vector<TensorDigest>(all.tensors.size())};
  comm::from_coordinator(world, [&] {
    for (const auto& part : parts) {
      base::ByteReader in(part);
      while (!in.at_end()) {
        const bool is_adapter = in.get<bool>();
        const auto job = in.get<std::uint64_t>();
        if (is_adapter) {
          found.adapters.at(job) = get_adapter(in);
        } else {
          found.tensors.at(job).merge(in.get<TensorDigest>());
        }
      }
    }
    return std::string();
  });
  return found;
}

}  // namespace winnow::verify
