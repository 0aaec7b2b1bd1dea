// What is read again: adapters whole, tensors in pieces. Planned by one rank, divided over all. Private to src/verify.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "winnow/checkpoint/tensor_digest.hpp"
#include "winnow/comm/communicator.hpp"

namespace winnow::verify {

struct AdapterJob {
  std::string directory;
};

/// A tensor whose rows are `row_bytes` each.
struct TensorJob {
  std::string file, name;
  std::uint64_t offset = 0, rows = 0, row_bytes = 0;
};

struct Jobs {
  bool unit_scale = false;  ///< as the audit opened adapters
  std::vector<AdapterJob> adapters;
  std::vector<TensorJob> tensors;

  std::string serialise() const;
  static Jobs deserialise(const std::string& bytes);
};

/// What there is now in an adapter's directory.
struct FoundAdapter {
  bool is_there = false, is_unreadable = false;
  std::string sha256, digest;  ///< as in adapter::Adapter; empty if that could not be formed
  std::string reason;          ///< why not
};

struct Found {
  std::vector<FoundAdapter> adapters;             ///< [Jobs::adapters]
  std::vector<checkpoint::TensorDigest> tensors;  ///< [Jobs::tensors]
};

/// Collective: `jobs` are those of the coordinator, and so is the result. Throws Error(runtime) for a tensor that
/// cannot be read.
Found carry_out(const Jobs& jobs, comm::Communicator& world);

}  // namespace winnow::verify
