// Rows of the checkpoints' weights, made where and when they are needed.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "winnow/base/philox.hpp"
#include "winnow/synth/alignment_step.hpp"

namespace winnow::synth {

/// Near-normal numbers with exact integers only: (sum of the four bytes of a random word - 510), scaled. Their largest
/// size is 3.45 standard deviations; they are the same on every machine.
class CheapNormals {
 public:
  CheapNormals(std::uint64_t seed, std::string_view stream, double std, double mean = 0.0);
  void fill(std::uint64_t first, std::size_t count, float* out) const;

 private:
  base::BitStream bits_;
  float scale_, mean_;
};

/// Makes rows of one tensor of the base or of the aligned checkpoint. Safe to use from several threads.
class TensorRows {
 public:
  /// `module` is null for embeddings, norms and lm_head, which are the same in both checkpoints.
  TensorRows(std::uint64_t seed, const checkpoint::TensorSpec& tensor, const Module* module, bool aligned);

  std::uint64_t rows() const noexcept { return rows_; }
  std::uint64_t columns() const noexcept { return columns_; }
  /// Writes rows first .. first + count - 1 as bf16. An aligned element is bf16(base element + V).
  void make(std::uint64_t first, std::uint64_t count, std::uint16_t* out) const;

 private:
  std::uint64_t rows_ = 1, columns_ = 1;
  CheapNormals base_;
  std::optional<CheapNormals> tail_;
  std::vector<float> scaled_left_, right_;  ///< U·diag(σ) and Qᵀ; empty if nothing is added
  std::size_t k_ = 0;
};

}  // namespace winnow::synth
