// Inner products of an update that is dense, in float64 from the stored bits: of a weight that an adapter ships as a
// whole, T, in the place of W, with LoRA on it or without, or of DoRA (arXiv 2402.09353, as PEFT merges it).
//
//     dW = T - W, or T + s*B*A - W, or diag(m/||X||)*X - W with X = W + s*B*A and norms by rows
//                      ||dW||^2, <W, dW>, <V, dW>, <D, dW> for each direction D,
//                      B_h^T*dW*A_h^T (r_h x r_h) for each probe B_h*A_h, whose trace is <B_h*A_h, dW>
//
// All of it is additive over rows. A block of rows is summed up by itself, and blocks are added in their order: the
// same bits whoever computes them, and however many rows are read at once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "winnow/base/conversion.hpp"
#include "winnow/base/dtype.hpp"
#include "winnow/compute/factor_stack.hpp"
#include "winnow/stats/module_statistics.hpp"

namespace winnow::compute {

/// Rows of a block: some 2^16 entries, at least one row.
std::uint64_t dense_block_rows(std::uint64_t columns);

/// Whole rows of a tensor, as stored, of any alignment.
struct StoredRows {
  const std::byte* data = nullptr;  ///< null: there is no such tensor
  base::DType dtype = base::DType::f32;
};

/// The tensors of one module in a block of rows.
struct DenseBlock {
  std::uint64_t row_begin = 0, rows = 0, columns = 0;  ///< of the stored tensor
  StoredRows weight, base;
  std::vector<StoredRows> directions;
};

/// Sums of the operands themselves.
struct OperandSums {
  double weight = 0, step = 0;     ///< ||W||^2, ||V||^2
  std::vector<double> directions;  ///< ||D||^2
  stats::UnusableWeight unusable;  ///< of V, or of W if there is no base or it is asked for (compute/range.hpp)
  std::vector<stats::UnusableWeight> of_directions;

  void merge(const OperandSums& other);
};
/// `weighs`: of a pair W has to be within range as well.
OperandSums operand_sums(const DenseBlock& block, bool weighs);

/// Probes that are adapters, in float64: left (rows x R) and right (R x columns) factors of B_h*A_h, or of its
/// transpose if the weight is stored so.
class DenseProbes {
 public:
  DenseProbes() = default;
  /// A stack without a sketch, on a module whose weight has this many stored rows.
  DenseProbes(const FactorStack& stack, bool stored_transposed);

  std::uint64_t columns() const noexcept { return columns_; }  ///< R
  const std::vector<std::uint64_t>& ranks() const noexcept { return ranks_; }
  const double* left(std::uint64_t row) const { return left_.data() + row * columns_; }
  const std::vector<double>& right() const noexcept { return right_; }
  bool transposed() const noexcept { return transposed_; }

 private:
  std::uint64_t columns_ = 0;
  std::vector<std::uint64_t> ranks_;
  std::vector<double> left_, right_;
  bool transposed_ = false;
};

/// LoRA in a block of rows, of a weight that is stored [out, in].
struct LoraRows {
  std::uint64_t rank = 0;
  double scale = 0;           ///< s
  const double* a = nullptr;  ///< A, rank x columns
  const double* b = nullptr;  ///< of the block's rows: rows x rank
};
/// Likewise DoRA.
struct DoraRows {
  LoraRows lora;
  const double* magnitude = nullptr;  ///< m, of the block's rows
};

/// Sums of one update.
struct DenseSums {
  double squared_norm = 0, with_weight = 0, with_step = 0;
  double largest = 0;                          ///< |dW| of an entry
  std::vector<double> with_directions;         ///< [directions]
  std::vector<std::vector<double>> of_probes;  ///< [probes]: B_h^T*dW*A_h^T, row-major
  std::vector<double> btb;                     ///< of LoRA and DoRA: B^T*B, rank x rank
  /// Those by which every entry of T is what becomes of W's: with any of them left, nothing was changed.
  std::uint8_t conversions = base::kAnyConversion;
  /// The first entry of T, or of dW with LoRA or DoRA, that is not finite (as float32, which models compute in at most)
  /// though W's is.
  std::optional<std::uint64_t> not_finite;

  bool is_unchanged() const noexcept { return conversions != 0; }
  double norm() const;  ///< ||dW||; 0 if and only if dW = 0
  void merge(const DenseSums& other);
};

/// Of T in a block. `conversions` are those that are left after other blocks, if that is known: the others need not be
/// tried.
DenseSums dense_sums(const DenseBlock& block, const StoredRows& whole, const DenseProbes& probes,
                     std::uint8_t conversions = base::kAnyConversion);

/// Of LoRA on T in a block. It counts as changed, whatever it comes to.
DenseSums dense_sums(const DenseBlock& block, const StoredRows& whole, const LoraRows& lora, const DenseProbes& probes);

/// Of DoRA in a block. Unchanged is also what differs from W by the rounding of a magnitude in float32 (2^-20 of each
/// entry): a model that was not trained at all.
DenseSums dense_sums(const DenseBlock& block, const DoraRows& dora, const DenseProbes& probes);

}  // namespace winnow::compute
