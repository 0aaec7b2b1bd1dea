// Dense matrices as a checkpoint stores them: in a dtype, perhaps transposed, alone or as the difference of two.
#pragma once

#include <cstddef>
#include <utility>
#include <vector>

#include "repair/dense.hpp"
#include "winnow/base/dtype.hpp"
#include "winnow/repair/weights.hpp"

namespace winnow::repair::test {

inline std::vector<std::byte> bytes_of(const Matrix& matrix, base::DType dtype, bool transposed) {
  const RowMajor rows = transposed ? RowMajor(matrix.transpose()) : RowMajor(matrix);
  std::vector<std::byte> bytes(static_cast<std::size_t>(rows.size()) * base::element_bytes(dtype));
  base::from_double(dtype, rows.data(), static_cast<std::size_t>(rows.size()), bytes.data());
  return bytes;
}

/// The matrix that the bytes hold.
inline Matrix rounded(const Matrix& matrix, base::DType dtype) {
  const auto bytes = bytes_of(matrix, dtype, false);
  std::vector<double> values(static_cast<std::size_t>(matrix.size()));
  base::to_double(dtype, bytes.data(), values.size(), values.data());
  return test::matrix(values, static_cast<std::uint64_t>(matrix.rows()), static_cast<std::uint64_t>(matrix.cols()));
}

/// W, or V = W_aligned - W_base if there is a base; and the products with it.
class Stored {
 public:
  explicit Stored(const Matrix& weight, base::DType dtype = base::DType::f64, bool transposed = false)
      : aligned_(bytes_of(weight, dtype, transposed)) {
    describe(weight, dtype, transposed);
  }
  Stored(const Matrix& base, base::DType base_dtype, const Matrix& aligned, base::DType dtype, bool transposed)
      : base_(bytes_of(base, base_dtype, transposed)), aligned_(bytes_of(aligned, dtype, transposed)) {
    describe(aligned, dtype, transposed);
    stored_.stored.base = base_.data();
    stored_.stored.base_dtype = base_dtype;
  }
  Stored(const Stored&) = delete;
  Stored& operator=(const Stored&) = delete;

  const StoredWeights& weights() const { return stored_; }
  WeightProducts products(int threads = 2) const { return {stored_, threads, {"q_proj.weight", "base", "aligned"}}; }

 private:
  void describe(const Matrix& matrix, base::DType dtype, bool transposed) {
    const auto out = static_cast<std::uint64_t>(matrix.rows()), in = static_cast<std::uint64_t>(matrix.cols());
    stored_ = {
        out, in, transposed, {0, transposed ? in : out, transposed ? out : in, nullptr, aligned_.data(), dtype, dtype}};
  }

  std::vector<std::byte> base_, aligned_;
  StoredWeights stored_;
};

}  // namespace winnow::repair::test
