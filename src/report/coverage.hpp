// How much of what an adapter ships was judged, in words. Private to src/report.
#pragma once

#include <string>
#include <vector>

#include "winnow/report/report.hpp"

namespace winnow::report {

/// A heading, and what belongs under it; nothing of an adapter that was judged whole. Texts hold names of strangers.
struct Uncovered {
  std::string heading, names;
};

/// "judged: 1234 of 2000 parameters (61.70 %)", then modules and tensors that nothing saw, by reason.
std::vector<Uncovered> uncovered(const AdapterRow& row);

}  // namespace winnow::report
