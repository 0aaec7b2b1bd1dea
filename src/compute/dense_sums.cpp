#include "winnow/compute/dense_sums.hpp"

#include <Eigen/Core>
#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>

#include "winnow/compute/range.hpp"
#include "winnow/slab/slab.hpp"

namespace winnow::compute {
namespace {

using Matrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using Rows = Eigen::Map<const Matrix>;

constexpr std::uint64_t kBlockEntries = 1U << 16U;
constexpr std::size_t kLanes = 8;
constexpr double kLargestFloat = std::numeric_limits<float>::max();

/// What a magnitude in float32 leaves of an entry's size if nothing was trained: PEFT sums up a row of float32.
constexpr double kMagnitudeRounding = 0x1p-20;

Eigen::Index extent(std::uint64_t value) { return static_cast<Eigen::Index>(value); }

/// In lanes, which become vector instructions.
double dot(const double* x, const double* y, std::size_t count) {
  std::array<double, kLanes> lanes{};
  std::size_t k = 0;
  for (; k + kLanes <= count; k += kLanes) {
    for (std::size_t lane = 0; lane < kLanes; ++lane) lanes[lane] += x[k + lane] * y[k + lane];
  }
  double sum = 0;
  for (; k < count; ++k) sum += x[k] * y[k];
  for (const double lane : lanes) sum += lane;
  return sum;
}

double largest_of(const double* x, std::size_t count) {
  double largest = 0;
  for (std::size_t k = 0; k < count; ++k) largest = std::max(largest, std::abs(x[k]));
  return largest;
}

const std::byte* row_of(const StoredRows& tensor, std::uint64_t row, std::uint64_t columns) {
  return tensor.data + row * columns * base::element_bytes(tensor.dtype);
}

void read_row(const StoredRows& tensor, std::uint64_t row, std::uint64_t columns, double* to) {
  base::to_double(tensor.dtype, row_of(tensor, row, columns), columns, to);
}

stats::UnusableWeight unusable_in(const DenseBlock& block, const StoredRows* base, const StoredRows& tensor) {
  return find_unusable({block.row_begin, block.rows, block.columns, base == nullptr ? nullptr : base->data, tensor.data,
                        base == nullptr ? tensor.dtype : base->dtype, tensor.dtype});
}

/// B_h^T*dW*A_h^T of a block of dW, as far as its rows go.
void add_probes(const DenseBlock& block, const std::vector<double>& update, const DenseProbes& probes,
                DenseSums& sums) {
  const auto rows = extent(block.rows), columns = extent(block.columns), all = extent(probes.columns());
  const Rows dense(update.data(), rows, columns), right(probes.right().data(), all, columns);
  const Rows left(probes.left(block.row_begin), rows, all);
  const Matrix products = dense * right.transpose();
  Eigen::Index first = 0;
  for (std::size_t h = 0; h < probes.ranks().size(); ++h) {
    const auto rank = extent(probes.ranks()[h]);
    Eigen::Map<Matrix> own(sums.of_probes[h].data(), rank, rank);
    const Matrix product = left.middleCols(first, rank).transpose() * products.middleCols(first, rank);
    if (probes.transposed()) {
      own += product.transpose();
    } else {
      own += product;
    }
    first += rank;
  }
}

/// B*A of a block of rows.
Matrix product_of(const DenseBlock& block, const LoraRows& lora) {
  const auto rank = extent(lora.rank);
  return Rows(lora.b, extent(block.rows), rank) * Rows(lora.a, rank, extent(block.columns));
}

std::vector<double> btb_of(const DenseBlock& block, const LoraRows& lora) {
  const auto rank = extent(lora.rank);
  const Rows b(lora.b, extent(block.rows), rank);
  std::vector<double> btb(lora.rank * lora.rank);
  Eigen::Map<Matrix>(btb.data(), rank, rank) = b.transpose() * b;
  return btb;
}

/// A block row by row.
class RowSums {
 public:
  RowSums(const DenseBlock& block, const DenseProbes& probes) : block_(block), probes_(probes) {
    sums.with_directions.resize(block.directions.size());
    for (const auto rank : probes.ranks()) sums.of_probes.emplace_back(rank * rank);
  }

  /// `read`(row, W's, to) makes a row of dW. False: it cannot be summed up.
  template <class Read>
  DenseSums over(const Read& read) && {
    const auto columns = block_.columns;
    std::vector<double> weight(columns), update(block_.rows * columns);
    other_.resize(columns);
    for (std::uint64_t row = 0; row < block_.rows; ++row) {
      double* const own = update.data() + row * columns;
      read_row(block_.weight, row, columns, weight.data());
      if (!read(row, weight.data(), own)) return std::move(sums);
      add(row, weight.data(), own);
    }
    if (sums.largest > 0 && probes_.columns() != 0) add_probes(block_, update, probes_, sums);
    return std::move(sums);
  }

  /// Whether a row is; notes its first entry that is not, unless W's is not either.
  bool are_finite(std::uint64_t row, const double* weight, const double* values) {
    for (std::uint64_t k = 0; k < block_.columns; ++k) {
      if (std::abs(values[k]) <= kLargestFloat || !std::isfinite(weight[k])) continue;
      sums.not_finite = (block_.row_begin + row) * block_.columns + k;
      return false;
    }
    return true;
  }

  DenseSums sums;

 private:
  void add(std::uint64_t row, const double* weight, const double* own) {
    const auto columns = block_.columns;
    const double largest = largest_of(own, columns);
    if (largest == 0) return;
    sums.largest = std::max(sums.largest, largest);
    sums.squared_norm += dot(own, own, columns);
    sums.with_weight += dot(weight, own, columns);
    if (block_.base.data != nullptr) {
      read_row(block_.base, row, columns, other_.data());
      for (std::uint64_t k = 0; k < columns; ++k) other_[k] = weight[k] - other_[k];
      sums.with_step += dot(other_.data(), own, columns);
    }
    for (std::size_t d = 0; d < block_.directions.size(); ++d) {
      read_row(block_.directions[d], row, columns, other_.data());
      sums.with_directions[d] += dot(other_.data(), own, columns);
    }
  }

  const DenseBlock& block_;
  const DenseProbes& probes_;
  std::vector<double> other_;
};

}  // namespace

std::uint64_t dense_block_rows(std::uint64_t columns) {
  return std::max<std::uint64_t>(1, kBlockEntries / std::max<std::uint64_t>(columns, 1));
}

void OperandSums::merge(const OperandSums& other) {
  weight += other.weight;
  step += other.step;
  unusable.merge(other.unusable);
  directions.resize(other.directions.size());
  of_directions.resize(other.of_directions.size());
  for (std::size_t k = 0; k < directions.size(); ++k) {
    directions[k] += other.directions[k];
    of_directions[k].merge(other.of_directions[k]);
  }
}

OperandSums operand_sums(const DenseBlock& block, bool weighs) {
  const auto columns = block.columns;
  const bool pair = block.base.data != nullptr;
  OperandSums sums;
  sums.directions.resize(block.directions.size());
  sums.of_directions.resize(block.directions.size());
  std::vector<double> weight(columns), other(columns);
  for (std::uint64_t row = 0; row < block.rows; ++row) {
    read_row(block.weight, row, columns, weight.data());
    sums.weight += dot(weight.data(), weight.data(), columns);
    if (pair) {
      read_row(block.base, row, columns, other.data());
      for (std::uint64_t k = 0; k < columns; ++k) other[k] = weight[k] - other[k];
      sums.step += dot(other.data(), other.data(), columns);
    }
    for (std::size_t d = 0; d < block.directions.size(); ++d) {
      read_row(block.directions[d], row, columns, other.data());
      sums.directions[d] += dot(other.data(), other.data(), columns);
    }
  }
  if (pair && may_be_unusable(sums.step)) sums.unusable = unusable_in(block, &block.base, block.weight);
  if ((!pair || weighs) && may_be_unusable(sums.weight)) {
    sums.unusable.merge(unusable_in(block, nullptr, block.weight));
  }
  for (std::size_t d = 0; d < block.directions.size(); ++d) {
    if (!may_be_unusable(sums.directions[d])) continue;
    sums.of_directions[d] = unusable_in(block, nullptr, block.directions[d]);
  }
  return sums;
}

DenseProbes::DenseProbes(const FactorStack& stack, bool stored_transposed)
    : columns_(stack.columns()), ranks_(stack.ranks), transposed_(stored_transposed) {
  std::vector<double> outputs(stack.b.begin(), stack.b.end());  // o x R
  std::vector<double> inputs;                                   // R x i
  for (const auto& a : stack.a) inputs.insert(inputs.end(), a.begin(), a.end());
  if (!stored_transposed) {
    left_ = std::move(outputs);
    right_ = std::move(inputs);
    return;
  }
  const Rows b(outputs.data(), extent(stack.out_features), extent(columns_));
  const Rows a(inputs.data(), extent(columns_), extent(stack.in_features));
  left_.resize(inputs.size());
  right_.resize(outputs.size());
  Eigen::Map<Matrix>(left_.data(), a.cols(), a.rows()) = a.transpose();
  Eigen::Map<Matrix>(right_.data(), b.cols(), b.rows()) = b.transpose();
}

double DenseSums::norm() const { return std::max(std::sqrt(squared_norm), largest); }

void DenseSums::merge(const DenseSums& other) {
  squared_norm += other.squared_norm;
  with_weight += other.with_weight;
  with_step += other.with_step;
  largest = std::max(largest, other.largest);
  conversions &= other.conversions;
  if (other.not_finite && (!not_finite || *other.not_finite < *not_finite)) not_finite = other.not_finite;
  btb.resize(other.btb.size());
  for (std::size_t k = 0; k < btb.size(); ++k) btb[k] += other.btb[k];
  with_directions.resize(other.with_directions.size());
  for (std::size_t k = 0; k < with_directions.size(); ++k) with_directions[k] += other.with_directions[k];
  of_probes.resize(other.of_probes.size());
  for (std::size_t h = 0; h < of_probes.size(); ++h) {
    of_probes[h].resize(other.of_probes[h].size());
    for (std::size_t k = 0; k < of_probes[h].size(); ++k) of_probes[h][k] += other.of_probes[h][k];
  }
}

DenseSums dense_sums(const DenseBlock& block, const StoredRows& whole, const DenseProbes& probes,
                     std::uint8_t conversions) {
  RowSums rows(block, probes);
  rows.sums.conversions = conversions;
  const auto read = [&](std::uint64_t row, const double* weight, double* own) {
    read_row(whole, row, block.columns, own);
    rows.sums.conversions = base::conversions_of(weight, own, block.columns, rows.sums.conversions);
    if (!rows.are_finite(row, weight, own)) return false;
    for (std::uint64_t k = 0; k < block.columns; ++k) own[k] -= weight[k];
    return true;
  };
  return std::move(rows).over(read);
}

DenseSums dense_sums(const DenseBlock& block, const StoredRows& whole, const LoraRows& lora,
                     const DenseProbes& probes) {
  const Matrix product = product_of(block, lora);
  RowSums rows(block, probes);
  const auto read = [&](std::uint64_t row, const double* weight, double* own) {
    const double* const added = product.data() + row * block.columns;
    read_row(whole, row, block.columns, own);
    for (std::uint64_t k = 0; k < block.columns; ++k) own[k] += lora.scale * added[k];
    if (!rows.are_finite(row, weight, own)) return false;
    for (std::uint64_t k = 0; k < block.columns; ++k) own[k] -= weight[k];
    return true;
  };
  auto sums = std::move(rows).over(read);
  sums.conversions = 0;
  sums.btb = btb_of(block, lora);
  return sums;
}

DenseSums dense_sums(const DenseBlock& block, const DoraRows& dora, const DenseProbes& probes) {
  const Matrix product = product_of(block, dora.lora);
  RowSums rows(block, probes);
  bool changed = false;
  const auto read = [&](std::uint64_t row, const double* weight, double* own) {
    const double* const added = product.data() + row * block.columns;
    for (std::uint64_t k = 0; k < block.columns; ++k) own[k] = weight[k] + dora.lora.scale * added[k];
    const double factor = dora.magnitude[row] / std::sqrt(dot(own, own, block.columns));
    for (std::uint64_t k = 0; k < block.columns; ++k) {
      own[k] = factor * own[k] - weight[k];
      changed |= std::abs(own[k]) > kMagnitudeRounding * std::abs(weight[k]);
    }
    return rows.are_finite(row, weight, own);
  };
  auto sums = std::move(rows).over(read);
  sums.conversions = changed ? std::uint8_t{0} : std::uint8_t{base::kExact};
  sums.btb = btb_of(block, dora.lora);
  return sums;
}

}  // namespace winnow::compute
