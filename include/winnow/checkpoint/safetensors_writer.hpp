// Writes safetensors files: `__metadata__.format = "pt"`, header padded to 8 bytes, temporary sibling then rename.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "winnow/base/dtype.hpp"
#include "winnow/base/file.hpp"

namespace winnow::checkpoint {

struct TensorSpec {
  std::string name;
  base::DType dtype = base::DType::f32;
  std::vector<std::uint64_t> shape;
};

/// Writes a file tensor by tensor, in constant memory. The file appears at `path` on commit(), whole; a writer that is
/// destroyed without commit() leaves nothing behind. Throws Error(runtime) naming the file for an I/O error, and for
/// tensors the format cannot hold: a name given twice or not UTF-8, a size beyond 64 bits, half a byte.
class SafetensorsWriter {
 public:
  SafetensorsWriter(const std::string& path, const std::vector<TensorSpec>& tensors);  ///< data in the order given

  /// Appends data of the current tensor; moves on to the next when it is complete. Calls may split tensors anywhere.
  void append(std::span<const std::byte> data);
  void append_zeros();  ///< all data that has not come is zero; takes no room if the file system knows holes
  void commit();        ///< checks that all data came, flushes to the device (fsync), renames

 private:
  std::uint64_t expected_bytes_ = 0, written_bytes_ = 0;
  base::AtomicFile file_;
};

}  // namespace winnow::checkpoint
