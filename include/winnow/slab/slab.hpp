// A slab: a range of whole rows of one module's weight, in both checkpoints, in memory. Or, without a base, of one
// tensor: a direction.
//
//        stored tensor (rows x columns)          a slab is contiguous in each file
//      +-----------------------------+
//      |                             |
//      |#############################|  <- row_begin          base    [rows x columns]
//      |#############################|     rows               aligned [rows x columns]
//      |                             |
//      +-----------------------------+
//
// Rows are those of the stored tensor: output features as a rule, input features if the weight is stored
// transposed (GPT-2's Conv1D). Never columns: they would be strided reads of hundreds of bytes.
#pragma once

#include <cstddef>
#include <cstdint>

#include "winnow/base/dtype.hpp"

namespace winnow::slab {

struct Slab {
  std::uint64_t row_begin = 0, rows = 0, columns = 0;
  const std::byte* base = nullptr;  ///< rows * columns elements, row-major, aligned to their size; null: all zero
  const std::byte* aligned = nullptr;
  base::DType base_dtype = base::DType::bf16, aligned_dtype = base::DType::bf16;

  bool operator==(const Slab&) const = default;  ///< the same memory, not the same weights
};

}  // namespace winnow::slab
