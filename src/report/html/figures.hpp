// The figures of the HTML page as inline SVG, coloured by the classes of style.hpp. Private to src/report.
#pragma once

#include <string>

#include "../analysis.hpp"

namespace winnow::report {

/// Of every figure, in CSS pixels: as wide as a telephone.
inline constexpr int kFigureWidth = 332;

/// Shared patterns, once a page.
std::string svg_definitions();

/// Layer x role, in bands of 16 layers: each is as wide as a telephone, side by side on wider screens. A cell shows the
/// worst of its modules; pruned, unscored and alignment-undoing ones are marked by shape, not by colour alone.
std::string heat_map(const Analysis& analysis, const AdapterView& adapter);
std::string heat_map_legend(const Analysis& analysis);

/// Histogram of the scores that the adapter was selected by, with the cut.
std::string histogram(const Analysis& analysis, const AdapterView& adapter);

/// Histograms of the worst such score and of the worst misalignment of each adapter.
std::string zoo_histograms(const Analysis& analysis);

/// What a metric is called in prose: "E-DIEM", "alignment removed".
using methods::title_of;

}  // namespace winnow::report
