// A user's program: one call into a library with numbers, one that throws the library's own error.
#include <winnow/base/error.hpp>
#include <winnow/metrics/population_metrics.hpp>
#include <winnow/report/report.hpp>

#include <cstdio>
#include <vector>

int main() {
  const std::vector<double> distances{1.0, 2.0, 3.0, 4.0, 11.0};
  const winnow::metrics::Layout layout{1, 5, std::vector<std::string>(5, "q_proj")};
  const auto scores = winnow::metrics::robust_scores(distances, layout, winnow::metrics::Population::adapter);
  if (scores.size() != 5 || scores[4] != 4.0) {  // (11 - 3) / (4 - 2)
    std::puts("wrong score from the installed library");
    return 1;
  }
  try {
    winnow::metrics::parse_population("nonsense");
  } catch (const winnow::base::Error& error) {
    std::printf("consumer: %s\n", error.what());
    return 0;
  }
  std::puts("no error from the installed library");
  return 1;
}
