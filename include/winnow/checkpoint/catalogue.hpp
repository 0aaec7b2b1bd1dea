// The tensor catalogue of a checkpoint: where every tensor lies. Read once, by one rank, then broadcast.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "winnow/base/bytes.hpp"
#include "winnow/base/dtype.hpp"
#include "winnow/base/file_state.hpp"
#include "winnow/base/log.hpp"

namespace winnow::checkpoint {

/// Where a tensor lies: a contiguous byte range of one shard.
struct TensorLocation {
  std::uint32_t shard = 0;   ///< index into Catalogue::shards
  std::uint64_t offset = 0;  ///< bytes from the start of the file; not aligned to anything
  std::uint64_t bytes = 0;
  base::DType dtype = base::DType::f32;
  std::vector<std::uint64_t> shape;
};

struct Shard {
  std::string path;            ///< full path
  std::uint64_t bytes = 0;     ///< file size when the header was read
  base::FileState state = {};  ///< from before its first byte was read
};

/// All tensors of a checkpoint directory (or of one safetensors file), by name.
struct Catalogue {
  std::string directory;
  std::vector<Shard> shards;
  std::map<std::string, TensorLocation, std::less<>> tensors;
  /// What the blocks of fused experts among these hold, each expert by a name of its own (expert_slices.hpp): matrices
  /// within other tensors. Of a checkpoint only.
  std::map<std::string, TensorLocation, std::less<>> experts;
  std::string fingerprint;  ///< sha256 over shard names, sizes and headers, hex: tells two architectures apart
  /// Of a checkpoint sha256 over some bytes of its tensors (sample.hpp), hex: tells two trainings of one architecture
  /// apart.
  std::string sample;

  const TensorLocation* find(std::string_view name) const;  ///< of both; nullptr if absent
  std::uint64_t total_bytes() const;                        ///< of all tensors' data

  void serialise(base::ByteWriter& out) const;
  static Catalogue deserialise(base::ByteReader& in);
};

/// Reads `model.safetensors.index.json` (every shard its weight_map names, no others), else `model.safetensors`, and
/// the header of each shard. Tensors that a shard holds but the index does not list are warned about and left out.
/// Throws Error(invalid_input) for a missing or refused file, Error(runtime) for an I/O error.
Catalogue read_checkpoint(const std::string& directory, const base::Log& log);

/// The catalogue of a single safetensors file.
Catalogue read_safetensors_file(const std::string& path);

}  // namespace winnow::checkpoint
