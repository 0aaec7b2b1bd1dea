#include "winnow/repair/project.hpp"

#include <fmt/format.h>

#include <array>
#include <cmath>
#include <utility>

#include "matrices.hpp"
#include "winnow/base/error.hpp"

namespace winnow::repair {
namespace {

using base::Error;
using base::ErrorKind;

constexpr std::array kProjections{std::pair(Projection::by_operator, std::string_view("operator")),
                                  std::pair(Projection::by_subspace, std::string_view("subspace")),
                                  std::pair(Projection::rescaled, std::string_view("rescaled"))};

Factors with_b(const Factors& update, const Matrix& b) {
  Factors result = update;
  result.b = row_major(b);
  check_result(result);
  return result;
}

}  // namespace

std::optional<Projection> parse_projection(std::string_view text) {
  for (const auto& [projection, known] : kProjections) {
    if (text == known) return projection;
  }
  return std::nullopt;
}

std::string_view name(Projection projection) { return kProjections[static_cast<std::size_t>(projection)].second; }

Factors project(const Factors& update, const WeightProducts& step) {
  check(update);
  require_same_shape(update, step);
  if (step.norm() == 0) return update;
  const auto y = step.times_outputs(update.b, update.rank);
  const Matrix in_steps = view(y, update.in_features, update.rank) / step.norm();
  const auto p = step.times_inputs(row_major(in_steps), update.rank);
  return with_b(update, view(p, update.out_features, update.rank));
}

Factors project(const Factors& update, const Triplets& leading) {
  check(update);
  if (leading.count == 0) return update;
  const auto u = view(leading.left, update.out_features, leading.count);
  return with_b(update, u * (u.transpose() * b_of(update)));
}

Factors project_rescaled(const Factors& update, const WeightProducts& step) {
  auto result = project(update, step);
  if (step.norm() == 0) return result;
  const auto before = norm(update), after = norm(result);
  if (before.value == 0) return result;
  // What C makes of rounding: it stretches nothing by more than ||V||.
  if (after.value == 0 || std::ldexp(after.value, after.exponent - before.exponent) <=
                              kRounding * step.norm() * std::ldexp(size(update), -before.exponent)) {
    throw Error(ErrorKind::invalid_input,
                "nothing of the update lies in what alignment changed, so none can be rescaled")
        .advice("project by operator or subspace");
  }
  const double ratio = std::ldexp(before.value / after.value, before.exponent - after.exponent);
  return with_b(result, ratio * b_of(result));
}

}  // namespace winnow::repair
