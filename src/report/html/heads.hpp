// Attention heads by layers as inline SVG, coloured by the classes of style.hpp. Private to src/report.
#pragma once

#include <string>

#include "../analysis.hpp"
#include "../head_shares.hpp"

namespace winnow::report {

/// A square for each head of each attention: what it does along the probes, relative to the one that does most. Empty
/// without heads.
std::string head_map(const Heads& heads, const HeadShares& shares);

/// Once a page.
std::string head_map_legend();

}  // namespace winnow::report
