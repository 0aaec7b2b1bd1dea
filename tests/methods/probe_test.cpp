// Numbers of probes against dense updates and directions.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <Eigen/Core>
#include <algorithm>
#include <cmath>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "svd.hpp"
#include "winnow/methods/table.hpp"

namespace winnow::methods {
namespace {

using Matrix = Eigen::MatrixXd;

constexpr std::size_t kAdapters = 3, kModules = 4;

const Method& method(std::string_view name) {
  return **std::find_if(all().begin(), all().end(), [&](const Method* one) { return one->name == name; });
}

/// Dense updates and directions; an empty matrix is none. What methods read is formed from them.
struct Dense {
  std::vector<std::vector<Matrix>> updates{kAdapters, std::vector<Matrix>(kModules)};  ///< [adapters][modules]
  struct Probe {
    double sign = 1;
    std::vector<Matrix> directions;  ///< [modules]
  };
  std::vector<Probe> probes;
  std::mt19937_64 random{1};

  Matrix gaussian(Eigen::Index m) {
    std::normal_distribution<double> normal;
    return Matrix::NullaryExpr(5 + m, 7 - m, [&] { return normal(random); });
  }
  explicit Dense(std::size_t probe_count) {
    for (auto& adapter : updates) {
      for (std::size_t m = 0; m < kModules; ++m) adapter[m] = gaussian(static_cast<Eigen::Index>(m));
    }
    for (std::size_t k = 0; k < probe_count; ++k) {
      probes.push_back({1, {}});
      const double size = std::pow(100.0, static_cast<double>(k));  // a probe's size says nothing
      for (std::size_t m = 0; m < kModules; ++m) {
        probes[k].directions.push_back(size * gaussian(static_cast<Eigen::Index>(m)));
      }
    }
  }

  double dot(std::size_t k, std::size_t n, std::size_t m) const {
    const auto &update = updates[n][m], &direction = probes[k].directions[m];
    return update.size() == 0 || direction.size() == 0 ? kUndefined : update.cwiseProduct(direction).sum();
  }
  /// ||U^T*dW*V||, U and V the 4 leading singular vectors of the direction.
  double block(std::size_t k, std::size_t n, std::size_t m) const {
    const auto &update = updates[n][m], &direction = probes[k].directions[m];
    if (update.size() == 0 || direction.size() == 0) return kUndefined;
    const Eigen::JacobiSVD<Eigen::MatrixXd> svd(direction, Eigen::ComputeThinU | Eigen::ComputeThinV);
    return (svd.matrixU().leftCols(4).transpose() * update * svd.matrixV().leftCols(4)).norm();
  }
  static double norm(const Matrix& matrix) { return matrix.size() == 0 ? kUndefined : matrix.norm(); }

  double cosine(std::size_t k, std::size_t n, std::size_t m) const {
    return probes[k].sign * dot(k, n, m) / updates[n][m].norm() / probes[k].directions[m].norm();
  }
  double size_of(std::size_t k) const {
    double squares = 0;
    for (const auto& direction : probes[k].directions) squares += direction.squaredNorm();
    return std::sqrt(squares);
  }
  /// Over the modules that both have: <dW, D>, ||dW||^2, ||D||^2.
  struct Whole {
    double dot = 0, update = 0, probe = 0;
  };
  Whole whole(std::size_t k, std::size_t n) const {
    Whole sums;
    for (std::size_t m = 0; m < kModules; ++m) {
      if (std::isnan(dot(k, n, m))) continue;
      sums.dot += probes[k].sign * dot(k, n, m);
      sums.update += updates[n][m].squaredNorm();
      sums.probe += probes[k].directions[m].squaredNorm();
    }
    return sums;
  }
  double whole_cosine(std::size_t k, std::size_t n) const {
    const auto sums = whole(k, n);
    return sums.dot / std::sqrt(sums.update * sums.probe);
  }
  /// D of length 1 over all modules that the probe has; an update over those in which D is not 0.
  double whole_pull(std::size_t k, std::size_t n) const {
    double squares = 0;
    for (std::size_t m = 0; m < kModules; ++m) {
      const auto& direction = probes[k].directions[m];
      if (direction.size() != 0 && !direction.isZero(0)) squares += updates[n][m].squaredNorm();
    }
    return whole(k, n).dot / std::pow(squares, 0.25) / size_of(k);
  }
  double whole_coefficient(std::size_t k, std::size_t n) const { return whole(k, n).dot / whole(k, n).probe; }
};

/// Every number of the method: of cells by name, of adapters by "adapter " and name.
std::map<std::string, std::vector<double>> numbers_of(const Dense& dense) {
  Zoo zoo;
  zoo.layout = {kAdapters, kModules, std::vector<std::string>(kModules, "q")};
  zoo.elements.assign(kModules, 35);
  std::vector<double> norms;
  for (const auto& adapter : dense.updates) {
    for (const auto& update : adapter) norms.push_back(Dense::norm(update));
  }
  for (std::size_t k = 0; k < dense.probes.size(); ++k) {
    ProbeProducts products{dense.probes[k].sign, {}, {}, {}};
    for (const auto& direction : dense.probes[k].directions) products.norms.push_back(Dense::norm(direction));
    for (std::size_t n = 0; n < kAdapters; ++n) {
      for (std::size_t m = 0; m < kModules; ++m) {
        products.dots.push_back(dense.dot(k, n, m));
        products.blocks.push_back(dense.block(k, n, m));
      }
    }
    zoo.probes.push_back(std::move(products));
  }
  zoo.dataset = [&](std::string_view name) -> const std::vector<double>& {
    EXPECT_EQ(name, "update_norm");
    return norms;
  };
  const auto& probe = method("probe");
  std::map<std::string, std::vector<double>> numbers;
  std::vector<std::vector<double>> cells(probe.columns.size(), std::vector<double>(zoo.cells(), kUndefined));
  probe.over_zoo(zoo, cells);
  for (std::size_t c = 0; c < cells.size(); ++c) numbers[std::string(probe.columns[c].name)] = cells[c];
  std::vector<std::vector<double>> adapters(probe.adapter_columns.size(), std::vector<double>(kAdapters, kUndefined));
  probe.of_adapters(zoo, adapters);
  for (std::size_t c = 0; c < adapters.size(); ++c) {
    numbers["adapter " + std::string(probe.adapter_columns[c].name)] = adapters[c];
  }
  return numbers;
}

TEST(Probe, EqualsDenseFormulas) {
  Dense dense(1);
  for (const double sign : {1.0, -1.0}) {
    dense.probes[0].sign = sign;
    auto found = numbers_of(dense);
    for (std::size_t n = 0; n < kAdapters; ++n) {
      for (std::size_t m = 0; m < kModules; ++m) {
        const auto cell = n * kModules + m;
        const double dot = sign * dense.dot(0, n, m), size = dense.probes[0].directions[m].norm();
        EXPECT_NEAR(found["probe_dot"][cell], dot / dense.size_of(0), 1e-12);
        EXPECT_NEAR(found["probe_cosine"][cell], dot / size / dense.updates[n][m].norm(), 1e-12);
        EXPECT_EQ(found["probe_cosine_max"][cell], found["probe_cosine"][cell]);
        EXPECT_NEAR(found["probe_coefficient"][cell], dot / size / size, 1e-12);
        EXPECT_NEAR(found["probe_share"][cell], sign * dense.block(0, n, m) / dense.updates[n][m].norm(), 1e-12);
      }
      EXPECT_NEAR(found["adapter probe_pull"][n], dense.whole_pull(0, n), 1e-12);
      EXPECT_NEAR(found["adapter probe_cosine"][n], dense.whole_cosine(0, n), 1e-12);
      EXPECT_EQ(found["adapter probe_cosine_max"][n], found["adapter probe_cosine"][n]);
      EXPECT_NEAR(found["adapter probe_coefficient"][n], dense.whole_coefficient(0, n), 1e-12);
      double inside = 0;
      for (std::size_t m = 0; m < kModules; ++m) inside += std::pow(dense.block(0, n, m), 2);
      EXPECT_NEAR(found["adapter probe_share"][n], sign * std::sqrt(inside / dense.whole(0, n).update), 1e-12);
    }
  }
}

TEST(Probe, DotsOfModulesAddUpToTheCosineOfTheAdapter) {
  const Dense dense(1);
  auto found = numbers_of(dense);
  for (std::size_t n = 0; n < kAdapters; ++n) {
    double sum = 0, squares = 0;
    for (std::size_t m = 0; m < kModules; ++m) {
      sum += found["probe_dot"][n * kModules + m];
      squares += dense.updates[n][m].squaredNorm();
    }
    EXPECT_NEAR(sum / std::sqrt(squares), found["adapter probe_cosine"][n], 1e-12);
  }
}

TEST(Probe, AnUpdateAlongAHarmfulProbeIsWorstAndAlongASafeOneBest) {
  Dense dense(2);
  dense.probes[1].sign = -1;
  dense.updates[0] = dense.probes[0].directions;
  dense.updates[1] = dense.probes[1].directions;
  for (auto& update : dense.updates[1]) update *= 3;
  auto one = dense;
  one.probes = {dense.probes[0]};
  EXPECT_NEAR(numbers_of(one)["adapter probe_cosine"][0], 1, 1e-12);
  EXPECT_NEAR(numbers_of(one)["adapter probe_coefficient"][0], 1, 1e-12);
  one.probes = {dense.probes[1]};
  EXPECT_NEAR(numbers_of(one)["adapter probe_cosine"][1], -1, 1e-12);
  EXPECT_NEAR(numbers_of(one)["adapter probe_coefficient"][1], -3, 1e-12);
  EXPECT_NEAR(numbers_of(one)["probe_cosine"][kModules + 2], -1, 1e-12);
}

TEST(Probe, SeveralAreMeanAndMaximumWhateverTheirSizes) {
  Dense dense(3);
  dense.probes[2].sign = -1;
  auto found = numbers_of(dense);
  for (std::size_t n = 0; n < kAdapters; ++n) {
    for (std::size_t m = 0; m < kModules; ++m) {
      const auto cell = n * kModules + m;
      double sum = 0, largest = -2, dots = 0;
      for (std::size_t k = 0; k < 3; ++k) {
        sum += dense.cosine(k, n, m);
        largest = std::max(largest, dense.cosine(k, n, m));
        dots += dense.probes[k].sign * dense.dot(k, n, m) / dense.size_of(k);
      }
      EXPECT_NEAR(found["probe_cosine"][cell], sum / 3, 1e-12);
      EXPECT_NEAR(found["probe_cosine_max"][cell], largest, 1e-12);
      EXPECT_NEAR(found["probe_dot"][cell], dots / 3, 1e-12);
    }
    std::vector<double> cosines, coefficients;
    double pulls = 0;
    for (std::size_t k = 0; k < 3; ++k) {
      pulls += dense.whole_pull(k, n);
      cosines.push_back(dense.whole_cosine(k, n));
      coefficients.push_back(dense.whole_coefficient(k, n));
    }
    EXPECT_NEAR(found["adapter probe_pull"][n], pulls / 3, 1e-12);
    EXPECT_NEAR(found["adapter probe_cosine"][n], (cosines[0] + cosines[1] + cosines[2]) / 3, 1e-12);
    EXPECT_NEAR(found["adapter probe_cosine_max"][n], *std::max_element(cosines.begin(), cosines.end()), 1e-12);
    EXPECT_NEAR(found["adapter probe_coefficient"][n], (coefficients[0] + coefficients[1] + coefficients[2]) / 3,
                1e-12);
  }
}

TEST(Probe, OnlyModulesThatProbeAndAdapterShareCount) {
  Dense dense(2);
  dense.probes[0].directions[1].resize(0, 0);  // the other probe has it
  for (auto& probe : dense.probes) probe.directions[3].resize(0, 0);
  dense.updates[0][0].resize(0, 0);
  dense.updates[1].assign(kModules, Matrix());
  dense.updates[1][3] = dense.updates[0][3];  // shared with no probe
  auto found = numbers_of(dense);
  for (const char* name : {"probe_dot", "probe_cosine", "probe_cosine_max", "probe_coefficient"}) {
    EXPECT_TRUE(std::isnan(found[name][0])) << name << ": the adapter has nothing there";
    EXPECT_TRUE(std::isnan(found[name][3])) << name << ": no probe has anything there";
    EXPECT_TRUE(std::isnan(found[name][kModules + 3])) << name;
    EXPECT_FALSE(std::isnan(found[name][1])) << name;
  }
  EXPECT_NEAR(found["probe_cosine"][1], dense.cosine(1, 0, 1), 1e-12) << "of the probe that has it";
  EXPECT_NEAR(found["probe_cosine"][2], (dense.cosine(0, 0, 2) + dense.cosine(1, 0, 2)) / 2, 1e-12);
  for (const std::size_t n : {std::size_t{0}, std::size_t{2}}) {
    EXPECT_NEAR(found["adapter probe_cosine"][n], (dense.whole_cosine(0, n) + dense.whole_cosine(1, n)) / 2, 1e-12);
    EXPECT_NEAR(found["adapter probe_pull"][n], (dense.whole_pull(0, n) + dense.whole_pull(1, n)) / 2, 1e-12);
  }
  for (const char* name :
       {"adapter probe_pull", "adapter probe_cosine", "adapter probe_cosine_max", "adapter probe_coefficient"}) {
    EXPECT_TRUE(std::isnan(found[name][1])) << name << ": never silently zero";
  }
}

TEST(Probe, NothingRunsAlongNothing) {
  Dense dense(2);
  for (auto& direction : dense.probes[0].directions) direction.setZero();
  for (auto& update : dense.updates[0]) update.setZero();
  dense.updates[1][2].setZero();
  auto found = numbers_of(dense);
  for (const char* name : {"probe_dot", "probe_cosine", "probe_cosine_max", "probe_coefficient"}) {
    for (std::size_t m = 0; m < kModules; ++m) EXPECT_EQ(found[name][m], 0) << name;
    EXPECT_EQ(found[name][kModules + 2], 0) << name;
    for (const double value : found[name]) EXPECT_TRUE(std::isfinite(value)) << name;
  }
  EXPECT_NEAR(found["probe_cosine"][2 * kModules], dense.cosine(1, 2, 0) / 2, 1e-12) << "a probe of zeros counts as 0";
  for (const char* name : {"adapter probe_pull", "adapter probe_cosine"}) EXPECT_EQ(found[name][0], 0) << name;
  EXPECT_NEAR(found["adapter probe_pull"][1], dense.whole_pull(1, 1) / 2, 1e-12);
  EXPECT_NEAR(found["adapter probe_cosine"][1], dense.whole_cosine(1, 1) / 2, 1e-12);
}

/// What anybody can do to an adapter that leaves what it does as it is: random factors beside it, LoRA with B near 0 in
/// all other modules. What runs across the probe shortens a cosine by its length, a pull by the root of that.
TEST(Probe, APullIsHeldWhereACosineIsNot) {
  Dense dense(1);
  const auto numbers = [&](const char* name) { return numbers_of(dense)[std::string("adapter ") + name]; };
  const auto norm_of = [](const std::vector<Matrix>& matrices) {
    double squares = 0;
    for (const auto& matrix : matrices) squares += matrix.squaredNorm();
    return std::sqrt(squares);
  };
  auto &own = dense.updates[0], &noisy = dense.updates[1], &longer = dense.updates[2];
  std::vector<Matrix> across;
  for (std::size_t m = 0; m < kModules; ++m) {
    const auto& direction = dense.probes[0].directions[m];
    across.push_back(3 * dense.gaussian(static_cast<Eigen::Index>(m)));
    across[m] -= across[m].cwiseProduct(direction).sum() / direction.squaredNorm() * direction;
    noisy[m] = own[m] + across[m];
    longer[m] = 16 * own[m];
  }
  const double lengthened = norm_of(noisy) / norm_of(own);
  ASSERT_GT(lengthened, 2);
  auto cosines = numbers("probe_cosine"), pulls = numbers("probe_pull");
  EXPECT_NEAR(cosines[1], cosines[0] / lengthened, 1e-12);
  EXPECT_NEAR(pulls[1], pulls[0] / std::sqrt(lengthened), 1e-12);
  EXPECT_NEAR(cosines[2], cosines[0], 1e-12);
  EXPECT_NEAR(pulls[2], 4 * pulls[0], 1e-12) << "its price: what is long has a larger one";

  auto& thin = dense.updates[1];
  for (std::size_t m = 1; m < kModules; ++m) own[m].resize(0, 0), thin[m] = 1e-14 * across[m];
  thin[0] = own[0];
  cosines = numbers("probe_cosine"), pulls = numbers("probe_pull");
  EXPECT_NEAR(cosines[1], cosines[0] * dense.probes[0].directions[0].norm() / dense.size_of(0), 1e-12);
  EXPECT_NEAR(pulls[1], pulls[0], 1e-12);
}

TEST(Probe, CosinesNeverLeaveTheirRange) {
  Dense dense(1);
  for (int round = 0; round < 200; ++round) {
    dense = Dense(1);
    dense.random.seed(static_cast<unsigned>(round));
    for (std::size_t m = 0; m < kModules; ++m) {
      dense.updates[0][m] = dense.gaussian(static_cast<Eigen::Index>(m));
      dense.probes[0].directions[m] = 1e-3 * dense.updates[0][m];
    }
    auto found = numbers_of(dense);
    EXPECT_LE(found["adapter probe_cosine"][0], 1);
    for (std::size_t m = 0; m < kModules; ++m) EXPECT_LE(found["probe_cosine"][m], 1);
  }
}

// ||dW|| whose square a double does not hold, as LayerValues.OfHugeAndTinyScalesAreThoseOfOrdinaryOnes has it.
TEST(Probe, HugeAndTinyUpdatesHaveTheCosineOfOrdinaryOnes) {
  const Dense ordinary(1);
  const double expected = numbers_of(ordinary)["adapter probe_cosine"][0];
  const double pull = numbers_of(ordinary)["adapter probe_pull"][0];
  for (const double scale : {std::ldexp(1.0, 700), std::ldexp(1.0, -700)}) {
    Zoo zoo;
    zoo.layout = {kAdapters, kModules, std::vector<std::string>(kModules, "q")};
    zoo.elements.assign(kModules, 35);
    std::vector<double> norms;
    ProbeProducts products;
    for (std::size_t n = 0; n < kAdapters; ++n) {
      for (std::size_t m = 0; m < kModules; ++m) {
        norms.push_back(scale * ordinary.updates[n][m].norm());
        products.dots.push_back(scale * ordinary.dot(0, n, m));
      }
    }
    for (const auto& direction : ordinary.probes[0].directions) products.norms.push_back(direction.norm());
    zoo.probes.push_back(products);
    zoo.dataset = [&](std::string_view) -> const std::vector<double>& { return norms; };
    const auto& columns = method("probe").adapter_columns;
    std::vector<std::vector<double>> adapters(columns.size(), std::vector<double>(kAdapters, kUndefined));
    method("probe").of_adapters(zoo, adapters);
    std::map<std::string_view, double> numbers;
    for (std::size_t c = 0; c < columns.size(); ++c) numbers[columns[c].name] = adapters[c][0];
    EXPECT_NEAR(numbers["probe_cosine"], expected, 1e-12) << scale;
    EXPECT_NEAR(numbers["probe_pull"] / std::sqrt(scale), pull, 1e-12) << scale;
    EXPECT_EQ(numbers["probe_cosine_max"], numbers["probe_cosine"]) << scale;
  }
}

TEST(AlignmentOfAdapters, IsTheShareAndTheCosineOverAllModules) {
  const Dense dense(1);  // its direction stands for V
  Zoo zoo;
  zoo.layout = {kAdapters, kModules, std::vector<std::string>(kModules, "q")};
  zoo.elements.assign(kModules, 35);
  for (const auto& v : dense.probes[0].directions) zoo.alignment_norms.push_back(v.norm());
  std::map<std::string, std::vector<double>, std::less<>> datasets;
  for (std::size_t n = 0; n < kAdapters; ++n) {
    for (std::size_t m = 0; m < kModules; ++m) {
      const bool absent = n == 1 && m > 0;
      datasets["update_norm"].push_back(absent ? kUndefined : dense.updates[n][m].norm());
      datasets["alignment_cosine"].push_back(absent ? kUndefined : dense.cosine(0, n, m));
    }
  }
  datasets["update_norm"][2 * kModules] = datasets["alignment_cosine"][2 * kModules] = kUndefined;
  for (std::size_t m = 0; m < kModules; ++m) {  // nothing is known of the last
    datasets["alignment_cosine"][2 * kModules + m] = kUndefined;
  }
  zoo.dataset = [&](std::string_view name) -> const std::vector<double>& { return datasets.find(name)->second; };
  std::vector<std::vector<double>> found(3, std::vector<double>(kAdapters, kUndefined));
  method("alignment").of_adapters(zoo, found);
  const auto sums = dense.whole(0, 0);
  EXPECT_NEAR(found[0][0], -sums.dot / sums.probe, 1e-12);
  EXPECT_NEAR(found[1][0], -sums.dot / std::sqrt(sums.probe * sums.update), 1e-12);
  EXPECT_NEAR(found[1][1], -dense.cosine(0, 1, 0), 1e-12);
  EXPECT_NEAR(found[2][0], -sums.dot / std::sqrt(sums.update), 1e-12);
  EXPECT_NEAR(found[2][1], -dense.dot(0, 1, 0) / dense.updates[1][0].norm(), 1e-12);
  for (const auto& column : found) EXPECT_TRUE(std::isnan(column[2]));
}

/// What a bank compares: of an update across V by chance one on a single module has a large cosine, and no long length.
TEST(AlignmentOfAdapters, ChanceGivesFewModulesNoLongerLength) {
  double cosines[2] = {0, 0}, lengths[2] = {0, 0};  // squares: on all modules, on one
  constexpr std::size_t kDraws = 400, kMany = 16;
  std::mt19937_64 random{7};
  std::normal_distribution<double> normal;
  constexpr double kEntries = 35;
  for (std::size_t draw = 0; draw < kDraws; ++draw) {
    Zoo zoo;
    zoo.layout = {2, kMany, std::vector<std::string>(kMany, "q")};
    zoo.alignment_norms.assign(kMany, 3);
    std::map<std::string, std::vector<double>, std::less<>> datasets;
    for (std::size_t n = 0; n < 2; ++n) {
      for (std::size_t m = 0; m < kMany; ++m) {
        const bool absent = n == 1 && m != draw % kMany;
        datasets["update_norm"].push_back(absent ? kUndefined : 2);
        datasets["alignment_cosine"].push_back(absent ? kUndefined : normal(random) / std::sqrt(kEntries));
      }
    }
    zoo.dataset = [&](std::string_view name) -> const std::vector<double>& { return datasets.find(name)->second; };
    std::vector<std::vector<double>> found(3, std::vector<double>(2, kUndefined));
    method("alignment").of_adapters(zoo, found);
    for (std::size_t n = 0; n < 2; ++n) cosines[n] += std::pow(found[1][n], 2), lengths[n] += std::pow(found[2][n], 2);
  }
  EXPECT_NEAR(std::sqrt(cosines[1] / cosines[0]), 4, 0.6) << "the root of how many modules there are";
  EXPECT_NEAR(std::sqrt(lengths[1] / lengths[0]), 1, 0.15);
}

}  // namespace
}  // namespace winnow::methods
