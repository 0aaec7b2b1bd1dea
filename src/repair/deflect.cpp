#include "winnow/repair/deflect.hpp"

#include <fmt/format.h>

#include <array>
#include <cmath>

#include "matrices.hpp"
#include "svd.hpp"
#include "winnow/base/error.hpp"

namespace winnow::repair {

namespace {

constexpr std::array kSides{std::pair(Side::block, std::string_view("block")),
                            std::pair(Side::left, std::string_view("left")),
                            std::pair(Side::right, std::string_view("right"))};

/// [B, -lambda * U X S^(1/2)], [A; S^(1/2) Y^T V^T] with U^T B A V = X S Y^T: no more columns than the block has rank.
Factors without_block(const Factors& update, const View& u, const View& v, double lambda) {
  const Eigen::MatrixXd block = (u.transpose() * b_of(update)) * (a_of(update) * v);
  if (!block.allFinite()) return with_columns(update, u * block, v.transpose());  // check_result() refuses it
  const Eigen::JacobiSVD<Eigen::MatrixXd> svd(block, Eigen::ComputeThinU | Eigen::ComputeThinV);
  const auto& values = svd.singularValues();
  const double rounding = kRounding * size(update);
  Eigen::Index count = 0;
  while (count < values.size() && values[count] > rounding) ++count;
  if (count == 0) return update;
  const Eigen::VectorXd roots = (lambda * values.head(count)).cwiseSqrt();
  const Matrix b = -(u * (svd.matrixU().leftCols(count) * roots.asDiagonal()));
  const Matrix a = (v * (svd.matrixV().leftCols(count) * roots.asDiagonal())).transpose();
  const auto whole = with_columns(update, b, a);
  check_result(whole);
  return of_smallest_rank(whole);
}

}  // namespace

std::optional<Side> parse_side(std::string_view text) {
  for (const auto& [side, known] : kSides) {
    if (text == known) return side;
  }
  return std::nullopt;
}

std::string_view name(Side side) { return kSides[static_cast<std::size_t>(side)].second; }

Factors deflect(const Factors& update, const Subspace& along, Side side, double lambda) {
  check_strength(lambda);
  check(update);
  if (along.out_features != update.out_features || along.in_features != update.in_features) {
    throw base::Error(base::ErrorKind::invalid_input, "directions of a module of another shape")
        .expected(fmt::format("[{}, {}], found [{}, {}]", update.out_features, update.in_features, along.out_features,
                              along.in_features));
  }
  const auto u = view(along.left, along.out_features, along.left_directions);
  const auto v = view(along.right, along.in_features, along.right_directions);
  Factors result = update;
  if (side == Side::block) {
    if (u.cols() > 0 && v.cols() > 0 && update.rank > 0) result = without_block(update, u, v, lambda);
  } else if (side == Side::left && u.cols() > 0) {
    const Matrix b = b_of(update) - lambda * (u * (u.transpose() * b_of(update)));
    result.b = row_major(b);
  } else if (side == Side::right && v.cols() > 0) {
    const Matrix a = a_of(update) - lambda * ((a_of(update) * v) * v.transpose());
    result.a = row_major(a);
  }
  check_result(result);
  return result;
}

}  // namespace winnow::repair
