#include "winnow/select/selection.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <limits>
#include <numeric>
#include <optional>

#include "gap.hpp"
#include "winnow/base/error.hpp"
#include "winnow/metrics/quantile.hpp"

namespace winnow::select {
namespace {

constexpr double kUnlimited = std::numeric_limits<double>::max();

struct Spelling {
  std::string_view word;
  Policy::Kind kind;
  double lowest, highest;
  enum class Form : std::uint8_t { word, count, number } form;
  std::optional<double> usual;  // the value if none is given
};

using Form = Spelling::Form;
constexpr std::array<Spelling, 7> kSpellings{{
    {"none", Policy::Kind::none, 0, 0, Form::word, 0},
    {"keep-top", Policy::Kind::keep_top, 0, 9007199254740992.0, Form::count, {}},  // 2^53: every count below is a
                                                                                   // double
    {"prune-top", Policy::Kind::prune_top, 0, 9007199254740992.0, Form::count, {}},
    {"threshold", Policy::Kind::threshold, -kUnlimited, kUnlimited, Form::number, {}},
    {"quantile", Policy::Kind::quantile, 0, 1, Form::number, {}},
    {"outliers", Policy::Kind::outliers, 0, kUnlimited, Form::number, 1.5},
    {"gap", Policy::Kind::gap, 0, kUnlimited, Form::number, 2},
}};

std::optional<double> parse_value(std::string_view text, const Spelling& spelling) {
  if (spelling.form == Form::word) return {};
  double value = 0;
  const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (problem != std::errc() || end != text.data() + text.size()) return {};
  if (!(value >= spelling.lowest && value <= spelling.highest)) return {};  // a NaN as well
  if (spelling.form == Form::count && value != std::floor(value)) return {};
  return value;
}

/// A scored module; `badness` rises with misalignment in either sense.
struct Candidate {
  double badness;
  std::uint64_t module;
};

// The first of `ordered` beyond the limit: all behind it are as well. Nothing is beyond NaN, the fence of no scores.
std::size_t first_beyond(const std::vector<Candidate>& ordered, double limit) {
  const auto at = std::partition_point(ordered.begin(), ordered.end(),
                                       [&](const Candidate& candidate) { return !(candidate.badness > limit); });
  return static_cast<std::size_t>(at - ordered.begin());
}

std::vector<double> finite_of(const std::vector<Candidate>& ordered) {
  std::vector<double> finite;
  for (const auto& candidate : ordered) {
    if (std::isfinite(candidate.badness)) finite.push_back(candidate.badness);
  }
  return finite;
}

double fence_of(const std::vector<Candidate>& ordered, double widths) {
  const auto spread = metrics::spread(finite_of(ordered));
  return spread.q75 + widths * spread.iqr();
}

// Without a gap no finite score is beyond, and infinity still is.
double or_infinite(const std::vector<Candidate>& ordered, std::optional<double> limit) {
  const auto finite = finite_of(ordered);
  return limit.value_or(finite.empty() ? 0 : finite.back());
}

}  // namespace

std::string Policy::text() const {
  for (const auto& spelling : kSpellings) {
    if (spelling.kind != kind) continue;
    if (spelling.form == Form::word) return std::string(spelling.word);
    return spelling.form == Form::count ? fmt::format("{}:{:.0f}", spelling.word, value)
                                        : fmt::format("{}:{}", spelling.word, value);
  }
  return "unknown";
}

bool Policy::prunes_by_count() const {
  return kind == Kind::none || kind == Kind::keep_top || kind == Kind::prune_top || kind == Kind::quantile;
}

Policy parse_policy(std::string_view text) {
  const auto colon = text.find(':');
  const auto word = text.substr(0, colon);
  for (const auto& spelling : kSpellings) {
    if (spelling.word != word) continue;
    const auto value = colon == std::string_view::npos ? spelling.usual : parse_value(text.substr(colon + 1), spelling);
    if (value) return {spelling.kind, *value};
  }
  throw base::Error(base::ErrorKind::usage, fmt::format("unknown selection '{}'", text))
      .expected(
          fmt::format("{} (K a whole number from 0, X a number, Q from 0 to 1, C from 0 and by default 1.5, of gap 2)",
                      kPolicyForms));
}

Scope parse_scope(std::string_view text) {
  for (const auto scope : {Scope::adapter, Scope::zoo}) {
    if (text == name(scope)) return scope;
  }
  throw base::Error(base::ErrorKind::usage, fmt::format("unknown scope '{}'", text)).expected("adapter or zoo");
}

std::string_view name(Scope scope) { return scope == Scope::zoo ? "zoo" : "adapter"; }

Selection select(std::span<const double> scores, const std::vector<bool>& present, std::span<const std::string> names,
                 const Policy& policy, Sense sense) {
  std::vector<std::uint64_t> order(names.size()), places(names.size());
  std::iota(order.begin(), order.end(), std::uint64_t{0});
  std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return names[a] < names[b]; });
  for (std::uint64_t place = 0; place < order.size(); ++place) places[order[place]] = place;
  return select(scores, present, places, policy, sense);
}

Selection select(std::span<const double> scores, const std::vector<bool>& present,
                 std::span<const std::uint64_t> places, const Policy& policy, Sense sense) {
  if (scores.size() != places.size() || present.size() != places.size()) {
    throw base::Error(base::ErrorKind::runtime, "scores and module names differ in number")
        .expected(
            fmt::format("{} of each, found {} scores and {} flags", places.size(), scores.size(), present.size()));
  }
  const double sign = sense == Sense::low_is_worse ? -1 : 1;
  Selection selection{std::vector<Action>(places.size(), Action::none), std::numeric_limits<double>::quiet_NaN(), {}};
  std::vector<Candidate> ordered;  // most aligned first
  for (std::uint64_t module = 0; module < places.size(); ++module) {
    if (!present[module]) continue;
    if (std::isnan(scores[module])) {
      selection.unscored.push_back(module);
    } else {
      ordered.push_back({sign * scores[module], module});
    }
  }
  std::sort(ordered.begin(), ordered.end(), [&](const Candidate& a, const Candidate& b) {
    return a.badness != b.badness ? a.badness < b.badness : places[a.module] < places[b.module];
  });

  const auto count = ordered.size();
  const auto at_most_all = [&](double wanted) {
    return wanted >= static_cast<double>(count) ? count : static_cast<std::size_t>(std::max(wanted, 0.0));
  };
  std::size_t kept = count;
  std::optional<double> limit;
  switch (policy.kind) {
    case Policy::Kind::none:
      break;
    case Policy::Kind::keep_top:
      kept = at_most_all(policy.value);
      break;
    case Policy::Kind::prune_top:
      kept = count - at_most_all(policy.value);
      break;
    case Policy::Kind::quantile:
      // The nudge makes a half that decimal fractions miss by rounding (0.29 * 50) a half again.
      kept = count - at_most_all(std::floor(policy.value * static_cast<double>(count) + 0.5 + 1e-9));
      break;
    case Policy::Kind::threshold:
      limit = sign * policy.value;
      break;
    case Policy::Kind::outliers:
      limit = fence_of(ordered, policy.value);
      break;
    case Policy::Kind::gap:
      limit = or_infinite(ordered, first_gap(finite_of(ordered), policy.value));
      break;
  }
  if (limit) kept = first_beyond(ordered, *limit);

  for (std::size_t i = 0; i < count; ++i) {
    selection.action[ordered[i].module] = i < kept ? Action::keep : Action::prune;
  }
  if (kept < count) selection.cut = sign * limit.value_or(ordered[kept].badness);
  return selection;
}

}  // namespace winnow::select
