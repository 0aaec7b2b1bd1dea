// Inner products of updates from their factors, against dense updates.
#include "winnow/compute/cross_products.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "compute/dense_module.hpp"
#include "svd.hpp"
#include "winnow/base/parallel.hpp"

namespace winnow::compute {
namespace {

struct CrossProducts {
  std::vector<double> probe_norms, norms;  ///< [probes], [adapters]
  std::vector<std::vector<double>> dots;   ///< [probes][adapters]
};

/// Of all adapters of a stack, by several threads at once, as an audit does it.
CrossProducts cross_products(const FactorStack& probes, const FactorStack& adapters, int threads = 1) {
  const ProbeFactors factors(probes);
  const std::vector<double> none(adapters.ranks.size());
  CrossProducts result{factors.norms(), none, {factors.norms().size(), none}};
  base::parallel_blocks(adapters.ranks.size(), threads, [&](std::size_t j, int) {
    const auto products = factors.with(adapters, j);
    result.norms[j] = products.norm();
    for (std::size_t h = 0; h < products.dots.size(); ++h) result.dots[h][j] = products.dots[h];
  });
  return result;
}

using test::Matrix;

/// Factors of some updates on one module, and the stack of them.
struct Updates {
  std::vector<Matrix> b, a;
  FactorStack stack;

  Updates(std::mt19937_64& random, Eigen::Index out, Eigen::Index in, const std::vector<std::uint64_t>& ranks,
          double b_size = 0.1, double a_size = 1) {
    for (const auto rank : ranks) {
      const auto r = static_cast<Eigen::Index>(rank);
      b.emplace_back(test::gaussian(random, out, r, b_size).cast<float>().cast<double>());
      a.emplace_back(test::gaussian(random, r, in, a_size).cast<float>().cast<double>());
    }
    fill(out, in, ranks);
  }

  void fill(Eigen::Index out, Eigen::Index in, const std::vector<std::uint64_t>& ranks) {
    stack = make_factor_stack(static_cast<std::uint64_t>(out), static_cast<std::uint64_t>(in), ranks, 0, 0, "m");
    for (std::size_t j = 0; j < a.size(); ++j) {
      stack.a[j].assign(a[j].data(), a[j].data() + a[j].size());
      place_b(stack, j, std::vector<float>(b[j].data(), b[j].data() + b[j].size()));
      bring_into_range(stack, j);
    }
  }

  Matrix update(std::size_t j) const { return b[j] * a[j]; }
};

/// With the exponents that bring_into_range() noted, against dense matrices.
void expect_products(const Updates& probes, const Updates& adapters, int threads, double tolerance = 1e-12) {
  const auto found = cross_products(probes.stack, adapters.stack, threads);
  ASSERT_EQ(found.probe_norms.size(), probes.a.size());
  ASSERT_EQ(found.norms.size(), adapters.a.size());
  ASSERT_EQ(found.dots.size(), probes.a.size());
  std::vector<double> sizes;
  for (std::size_t j = 0; j < adapters.a.size(); ++j) {
    sizes.push_back(adapters.update(j).norm());
    EXPECT_NEAR(std::ldexp(found.norms[j], adapters.stack.exponents[j]), sizes[j], tolerance * sizes[j]);
  }
  for (std::size_t h = 0; h < probes.a.size(); ++h) {
    const double size = probes.update(h).norm();
    EXPECT_NEAR(std::ldexp(found.probe_norms[h], probes.stack.exponents[h]), size, tolerance * size);
    ASSERT_EQ(found.dots[h].size(), adapters.a.size());
    for (std::size_t j = 0; j < adapters.a.size(); ++j) {
      const double dot = std::ldexp(found.dots[h][j], probes.stack.exponents[h] + adapters.stack.exponents[j]);
      EXPECT_NEAR(dot, probes.update(h).cwiseProduct(adapters.update(j)).sum(), tolerance * size * sizes[j])
          << "probe " << h << ", adapter " << j;
    }
  }
}

std::string bytes_of(const CrossProducts& products) {
  base::ByteWriter out;
  for (const double norm : products.probe_norms) out.put(norm);
  for (const double norm : products.norms) out.put(norm);
  for (const auto& dots : products.dots) {
    for (const double dot : dots) out.put(dot);
  }
  return std::move(out).bytes();
}

/// ||U^T*X*V||, U and V the leading singular vectors of `probe`, 4 or fewer.
double dense_block(const Matrix& probe, const Matrix& update) {
  const Eigen::JacobiSVD<Eigen::MatrixXd> svd(probe, Eigen::ComputeThinU | Eigen::ComputeThinV);
  Eigen::Index kept = 0;
  while (kept < std::min<Eigen::Index>(4, svd.singularValues().size()) &&
         svd.singularValues()[kept] > 1e-6 * svd.singularValues()[0])
    ++kept;
  return (svd.matrixU().leftCols(kept).transpose() * update * svd.matrixV().leftCols(kept)).norm();
}

double block_of(const Updates& probes, const Updates& adapters, std::size_t h, std::size_t j) {
  const double found = ProbeFactors(probes.stack).with(adapters.stack, j).blocks.at(h);
  return std::ldexp(found, adapters.stack.exponents[j]);
}

TEST(LeadingBlock, EqualsThatOfDenseSingularVectors) {
  std::mt19937_64 random(11);
  for (const auto& [out, in] :
       std::vector<std::pair<Eigen::Index, Eigen::Index>>{{60, 90}, {5, 700}, {600, 3}, {1, 8}}) {
    const Updates probes(random, out, in, {1, 4, 16}), adapters(random, out, in, {8, 1, 3});
    for (std::size_t h = 0; h < 3; ++h) {
      for (std::size_t j = 0; j < 3; ++j) {
        EXPECT_NEAR(block_of(probes, adapters, h, j), dense_block(probes.update(h), adapters.update(j)),
                    1e-9 * adapters.update(j).norm())
            << out << " x " << in << ", probe " << h << ", adapter " << j;
      }
    }
  }
}

TEST(LeadingBlock, OfAProbeWithEqualColumnsOrOfOddSizesIsThatOfItsUpdate) {
  std::mt19937_64 random(12);
  Updates probes(random, 60, 90, {6, 6}), adapters(random, 60, 90, {8, 8}, 1e-20, 1e22);
  probes.b[0].col(5) = probes.b[0].col(0);  // of rank 5
  probes.b[1].col(1) *= 1e4;                // rows of A the other way: the same update as if both were balanced
  probes.a[1].row(1) *= 1e-4;
  probes.fill(60, 90, {6, 6});
  for (std::size_t h = 0; h < 2; ++h) {
    const double expected = dense_block(probes.update(h), adapters.update(0));
    EXPECT_NEAR(block_of(probes, adapters, h, 0), expected, 1e-6 * adapters.update(0).norm()) << h;
  }
  // Itself: almost all of it. Nothing: nothing.
  const Updates small(random, 60, 90, {3});
  EXPECT_NEAR(block_of(small, small, 0, 0), small.update(0).norm(), 1e-9 * small.update(0).norm());
  Updates zero(random, 60, 90, {3}, 0);
  EXPECT_EQ(block_of(zero, adapters, 0, 0), 0);
  EXPECT_EQ(block_of(probes, zero, 0, 0), 0);
}

TEST(CrossProducts, EqualDenseUpdatesForEveryRank) {
  std::mt19937_64 random(1);
  for (std::uint64_t rank = 1; rank <= 70; ++rank) {
    SCOPED_TRACE(rank);
    const Updates probes(random, 53, 37, {rank, 71 - rank, 8}), adapters(random, 53, 37, {71 - rank, rank});
    expect_products(probes, adapters, 2);
  }
}

TEST(CrossProducts, EqualDenseUpdatesForEveryShape) {
  std::mt19937_64 random(2);
  const std::vector<std::pair<Eigen::Index, Eigen::Index>> shapes{{1, 1},     {1, 40},     {40, 1},    {3, 2},
                                                                  {512, 513}, {511, 1025}, {1300, 700}};
  for (const auto& [out, in] : shapes) {
    SCOPED_TRACE(testing::Message() << out << " x " << in);
    const Updates probes(random, out, in, {4, 16, 1}), adapters(random, out, in, {8, 3, 33, 1, 2});
    expect_products(probes, adapters, 3);
  }
}

TEST(CrossProducts, ThreadsDoNotChangeABitNorDoOtherAdapters) {
  std::mt19937_64 random(3);
  const Updates probes(random, 1300, 900, {8, 33});
  for (const std::size_t count : {std::size_t{1}, std::size_t{2}, std::size_t{7}}) {
    const Updates adapters(random, 1300, 900, std::vector<std::uint64_t>(count, 5));
    const auto expected = cross_products(probes.stack, adapters.stack, 1);
    for (const int threads : {2, 3, 4, 5}) {  // more than there are adapters, and fewer
      EXPECT_TRUE(bytes_of(cross_products(probes.stack, adapters.stack, threads)) == bytes_of(expected))
          << count << " adapters, " << threads << " threads";
    }
    auto last = adapters;
    last.a = {adapters.a.back()};
    last.b = {adapters.b.back()};
    last.fill(1300, 900, {5});
    const auto alone = cross_products(probes.stack, last.stack, 2);
    EXPECT_EQ(alone.norms[0], expected.norms.back());
    EXPECT_EQ(alone.probe_norms, expected.probe_norms);
    for (std::size_t h = 0; h < 2; ++h) EXPECT_EQ(alone.dots[h][0], expected.dots[h].back());
  }
}

TEST(CrossProducts, OfAnUpdateWithItselfIsTheSquareOfItsNorm) {
  std::mt19937_64 random(4);
  const Updates updates(random, 90, 130, {6, 2});
  const auto found = cross_products(updates.stack, updates.stack, 2);
  for (std::size_t j = 0; j < 2; ++j) {
    EXPECT_NEAR(found.dots[j][j], found.norms[j] * found.norms[j], 1e-13 * found.dots[j][j]);
    EXPECT_NEAR(found.probe_norms[j], found.norms[j], 1e-14 * found.norms[j]);
  }
  EXPECT_NEAR(found.dots[0][1], found.dots[1][0], 1e-13 * found.norms[0] * found.norms[1]);
}

TEST(CrossProducts, HugeAndTinyFactorsKeepEveryDigit) {
  std::mt19937_64 random(5);
  for (const double b_size : {1e30, 1e-30, 1.0}) {
    for (const double a_size : {1e30, 1e-30}) {
      SCOPED_TRACE(testing::Message() << "B of " << b_size << ", A of " << a_size);
      const Updates huge(random, 60, 45, {3, 5}, b_size, a_size), plain(random, 60, 45, {4, 2});
      expect_products(huge, plain, 2);
      expect_products(plain, huge, 2);
      expect_products(huge, huge, 2);
    }
  }
}

TEST(CrossProducts, OfZeroFactorsAreZero) {
  std::mt19937_64 random(6);
  Updates probes(random, 30, 20, {2, 3}), adapters(random, 30, 20, {4, 1});
  probes.b[0].setZero();
  adapters.a[1].setZero();
  probes.fill(30, 20, {2, 3});
  adapters.fill(30, 20, {4, 1});
  const auto found = cross_products(probes.stack, adapters.stack, 1);
  EXPECT_EQ(found.probe_norms[0], 0);
  EXPECT_EQ(found.norms[1], 0);
  EXPECT_EQ(found.dots[0], (std::vector<double>{0, 0}));
  EXPECT_EQ(found.dots[1][1], 0);
  expect_products(probes, adapters, 2);
}

TEST(CrossProducts, OfNothingAreNone) {
  std::mt19937_64 random(7);
  const Updates some(random, 30, 20, {2}), none(random, 30, 20, {});
  EXPECT_TRUE(cross_products(none.stack, some.stack, 2).dots.empty());
  const auto found = cross_products(some.stack, none.stack, 2);
  ASSERT_EQ(found.dots.size(), 1U);
  EXPECT_TRUE(found.dots[0].empty());
  EXPECT_TRUE(found.norms.empty());
}

}  // namespace
}  // namespace winnow::compute
