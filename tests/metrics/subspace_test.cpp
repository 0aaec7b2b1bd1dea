#include "winnow/metrics/subspace.hpp"

#include <gtest/gtest.h>

#include <Eigen/Eigenvalues>
#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "metrics/dense.hpp"
#include "winnow/base/error.hpp"
#include "winnow/compute/factor_stack.hpp"

namespace winnow::metrics {
namespace {

using test::gaussian;
using test::low_rank_plus_noise;
using test::Matrix;
using test::orthonormal;
using test::row_major;

/// The sketch of V, its factors rounded to float32 as the alignment pass stores them.
struct Sketch {
  Matrix z, image;
  SafetySubspace subspace;

  static Matrix rounded(const Matrix& matrix) { return matrix.cast<float>().cast<double>(); }
  Sketch(const Matrix& v, const Matrix& omega, std::uint64_t k, bool whole = false)
      : z(rounded(v.transpose() * omega)),
        image(rounded(v * z)),
        subspace(row_major(z.transpose() * z), row_major(image.transpose() * image),
                 static_cast<std::uint64_t>(omega.cols()), k, whole) {}
};

double energy(const Sketch& sketch, const Matrix& a, const Matrix& b) {
  return sketch.subspace.energy(Side::output, row_major(sketch.image.transpose() * b), row_major(a * a.transpose()),
                                static_cast<std::uint64_t>(b.cols()), (b * a).norm());
}

/// Left singular vectors and singular values of V, falling, by way of V V^T: exact to 1e-8 for the leading ones, and
/// far cheaper to compile with sanitizers than Eigen's SVD.
struct ExactSvd {
  Matrix u;
  Eigen::VectorXd values;

  explicit ExactSvd(const Matrix& v) {
    const Eigen::SelfAdjointEigenSolver<Matrix> eigen(v * v.transpose());
    u = eigen.eigenvectors().rowwise().reverse();
    values = eigen.eigenvalues().reverse().cwiseMax(0).cwiseSqrt();
  }
};

double energy_error(const Sketch& sketch, const Matrix& a, const Matrix& b) {
  const auto mtb = row_major(sketch.image.transpose() * b), gram = row_major(a * a.transpose());
  const auto rank = static_cast<std::uint64_t>(b.cols());
  return sketch.subspace.error_of([&](const SafetySubspace& some, const SafetySubspace::ColumnRange& columns) {
    return some.energy(Side::output, columns.rows_of(mtb, rank), gram, rank, (b * a).norm());
  });
}

double median_of(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

double dense_energy(const Matrix& v, Eigen::Index k, const Matrix& a, const Matrix& b) {
  const Matrix inside = ExactSvd(v).u.leftCols(k).transpose() * b * a;
  return inside.norm() / (b * a).norm();
}

// The energy is what is scored, and it is close long before the last singular value is: that one leans on what little
// oversampling c = k + 2 gives, and may come out tens of percent low if the noise is a tenth of it.
TEST(SafetySubspace, FindsTheLeadingDirectionsOfLowRankPlusNoise) {
  std::mt19937_64 random(1);
  for (const double noise : {0.01, 0.001}) {  // of singular values from 2 to 1.2
    for (int round = 0; round < 20; ++round) {
      const Matrix v = low_rank_plus_noise(random, 64, 48, 6, noise);
      const Sketch sketch(v, gaussian(random, 64, 8), 6);
      ASSERT_EQ(sketch.subspace.directions(), 6U);
      const ExactSvd svd(v);
      const auto& found = sketch.subspace.singular_values();
      for (std::size_t j = 0; j < 6; ++j) {
        const double expected = svd.values[static_cast<Eigen::Index>(j)];
        EXPECT_LE(found[j], (1 + 1e-5) * expected);  // never more than there is
        EXPECT_GE(found[j], (noise < 0.005 ? 0.97 : 0.4) * expected);
      }
      EXPECT_TRUE(std::is_sorted(found.rbegin(), found.rend()));

      const Matrix a = gaussian(random, 4, 48), b = gaussian(random, 64, 4);
      EXPECT_NEAR(energy(sketch, a, b), dense_energy(v, 6, a, b), 0.03);
      // An update along V lies inside; one with V's leading directions taken out lies outside.
      EXPECT_GT(energy(sketch, a, v * gaussian(random, 48, 4)), 0.97);
      const Matrix u = svd.u.leftCols(6), outside = b - u * (u.transpose() * b);
      EXPECT_LT(energy(sketch, a, outside), 0.06);
    }
  }
}

/// 28 modules whose alignment step has six leading directions with three quarters of its energy, over noise, as `synth`
/// makes them, and 50 updates on each: some random, some along V, some inside its leading directions.
template <class Use>
void for_each_update(std::uint64_t columns, Use use) {
  std::mt19937_64 random(9);
  std::uniform_real_distribution<double> share(0.02, 0.5);
  for (int module = 0; module < 28; ++module) {
    const Eigen::Index out = 96 + 32 * (module % 4), in = 64 + 32 * (module % 3);
    Matrix v = std::sqrt(0.25 / static_cast<double>(out * in)) * gaussian(random, out, in);
    const Matrix left = orthonormal(random, out, 6), right = orthonormal(random, in, 6);
    for (Eigen::Index j = 0; j < 6; ++j) {
      v += 0.49 * std::pow(0.85, static_cast<double>(j)) * left.col(j) * right.col(j).transpose();
    }
    const Sketch sketch(v, gaussian(random, out, static_cast<Eigen::Index>(columns)), 6);
    const Matrix u = ExactSvd(v).u.leftCols(6);
    for (int adapter = 0; adapter < 50; ++adapter) {
      const Matrix a = gaussian(random, 8, in);
      Matrix b = gaussian(random, out, 8);
      if (adapter % 3 == 1) b = v * gaussian(random, in, 8) + 0.1 * share(random) * b;
      if (adapter % 3 == 2) b = u * gaussian(random, 6, 8) + share(random) * b;
      const Matrix update = b * a;
      use(sketch, a, b, (u.transpose() * update).norm() / update.norm());
    }
  }
}

TEST(SafetySubspace, OfAZooIsWithinThreeHundredthsOfTheSvd) {
  double worst = 0, worst_of_few = 0;
  const auto columns = compute::sketch_columns(6, 4096, 4096);
  for_each_update(columns, [&](const Sketch& sketch, const Matrix& a, const Matrix& b, double exact) {
    worst = std::max(worst, std::abs(energy(sketch, a, b) - exact));
  });
  for_each_update(6 + 2, [&](const Sketch& sketch, const Matrix& a, const Matrix& b, double exact) {
    worst_of_few = std::max(worst_of_few, std::abs(energy(sketch, a, b) - exact));
  });
  EXPECT_LE(worst, 0.03);
  EXPECT_GT(worst_of_few, 0.03);  // or the updates are too easy
}

TEST(SafetySubspace, TellsItsErrorFromItsHalves) {
  int covered = 0, all = 0;
  std::vector<double> told, off;
  for_each_update(24, [&](const Sketch& sketch, const Matrix& a, const Matrix& b, double exact) {
    told.push_back(energy_error(sketch, a, b));
    off.push_back(std::abs(energy(sketch, a, b) - exact));
    covered += off.back() <= told.back() ? 1 : 0;
    ++all;
  });
  EXPECT_GE(covered, all * 9 / 10);
  EXPECT_LT(median_of(told), 10 * median_of(off));  // and not by saying too much
  EXPECT_LT(*std::max_element(told.begin(), told.end()), 0.15);

  // A V without leading directions: the energy means little, and that shows.
  std::mt19937_64 random(10);
  const Matrix v = gaussian(random, 128, 96);
  const Sketch sketch(v, gaussian(random, 128, 24), 6);
  told.clear();
  for (int update = 0; update < 30; ++update) {
    const Matrix b = ExactSvd(v).u.leftCols(6) * gaussian(random, 6, 4);
    told.push_back(energy_error(sketch, gaussian(random, 4, 96), b));
  }
  EXPECT_GT(median_of(told), 0.05);
}

TEST(SafetySubspace, TellsNoErrorWithoutHalves) {
  std::mt19937_64 random(11);
  const Matrix v = low_rank_plus_noise(random, 40, 30, 6, 0.01), a = gaussian(random, 2, 30),
               b = gaussian(random, 40, 2);
  EXPECT_TRUE(std::isnan(energy_error(Sketch(v, gaussian(random, 40, 11), 6), a, b)));
  EXPECT_FALSE(std::isnan(energy_error(Sketch(v, gaussian(random, 40, 12), 6), a, b)));
  EXPECT_FALSE(std::isnan(energy_error(Sketch(v, gaussian(random, 40, 13), 6), a, b)));  // the last column is in none
  EXPECT_EQ(energy_error(Sketch(v, gaussian(random, 40, 16), 6), a, Matrix::Zero(40, 2)), 0);
  EXPECT_TRUE(std::isnan(energy_error(Sketch(Matrix::Zero(40, 30), gaussian(random, 40, 16), 6), a, b)));
}

/// A square random sketch spans all there is, and eps hides its smallest directions.
TEST(SafetySubspace, OfAllColumnsTellsWhatItsShiftHides) {
  std::mt19937_64 random(12);
  std::vector<double> off, told;
  std::size_t covered = 0;
  for (int round = 0; round < 20; ++round) {
    const Eigen::Index in = round % 2 == 0 ? 24 : 40;
    const Matrix v = gaussian(random, 48, in);
    const Sketch sketch(v, gaussian(random, 48, in), 12, true);
    const Matrix a = gaussian(random, 4, in), b = gaussian(random, 48, 4);
    off.push_back(std::abs(energy(sketch, a, b) - dense_energy(v, 12, a, b)));
    told.push_back(energy_error(sketch, a, b));
    covered += off.back() <= told.back() + 1e-6 ? 1U : 0U;
  }
  EXPECT_GE(covered, off.size() * 9 / 10);
  EXPECT_LT(median_of(told), 0.02);
  EXPECT_GT(*std::max_element(off.begin(), off.end()), 1e-6) << "or there is nothing to tell";
}

TEST(SafetySubspace, IsExactForExactRank) {
  std::mt19937_64 random(2);
  for (const Eigen::Index rank : {1, 2, 5}) {
    const Matrix v = low_rank_plus_noise(random, 40, 30, rank, 0);
    const Sketch sketch(v, gaussian(random, 40, 8), 6);
    const Eigen::VectorXd expected = ExactSvd(v).values;
    ASSERT_GE(sketch.subspace.directions(), static_cast<std::uint64_t>(rank));
    for (Eigen::Index j = 0; j < rank; ++j) {
      EXPECT_NEAR(sketch.subspace.singular_values()[static_cast<std::size_t>(j)], expected[j], 1e-4 * expected[j]);
    }
    const Matrix a = gaussian(random, 3, 30), b = gaussian(random, 40, 3);
    EXPECT_NEAR(energy(sketch, a, b), dense_energy(v, rank, a, b), 0.02) << rank;
  }
}

TEST(SafetySubspace, DropsDirectionsThatAreNotThere) {
  std::mt19937_64 random(3);
  const Matrix v = low_rank_plus_noise(random, 40, 30, 2, 0), omega = gaussian(random, 40, 8);
  const Matrix z = v.transpose() * omega, image = v * z;  // not rounded: the rank of the sums is 2 to 1e-15
  const SafetySubspace subspace(row_major(z.transpose() * z), row_major(image.transpose() * image), 8, 6);
  EXPECT_EQ(subspace.directions(), 2U);
  EXPECT_EQ(subspace.singular_values().size(), 2U);
}

TEST(SafetySubspace, TakesOneColumn) {
  std::mt19937_64 random(4);
  const Matrix v = low_rank_plus_noise(random, 10, 8, 1, 0);
  const Sketch sketch(v, gaussian(random, 10, 1), 6);  // k beyond c
  ASSERT_EQ(sketch.subspace.directions(), 1U);
  EXPECT_NEAR(sketch.subspace.singular_values()[0], v.norm(), 1e-4);
  const Matrix a = gaussian(random, 2, 8), b = gaussian(random, 10, 2);
  EXPECT_NEAR(energy(sketch, a, b), dense_energy(v, 1, a, b), 1e-4);
}

TEST(SafetySubspace, HoldsEverythingWhereItIsTheWholeSpace) {
  std::mt19937_64 random(5);
  const Matrix v = gaussian(random, 5, 9);
  const Sketch sketch(v, gaussian(random, 5, 5), 5);
  EXPECT_EQ(sketch.subspace.directions(), 5U);
  EXPECT_NEAR(energy(sketch, gaussian(random, 3, 9), gaussian(random, 5, 3)), 1, 1e-3);
}

TEST(SafetySubspace, DoesNotDependOnTheScaleOfV) {
  std::mt19937_64 random(6);
  const Matrix v = low_rank_plus_noise(random, 32, 24, 6, 0.05), omega = gaussian(random, 32, 8);
  const Matrix a = gaussian(random, 2, 24), b = gaussian(random, 32, 2);
  const Sketch one(v, omega, 6);
  for (const double factor : {1e-4, 1e4}) {
    const Sketch other(factor * v, omega, 6);
    EXPECT_NEAR(energy(other, a, b), energy(one, a, b), 1e-5);
    EXPECT_NEAR(other.subspace.singular_values()[0], factor * one.subspace.singular_values()[0],
                1e-5 * factor * one.subspace.singular_values()[0]);
  }
}

TEST(SafetySubspace, RaisesTheShiftWhereRoundingMadeTheSumsIndefinite) {
  std::mt19937_64 random(7);
  const Matrix v = low_rank_plus_noise(random, 40, 30, 2, 0), omega = gaussian(random, 40, 8);
  const Matrix z = v.transpose() * omega, image = v * z;
  Matrix k = z.transpose() * z;
  const Matrix noise = 1e-6 * k.trace() * gaussian(random, 8, 8);
  k += noise + noise.transpose();
  ASSERT_LT(Eigen::SelfAdjointEigenSolver<Matrix>(k).eigenvalues()[0], -1e-6 * k.trace() / 8);
  const SafetySubspace subspace(row_major(k), row_major(image.transpose() * image), 8, 2);
  ASSERT_EQ(subspace.directions(), 2U);
  const Matrix a = gaussian(random, 2, 30), b = gaussian(random, 40, 2);
  const double found =
      subspace.energy(Side::output, row_major(image.transpose() * b), row_major(a * a.transpose()), 2, (b * a).norm());
  EXPECT_NEAR(found, dense_energy(v, 2, a, b), 0.02);
}

TEST(SafetySubspace, IsEmptyWhereThereIsNothingToFind) {
  const double nan = std::nan(""), infinity = std::numeric_limits<double>::infinity();
  const std::vector<double> zero(4, 0), gram{1}, one(2, 1);
  for (const auto& bad : std::vector<std::vector<double>>{zero, {nan, 0, 0, 1}, {infinity, 0, 0, 1}}) {
    const SafetySubspace subspace(bad, bad, 2, 1);
    EXPECT_EQ(subspace.directions(), 0U);
    EXPECT_TRUE(subspace.singular_values().empty());
    EXPECT_TRUE(std::isnan(subspace.energy(Side::output, one, gram, 1, 1)));
    EXPECT_TRUE(std::isnan(subspace.energy(Side::output, one, gram, 1, 0)));
  }
  EXPECT_EQ(SafetySubspace({}, {}, 0, 0).directions(), 0U);
  EXPECT_EQ(SafetySubspace(std::vector<double>{1}, std::vector<double>{1}, 1, 0).directions(), 0U);
}

TEST(SafetySubspace, EnergyOfNoUpdateIsZeroAndOfNaNIsNaN) {
  const SafetySubspace subspace(std::vector<double>{1}, std::vector<double>{1}, 1, 1);
  const std::vector<double> one{1}, nan{std::nan("")};
  ASSERT_EQ(subspace.directions(), 1U);
  EXPECT_NEAR(subspace.energy(Side::output, one, one, 1, 1), 1, 1e-6);
  EXPECT_EQ(subspace.energy(Side::output, one, one, 1, 0.5), 1);  // rounding never leaves the range
  EXPECT_EQ(subspace.energy(Side::output, std::vector<double>{0}, one, 1, 0), 0);
  EXPECT_TRUE(std::isnan(subspace.energy(Side::output, nan, one, 1, 1)));
}

TEST(SafetySubspace, RefusesSizesThatDoNotFit) {
  const std::vector<double> four(4, 1), three(3, 1);
  EXPECT_THROW(SafetySubspace(three, four, 2, 1), base::Error);
  EXPECT_THROW(SafetySubspace(four, three, 2, 1), base::Error);
  const SafetySubspace subspace(std::vector<double>{1}, std::vector<double>{1}, 1, 1);
  EXPECT_THROW(subspace.energy(Side::output, three, std::vector<double>{1}, 1, 1), base::Error);
}

}  // namespace
}  // namespace winnow::metrics
