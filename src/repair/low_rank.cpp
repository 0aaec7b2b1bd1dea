#include "winnow/repair/low_rank.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>

#include "leading_parts.hpp"
#include "matrices.hpp"
#include "rounding.hpp"
#include "winnow/base/parallel.hpp"

namespace winnow::repair {
namespace {

/// Directions that are looked for at once, until fewer than all of them stand out.
constexpr std::array<std::uint64_t, 3> kSteps{16, 64, 256};
constexpr std::uint64_t kOversampling = 16;
constexpr IterationLimits kLimits{.iterations = 30, .converged = 1e-10};
/// Whether anything stands out takes no more than a rough look.
constexpr std::uint64_t kTestColumns = 8;
constexpr IterationLimits kTestLimits{.iterations = 12, .converged = 1e-3};
/// Of the energy of rounding, what merging the right update again may leave: an entry in three by one unit. An update
/// of full rank looks like noise as well, and is larger.
constexpr double kMostLeft = 4;
/// Of ||D||, squared: what is computed here is no better than that.
constexpr double kComputed = 1e-12;
/// If a refinement leaves more than this of what there was, another one gains nothing.
constexpr int kRefinements = 4;
constexpr double kWorthwhile = 0.95;
constexpr IterationLimits kRefinementLimits{.iterations = 3, .converged = 1e-10};

class Extraction {
 public:
  Extraction(const StoredWeights& weights, const RankRule& rule, int threads, const WeightNames& names)
      : weights_(weights),
        rule_(rule),
        threads_(threads),
        names_(names),
        difference_(weights, threads, names),
        smaller_(std::min(weights.out_features, weights.in_features)) {}

  LowRank run() {
    LowRank result;
    result.norm = difference_.norm();
    result.update.out_features = weights_.out_features;
    result.update.in_features = weights_.in_features;
    if (result.norm == 0) return result;
    const auto rounding = rounding_of(weights_.stored, threads_);
    result.rounding = std::sqrt(rounding.total);
    most_left_ = kMostLeft * rounding.total + kComputed * result.norm * result.norm;
    const auto rank = rule_.rank ? fixed_rank(*rule_.rank) : found_rank(rounding.edge());
    result.is_low_rank = rank.has_value();
    const auto count = rank.value_or(static_cast<Eigen::Index>(std::min(rule_.largest, smaller_)));
    set_update(result, count);
    return result;
  }

 private:
  void look_for(std::uint64_t k) {
    const auto columns = std::min(k + kOversampling, smaller_);
    const auto to_inputs = [&](const Eigen::MatrixXd& b) {
      return Matrix(view(difference_.times_outputs(row_major(b), columns), weights_.in_features, columns));
    };
    const auto to_outputs = [&](const Matrix& y) {
      return Matrix(
          view(difference_.times_inputs(row_major(y / difference_.norm()), columns), weights_.out_features, columns));
    };
    parts_ =
        leading_parts(random_start(weights_.out_features, columns, names_.tensor), to_inputs, to_outputs, k, kLimits);
  }

  Eigen::Index fixed_rank(std::uint64_t rank) {
    look_for(std::min(rank, smaller_));
    return parts_.above(kRounding);
  }

  /// Nothing if there are more directions than may be.
  std::optional<Eigen::Index> found_rank(double edge) {
    const auto largest = std::min(rule_.largest, smaller_);
    for (std::uint64_t k = 0; k < largest;) {
      const auto next = std::find_if(kSteps.begin(), kSteps.end(), [&](auto step) { return step > k; });
      k = std::min(next == kSteps.end() ? largest : *next, largest);
      look_for(k);
      Eigen::Index above = 0;
      while (above < parts_.values.size() && parts_.values[above] > edge) ++above;
      if (static_cast<std::uint64_t>(above) == k && k < largest) continue;  // there are more
      if (const auto rank = smallest_that_suffices(above)) return rank;
    }
    return std::nullopt;
  }

  /// Among the directions looked for; `above` is a guess.
  std::optional<Eigen::Index> smallest_that_suffices(Eigen::Index above) const {
    if (suffices(above)) {
      if (above == 0 || !suffices(above - 1)) return above;
      Eigen::Index rank = 1;  // rounding has directions of its own, so the update has few
      while (rank < above - 1 && !suffices(rank)) ++rank;
      return rank;
    }
    auto failed = above;
    for (Eigen::Index step = 1; failed < parts_.values.size(); step *= 2) {
      auto enough = std::min(failed + step, parts_.values.size());
      if (!suffices(enough)) {
        failed = enough;
        continue;
      }
      while (enough - failed > 1) {
        const auto middle = failed + (enough - failed) / 2;
        (suffices(middle) ? enough : failed) = middle;
      }
      return enough;
    }
    return std::nullopt;
  }

  /// Whether nothing stands out of what merging the `rank` leading directions leaves, once these are as good as they
  /// get.
  bool suffices(Eigen::Index rank) const {
    if (static_cast<std::uint64_t>(rank) == smaller_) return true;
    auto parts = leading(rank);
    auto last = std::numeric_limits<double>::infinity();
    for (int round = 0;; ++round) {
      const auto again = merged_again(parts);
      const auto left = left_by(again);
      const WeightProducts products(left, threads_, names_);
      if (products.norm() == 0) return true;
      if (is_too_large(products)) return false;
      const double standing_out = largest_outside(parts, products) / edge_of(left);
      if (standing_out <= 1) return true;
      if (rank == 0 || round == kRefinements || standing_out > kWorthwhile * last) return false;
      last = standing_out;
      parts = refined(parts, products);
    }
  }

  /// The directions that explain D, refined until what merging them leaves shrinks no more.
  LeadingParts found(Eigen::Index rank) const {
    auto parts = leading(rank);
    auto last = std::numeric_limits<double>::infinity();
    for (int round = 0; rank > 0 && round < kRefinements; ++round) {
      const auto again = merged_again(parts);
      const WeightProducts products(left_by(again), threads_, names_);
      if (products.norm() == 0 || is_too_large(products) || products.norm() > kWorthwhile * last) break;
      last = products.norm();
      parts = refined(parts, products);
    }
    return parts;
  }

  LeadingParts leading(Eigen::Index rank) const {
    return {parts_.left.leftCols(rank), parts_.right.leftCols(rank), parts_.values.head(rank)};
  }

  /// L = W_merged - what is stored in `again`, which must outlive it.
  StoredWeights left_by(const std::vector<std::byte>& again) const {
    auto left = weights_;
    left.stored.base = again.data();
    left.stored.base_dtype = left.stored.aligned_dtype;
    return left;
  }

  bool is_too_large(const WeightProducts& left) const { return left.norm() * left.norm() > most_left_; }

  double edge_of(const StoredWeights& left) const {
    const auto square = [](double w, double merged) { return (merged - w) * (merged - w); };
    return profile(left.stored, threads_, square).edge();
  }

  /// The largest singular value of L off the directions of `parts`.
  double largest_outside(const LeadingParts& parts, const WeightProducts& left) const {
    const auto columns = std::min(kTestColumns, smaller_);
    const auto &u = parts.left, &v = parts.right;
    const auto to_inputs = [&](const Eigen::MatrixXd& b) {
      const Matrix outside = b - u * (u.transpose() * b);
      const Matrix y = view(left.times_outputs(row_major(outside), columns), weights_.in_features, columns);
      return Matrix(y - v * (v.transpose() * y));
    };
    const auto to_outputs = [&](const Matrix& y) {
      const Matrix x = view(left.times_inputs(row_major(y / left.norm()), columns), weights_.out_features, columns);
      return Matrix(x - u * (u.transpose() * x));
    };
    return leading_parts(random_start(weights_.out_features, columns, names_.tensor), to_inputs, to_outputs, 1,
                         kTestLimits)
        .values[0];
  }

  /// The leading directions of X + L, X those of `parts`: L says on which side of a rounding boundary X was wrong.
  LeadingParts refined(const LeadingParts& parts, const WeightProducts& left) const {
    const auto columns = static_cast<std::uint64_t>(parts.values.size());
    const Eigen::MatrixXd u = parts.left * parts.values.asDiagonal();
    const auto& v = parts.right;
    const auto to_inputs = [&](const Eigen::MatrixXd& b) {
      const Matrix y = view(left.times_outputs(row_major(b), columns), weights_.in_features, columns);
      return Matrix(y + v * (u.transpose() * b));
    };
    const auto to_outputs = [&](const Matrix& y) {
      const Matrix turned = y / difference_.norm();
      const Matrix x = view(left.times_inputs(row_major(turned), columns), weights_.out_features, columns);
      return Matrix(x + u * (v.transpose() * turned));
    };
    return leading_parts(parts.left, to_inputs, to_outputs, columns, kRefinementLimits);
  }

  /// round(W + U*S*V^T), as W_merged is stored.
  std::vector<std::byte> merged_again(const LeadingParts& parts) const {
    const auto& stored = weights_.stored;
    const Matrix left = parts.left * parts.values.asDiagonal(), right = parts.right;
    const auto& by_row = weights_.stored_transposed ? right : left;
    const auto& by_column = weights_.stored_transposed ? left : right;
    const auto size = base::element_bytes(stored.aligned_dtype);
    std::vector<std::byte> bytes(stored.rows * stored.columns * size);
    base::parallel_blocks(blocks_of_rows(stored.rows), threads_, [&](std::size_t block, int) {
      const auto first = block * kBlockRows, rows = std::min(kBlockRows, stored.rows - first);
      Matrix sum =
          by_row.middleRows(static_cast<Eigen::Index>(first), static_cast<Eigen::Index>(rows)) * by_column.transpose();
      PairRow row;
      for (std::uint64_t r = 0; r < rows; ++r) {
        row.read(stored, first + r);
        auto* const values = sum.row(static_cast<Eigen::Index>(r)).data();
        for (std::uint64_t c = 0; c < stored.columns; ++c) values[c] += row.base[c];
        base::from_double(stored.aligned_dtype, values, stored.columns,
                          bytes.data() + (first + r) * stored.columns * size);
      }
    });
    return bytes;
  }

  void set_update(LowRank& result, Eigen::Index rank) const {
    const auto parts = found(rank);
    auto& update = result.update;
    update.rank = static_cast<std::uint64_t>(rank);
    const Eigen::VectorXd roots = parts.values.cwiseSqrt();
    update.b = row_major(parts.left * roots.asDiagonal());
    update.a = row_major(roots.asDiagonal() * parts.right.transpose());
    result.residual = result.norm;
    if (rank > 0) {
      const Matrix along =
          view(difference_.times_inputs(row_major(parts.right), update.rank), weights_.out_features, update.rank);
      const double product = (parts.left.cwiseProduct(along).colwise().sum() * parts.values).value();
      const double squared = result.norm * result.norm - 2 * product + parts.values.squaredNorm();
      result.residual = std::sqrt(std::max(0.0, squared));
    }
    result.share_equal = share_equal(merged_again(parts));
  }

  double share_equal(const std::vector<std::byte>& again) const {
    const auto& stored = weights_.stored;
    const auto size = base::element_bytes(stored.aligned_dtype);
    const auto count = again.size() / size;
    std::uint64_t equal = 0;
    for (std::size_t k = 0; k < count; ++k) {
      equal += std::memcmp(again.data() + k * size, stored.aligned + k * size, size) == 0 ? 1 : 0;
    }
    return static_cast<double>(equal) / static_cast<double>(count);
  }

  const StoredWeights& weights_;
  const RankRule& rule_;
  int threads_;
  const WeightNames& names_;
  WeightProducts difference_;
  std::uint64_t smaller_;
  double most_left_ = 0;  // squared
  LeadingParts parts_;    // those that were looked for last
};

}  // namespace

LowRank low_rank(const StoredWeights& weights, const RankRule& rule, int threads, const WeightNames& names) {
  return Extraction(weights, rule, threads, names).run();
}

}  // namespace winnow::repair
