// The digest of some rows of a tensor, read for that alone.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "winnow/checkpoint/tensor_digest.hpp"
#include "winnow/slab/aligned_buffer.hpp"
#include "winnow/slab/reader.hpp"

namespace winnow::slab {

/// Whole rows, as they are stored.
struct StoredRows {
  std::uint64_t offset = 0;  ///< of the tensor in its file
  std::uint64_t row_bytes = 0;
  std::uint64_t row = 0, rows = 0;
};

/// Used by one thread. Its memory is as large as the largest piece.
class RowsDigest {
 public:
  explicit RowsDigest(std::unique_ptr<Reader> reader) : reader_(std::move(reader)) {}

  /// Throws Error(runtime), naming file and tensor, if the file cannot be read.
  checkpoint::TensorDigest of(const std::string& file, const std::string& tensor, const StoredRows& rows);

 private:
  std::unique_ptr<Reader> reader_;
  AlignedBuffer memory_;
};

}  // namespace winnow::slab
