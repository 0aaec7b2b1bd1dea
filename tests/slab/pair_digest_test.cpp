#include "winnow/slab/pair_digest.hpp"

#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "winnow/base/parallel.hpp"

namespace winnow::slab {
namespace {

struct Weights {
  std::vector<std::byte> base, aligned;
  Slab slab;  // all rows

  Weights(std::uint64_t rows, std::uint64_t columns, base::DType base_dtype, base::DType aligned_dtype) {
    std::mt19937 engine(7);
    base.resize(rows * columns * base::element_bytes(base_dtype));
    aligned.resize(rows * columns * base::element_bytes(aligned_dtype));
    for (auto* bytes : {&base, &aligned}) {
      for (auto& byte : *bytes) byte = static_cast<std::byte>(engine());
    }
    slab = {0, rows, columns, base.data(), aligned.data(), base_dtype, aligned_dtype};
  }

  Slab part(std::uint64_t row, std::uint64_t rows) const {
    auto one = slab;
    one.row_begin = row;
    one.rows = rows;
    one.base += row * slab.columns * base::element_bytes(slab.base_dtype);
    one.aligned += row * slab.columns * base::element_bytes(slab.aligned_dtype);
    return one;
  }
  checkpoint::TensorDigest expected(bool of_aligned) const {
    checkpoint::TensorDigest digest;
    const auto& bytes = of_aligned ? aligned : base;
    digest.add_rows(0, slab.rows, bytes.size() / slab.rows, bytes.data());
    return digest;
  }
};

// A slab in whole, or as the passes go over it: blocks of rows, and of those ranges of columns.
TEST(PairDigest, IsThatOfTheTensorsHoweverTheyAreCut) {
  using base::DType;
  std::mt19937 engine(11);
  for (const auto& [columns, one, other] : {std::tuple{10U, DType::f32, DType::bf16},
                                            {4096U, DType::bf16, DType::bf16},
                                            {5000U, DType::bf16, DType::f32},
                                            {3001U, DType::f64, DType::f16}}) {
    const Weights weights(130, columns, one, other);
    PairDigest at_once;
    at_once.add(weights.slab, 3);
    EXPECT_EQ(at_once.base(), weights.expected(false));
    EXPECT_EQ(at_once.aligned(), weights.expected(true));
    EXPECT_EQ(at_once.rows(), 130U);

    PairDigest in_pieces;
    const auto split = 1 + engine() % 129;
    for (const auto& slab : {weights.part(split, 130 - split), weights.part(0, split)}) {
      base::parallel_blocks((slab.rows + 23) / 24, 3, [&](std::size_t block, int) {
        const std::uint64_t row = block * 24, rows = std::min<std::uint64_t>(24, slab.rows - row);
        for (std::uint64_t column = 0; column < columns; column += 256) {
          in_pieces.add(slab, row, rows, column, std::min<std::uint64_t>(column + 256, columns));
        }
      });
    }
    EXPECT_EQ(in_pieces.base(), weights.expected(false)) << columns;
    EXPECT_EQ(in_pieces.aligned(), weights.expected(true)) << columns;
    EXPECT_EQ(in_pieces.rows(), 130U);
  }
}

}  // namespace
}  // namespace winnow::slab
