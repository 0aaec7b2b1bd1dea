// Which LoRA layers of an adapter are pruned: by score, ties by module name, so that every run gives the same answer.
//
// One total order serves every policy: most aligned first, equal scores by module name (bytes, rising). The pruned
// layers are a tail of it, so keep-top:K and prune-top:(n - K) say the same, and K means exactly K.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "winnow/methods/method.hpp"

namespace winnow::select {

/// A selection policy, as written on the command line. n is the number of scored modules of the adapter.
struct Policy {
  enum class Kind : std::uint8_t {
    none,       ///< none         prune nothing: judge and report
    keep_top,   ///< keep-top:K   keep the K most aligned, prune the rest (SPLoRA's rule); K >= n prunes nothing
    prune_top,  ///< prune-top:K  prune the K most misaligned; K >= n prunes all
    threshold,  ///< threshold:X  prune if the score is strictly beyond X
    quantile,   ///< quantile:Q   prune the worst share Q in [0, 1]: Q*n rounded to the nearest count, halves up
    outliers,   ///< outliers[:C] prune if the score is strictly beyond Q75 + C * IQR (C >= 0, default 1.5)
    gap,        ///< gap[:C]      prune what lies beyond the first gap above the median that is C * IQR wide (default 2)
  };
  Kind kind = Kind::keep_top;
  double value = 10;  ///< K, X, Q or C; 0 where there is none

  std::string text() const;  ///< as parse_policy takes it
  /// none, keep-top, prune-top, quantile: how many are pruned does not depend on the scores, so it says nothing about
  /// them.
  bool prunes_by_count() const;
};
Policy parse_policy(std::string_view text);  ///< throws Error(usage) saying what is accepted

/// How policies are spelled, for help texts and messages.
inline constexpr std::string_view kPolicyForms =
    "none, keep-top:K, prune-top:K, threshold:X, quantile:Q, outliers[:C] or gap[:C]";
/// Those that select nothing where the scores show nothing.
inline constexpr std::string_view kFormsThatFind = "threshold:X, outliers[:C] or gap[:C]";

using methods::Sense;

/// Among what a policy selects (`--scope`).
enum class Scope : std::uint8_t {
  adapter,  ///< the modules of each adapter, by itself
  zoo,      ///< the modules of all adapters that were scored, together: K, Q and quartiles are of all of them
};
Scope parse_scope(std::string_view text);  ///< throws Error(usage)
std::string_view name(Scope scope);

enum class Action : std::uint8_t { none = 0, keep = 1, prune = 2 };

struct Selection {
  std::vector<Action> action;  ///< one a module; none if it is absent or its score is NaN
  /// The score at which pruning starts: the threshold or fence itself, and for the policies that count, the score of
  /// the least misaligned pruned module. NaN if nothing is pruned.
  double cut = 0;
  std::vector<std::uint64_t> unscored;  ///< modules with `present` but a NaN score: never pruned silently
};

/// Selects among the modules of one adapter. `present[m]` says whether the adapter has LoRA there. All arrays have the
/// length of `names` (else Error(runtime)). A low_is_worse sense turns every comparison round (Q25 - C * IQR for
/// outliers). Infinite scores are ordered as such, but do not enter what `outliers` and `gap`
/// make of the others.
Selection select(std::span<const double> scores, const std::vector<bool>& present, std::span<const std::string> names,
                 const Policy& policy, Sense sense);

/// The same among layers of several adapters. `places` orders those of equal scores; no number is there twice.
Selection select(std::span<const double> scores, const std::vector<bool>& present,
                 std::span<const std::uint64_t> places, const Policy& policy, Sense sense);

}  // namespace winnow::select
