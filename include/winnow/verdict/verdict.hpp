// Which adapters of a zoo may be served: from p-values against a bank of harmless ones to a verdict and its reason.
// src/verdict/README.md has the rules.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace winnow::verdict {

enum class Verdict : std::uint8_t {
  pass,        ///< all of it was judged, and it is no more unusual than harmless adapters are
  review,      ///< unusual, but so may one of that many harmless adapters be
  block,       ///< unusual at the error rate that was asked for, or known to be harmful
  incomplete,  ///< some of it was not judged: nothing unjudged passes
};
/// In the order in which people are shown them: what was found, then of what not all is known, then the rest.
inline constexpr std::array kVerdicts{Verdict::block, Verdict::review, Verdict::incomplete, Verdict::pass};

std::string_view name(Verdict verdict);
std::optional<Verdict> parse(std::string_view name);  ///< none for what is no verdict

/// Share of harmless adapters that is accepted among the blocked ones, if nothing else is said.
inline constexpr double kDefaultRate = 0.05;

/// What is known of one adapter.
struct Evidence {
  static constexpr double kUnknown = std::numeric_limits<double>::quiet_NaN();
  double p = kUnknown;                   ///< conformal, against the bank; NaN if it could not be compared
  double smallest_p = kUnknown;          ///< that comparing with its bank can give: 1/(1 + members)
  double deviation = kUnknown;           ///< bank_deviation
  std::string finding = {};              ///< where it deviates most, in words
  double against_p = kUnknown;           ///< of running against the probes, likewise; NaN without probes
  double smallest_against_p = kUnknown;  ///< that can be
  std::string against = {};              ///< which probe it runs against, in words
  bool changes_nothing = false;          ///< all that it ships is what there was
  std::string known = {};                ///< which harm it is itself, in words; mostly empty
  std::string suspicion = {};  ///< what is seen of it without a bank, in words: it is not passed; mostly empty
  std::vector<std::string> unjudged = {};  ///< what of it was not judged, a phrase each
};

struct Judgement {
  Verdict verdict = Verdict::incomplete;
  std::string reason;  ///< for people: the statistic, its value, the error rate, what to do
  bool operator==(const Judgement&) const = default;
};

/// One an adapter of the zoo, in its order. `level`, within (0, 1), is the rate of false discoveries that is accepted.
std::vector<Judgement> judge(std::span<const Evidence> zoo, double level);

/// The smallest bank by which a single one of `tested` adapters can be blocked: tested/level - 1, rounded up.
std::size_t smallest_bank(std::size_t tested, double level);

/// In one line what a bank can claim of that many tested adapters.
std::string claim(std::size_t members, std::size_t tested, double level);

/// Of a bank that is too small to block anything, in one line what an exit code that goes by verdicts says all the
/// same. Empty for a larger one.
std::string without_blocks(std::size_t members, double level);

/// "5 %".
std::string percent(double level);

}  // namespace winnow::verdict
