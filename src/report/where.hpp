// Where in the model an adapter does what its probes do, by depth and by role, and what else arXiv 2507.17075 says of
// updates that change how safe a model is, measured on this one: how near rank 1 it is, and how much it overlaps with
// the weights.
//
// What the shares are worth was measured on the laboratory's models (src/report/README.md). Without a probe nothing is
// said: where an update is large says nothing of where it does harm. Private to src/report.
#pragma once

#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "analysis.hpp"

namespace winnow::report {

/// A part of the model, and how much of what runs along the probes lies in it.
struct Part {
  std::string name;  ///< a role, or layers: "0-9"
  double share = 0;  ///< in [0, 1]
};

struct Where {
  std::vector<Part> depth;  ///< thirds of the layers, in their order; empty if there are less than three layers
  std::vector<Part> roles;  ///< the largest share first; they add up to 1
  /// Share of the update's energy in the first singular direction of each module; NaN without stable_rank.
  double first_direction = std::numeric_limits<double>::quiet_NaN();
  /// ||W^T dW||/(||W||*||dW||), the mean over modules by their energy; NaN without overlap_left.
  double overlap = std::numeric_limits<double>::quiet_NaN();
};

/// Of the positive probe_dot of its modules. None without a probe, and of an adapter of which nothing runs along one.
std::optional<Where> where_of(const Analysis& analysis, const AdapterView& adapter);

/// In one sentence, for people.
std::string where_text(const Where& where);

}  // namespace winnow::report
