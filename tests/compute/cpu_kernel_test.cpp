// Each instruction set's kernel against plain loops in float64, at every size that has an edge of its own.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "cpu/column_groups.hpp"
#include "cpu/cpu_primitives.hpp"
#include "cpu/kernel.hpp"

namespace winnow::compute {
namespace {

using base::DType;

/// A matrix stored as `dtype` inside a wider one, so that strides matter.
struct Stored {
  std::vector<std::byte> bytes;
  std::vector<double> values;  // as they were rounded, rows x columns

  Stored(DType dtype, std::size_t rows, std::size_t columns, std::size_t stride, std::mt19937& engine) {
    const std::size_t size = base::element_bytes(dtype);
    bytes.resize(rows * stride * size);
    std::normal_distribution<float> normal;
    for (std::size_t r = 0; r < rows; ++r) {
      for (std::size_t c = 0; c < stride; ++c) {
        std::byte* const at = bytes.data() + (r * stride + c) * size;
        const float value = normal(engine);
        const std::uint16_t half = dtype == DType::bf16 ? base::float_to_bf16(value) : base::float_to_f16(value);
        const double wide = static_cast<double>(value) + 1e-9;
        if (size == 2) std::memcpy(at, &half, 2);
        if (size == 4) std::memcpy(at, &value, 4);
        if (size == 8) std::memcpy(at, &wide, 8);
        double stored = 0;
        base::to_double(dtype, at, 1, &stored);
        if (c < columns) values.push_back(stored);
      }
    }
  }
};

ColumnGroups random_groups(const Kernel& kernel, std::size_t rows, std::size_t columns, std::mt19937& engine) {
  std::normal_distribution<float> normal;
  std::vector<float> values(rows * columns);
  for (auto& value : values) value = normal(engine);
  ColumnGroups groups(kernel.group_columns);
  groups.assign(rows, columns, values.data());
  return groups;
}

double at(const ColumnGroups& groups, std::size_t row, std::size_t column) {
  double value = 0;
  groups.gather(row, 1, column, 1, 1, &value);
  return value;
}

/// Packs one tile and multiplies both ways.
void check(const Kernel& kernel, DType base_dtype, DType aligned_dtype, std::size_t rows, std::size_t columns,
           std::size_t right_columns) {
  SCOPED_TRACE(testing::Message() << kernel.name << " " << base::name(base_dtype) << "/" << base::name(aligned_dtype)
                                  << " " << rows << " x " << columns << ", R = " << right_columns);
  std::mt19937 engine(static_cast<unsigned>(rows * 1000 + columns));
  const std::size_t stride = columns + 5;
  const Stored base(base_dtype, rows, columns, stride, engine), aligned(aligned_dtype, rows, columns, stride, engine);
  std::vector<double> v(rows * columns);
  double squares = 0;
  for (std::size_t k = 0; k < v.size(); ++k) {
    v[k] = aligned.values[k] - base.values[k];
    squares += v[k] * v[k];
  }

  slab::AlignedBuffer memory;
  memory.reserve(kTileFloats * sizeof(float));
  auto* const panels = reinterpret_cast<float*>(memory.data());
  const TileSource source{base.bytes.data(), aligned.bytes.data(), base_dtype, aligned_dtype, stride, rows, columns};
  EXPECT_NEAR(kernel.pack(source, true, panels), squares, 1e-6 * squares);

  const auto b = random_groups(kernel, rows, right_columns, engine),
             x = random_groups(kernel, columns, right_columns, engine);
  ColumnGroups y(kernel.group_columns), p(kernel.group_columns);
  Ahead nothing;
  y.reset(columns, right_columns);
  p.reset(rows, right_columns);
  for (std::size_t group = 0; group < b.groups(); ++group) {
    kernel.transposed(panels, rows, padded_columns(columns), b.width(group), b.row(group, 0), y.row(group, 0), nothing);
    kernel.straight(panels, rows, padded_columns(columns), x.width(group), x.row(group, 0), p.row(group, 0), nothing);
  }
  for (std::size_t q = 0; q < right_columns; ++q) {
    for (std::size_t c = 0; c < columns; ++c) {
      double want = 0, size = 0;
      for (std::size_t r = 0; r < rows; ++r) {
        want += v[r * columns + c] * at(b, r, q);
        size += std::fabs(v[r * columns + c] * at(b, r, q));
      }
      ASSERT_NEAR(at(y, c, q), want, 2e-6 * size) << "y " << c << ", " << q;
    }
    for (std::size_t r = 0; r < rows; ++r) {
      double want = 0, size = 0;
      for (std::size_t c = 0; c < columns; ++c) {
        want += v[r * columns + c] * at(x, c, q);
        size += std::fabs(v[r * columns + c] * at(x, c, q));
      }
      ASSERT_NEAR(at(p, r, q), want, 2e-6 * size) << "p " << r << ", " << q;
    }
  }
}

TEST(CpuKernel, EveryWidthOfTheRightHandSide) {
  for (const auto& kernel : supported_kernels()) {
    for (const std::size_t columns : {1U, 8U, 9U, 16U, 17U, 24U, 25U, 40U, 48U, 49U}) {
      check(kernel, DType::bf16, DType::bf16, 12, 32, columns);
    }
  }
}

TEST(CpuKernel, EveryRaggedEdge) {
  for (const auto& kernel : supported_kernels()) {
    for (const std::size_t rows : {1U, 3U, 4U, 5U, 6U, 7U, 59U, 60U}) {
      for (const std::size_t columns : {1U, 15U, 16U, 17U, 33U}) {
        for (const std::size_t right : {8U, 16U, 24U}) check(kernel, DType::bf16, DType::bf16, rows, columns, right);
      }
    }
  }
}

TEST(CpuKernel, AWholeTile) {
  for (const auto& kernel : supported_kernels()) check(kernel, DType::bf16, DType::bf16, kTileRows, kTileColumns, 24);
}

TEST(CpuKernel, EveryPairOfDtypes) {
  for (const auto& kernel : supported_kernels()) {
    for (const auto base : {DType::bf16, DType::f16, DType::f32, DType::f64}) {
      for (const auto aligned : {DType::bf16, DType::f16, DType::f32, DType::f64})
        check(kernel, base, aligned, 10, 37, 10);
    }
  }
}

TEST(CpuKernel, NeighbouringTilesDoNotTouchEachOthersRows) {
  // A tile whose rows are no multiple of a kernel's step adds exact zeros beyond its last row, and nothing else.
  for (const auto& kernel : supported_kernels()) {
    std::mt19937 engine(7);
    Ahead nothing;
    const Stored base(DType::bf16, 5, 16, 16, engine), aligned(DType::bf16, 5, 16, 16, engine);
    slab::AlignedBuffer memory;
    memory.reserve(kTileFloats * sizeof(float));
    auto* const panels = reinterpret_cast<float*>(memory.data());
    std::memset(panels, 0xFF, kTileFloats * sizeof(float));  // NaN: what was there before must not matter
    kernel.pack({base.bytes.data(), aligned.bytes.data(), DType::bf16, DType::bf16, 16, 5, 16}, true, panels);
    for (const std::size_t width : {8U, 16U, 24U}) {
      const auto x = random_groups(kernel, 16, width, engine);
      auto p = random_groups(kernel, 12, width, engine);
      std::vector<double> before(width * 7), after(width * 7);
      p.gather(5, 7, 0, width, width, before.data());
      kernel.straight(panels, 5, 16, width, x.row(0, 0), p.row(0, 0), nothing);
      p.gather(5, 7, 0, width, width, after.data());
      EXPECT_EQ(before, after) << kernel.name << " " << width;
    }
  }
}

// Squares that vanish in float32 are not lost, at sizes with ragged ends.
TEST(CpuKernel, SquaresOfTinyNumbersAreRight) {
  std::mt19937 engine(9);
  std::normal_distribution<double> normal;
  for (const auto& kernel : supported_kernels()) {
    for (const auto& [rows, columns] : {std::pair<std::size_t, std::size_t>{120, 256}, {1, 1}, {7, 33}, {25, 16}}) {
      for (const double size : {1e-8, 1e-15, 1e-20, 1e-22, 1e-30, 1e-42}) {
        std::vector<float> base(rows * columns, 0.0F), aligned(rows * columns);
        double expected = 0;
        for (auto& value : aligned) {
          value = static_cast<float>(size * normal(engine));
          expected += static_cast<double>(value) * static_cast<double>(value);
        }
        slab::AlignedBuffer panels;
        panels.reserve(kTileFloats * sizeof(float));
        std::memset(panels.data(), 0x7F, kTileFloats * sizeof(float));  // what lies there is no part of the tile
        const TileSource source{reinterpret_cast<const std::byte*>(base.data()),
                                reinterpret_cast<const std::byte*>(aligned.data()),
                                DType::f32,
                                DType::f32,
                                columns,
                                rows,
                                columns};
        const double found = kernel.pack(source, true, reinterpret_cast<float*>(panels.data()));
        EXPECT_NEAR(found, expected, 1e-6 * expected) << kernel.name << ' ' << rows << 'x' << columns << ' ' << size;
      }
    }
  }
}

}  // namespace
}  // namespace winnow::compute
