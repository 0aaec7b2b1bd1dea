#include "heads.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>

#include "../numbers.hpp"
#include "../text.hpp"
#include "figures.hpp"

namespace winnow::report {
namespace {

constexpr int kLabel = 30, kTop = 16, kSmallest = 3, kLargest = 14;

struct Step {
  double below;  ///< relative to the head that does most
  const char* style;
};
constexpr std::array<Step, 8> kSteps{
    {{-0.5, "l3"}, {-0.2, "l2"}, {-0.05, "l1"}, {0.05, "m"}, {0.2, "h1"}, {0.4, "h2"}, {0.6, "h3"}, {0.8, "h4"}}};
constexpr const char* kLastStep = "h5";

const char* style_of(double value) {
  for (const auto& step : kSteps) {
    if (value < step.below) return step.style;
  }
  return kLastStep;
}

/// So that labels of `room` pixels do not touch.
std::size_t every(int cell, int room) { return static_cast<std::size_t>((room + cell - 1) / cell); }

}  // namespace

std::string head_map(const Heads& heads, const HeadShares& shares) {
  const auto columns = heads.attention.size(), rows = static_cast<std::size_t>(heads.query);
  if (columns == 0 || shares.values.empty()) return {};
  const auto cell = std::clamp((kFigureWidth - kLabel) / static_cast<int>(columns), kSmallest, kLargest);
  const auto down = std::clamp(kFigureWidth / static_cast<int>(rows), kSmallest, kLargest);
  const auto x_of = [&](std::size_t column) { return kLabel + cell * static_cast<int>(column); };
  const auto y_of = [&](std::size_t row) { return kTop + down * static_cast<int>(row); };
  const auto width = std::max(x_of(columns) + 8, 110), height = y_of(rows) + 1;
  auto out = fmt::format(
      R"(<figure><figcaption>Attention heads by layers</figcaption><svg width="{0}" height="{1}" viewBox="0 0 {0} {1}" )"
      R"(role="img" aria-label="{2} attention heads of {3} layers; most does {4}, {5}">)",
      width, height, rows, columns, for_html(head_name(heads, shares.largest.front())),
      for_html(percent_text(shares.largest.front().share)));
  for (std::size_t column = 0; column < columns; column += every(cell, 20)) {
    const auto layer = heads.attention[column].layer;
    out += fmt::format(R"(<text class="c" x="{}" y="12">{}</text>)", x_of(column) + cell / 2,
                       layer < 0 ? "-" : fmt::format("{}", layer));
  }
  for (std::size_t row = 0; row < rows; row += every(down, 13)) {
    out += fmt::format(R"(<text class="e" x="{}" y="{}">{}</text>)", kLabel - 5, y_of(row) + down / 2 + 4, row);
  }
  // A path for each colour: a page of twenty adapters with thousands of heads must stay small.
  std::map<std::string, std::string> paths;
  const auto gap = std::min(cell, down) > 5 ? 1 : 0;
  for (std::size_t column = 0; column < columns; ++column) {
    for (std::size_t row = 0; row < rows; ++row) {
      const double value = shares.values[column * rows + row];
      if (std::isnan(value)) continue;
      paths[style_of(value)] +=
          fmt::format("M{} {}h{}v{}h-{}z", x_of(column), y_of(row), cell - gap, down - gap, cell - gap);
    }
  }
  for (const auto& [style, path] : paths) out += fmt::format(R"(<path class="{}" d="{}"/>)", style, path);
  for (std::size_t k = 0; k < std::min(kLargestHeads, shares.largest.size()); ++k) {
    const auto& head = shares.largest[k];
    out += fmt::format(
        R"(<rect fill="none" pointer-events="all" x="{}" y="{}" width="{}" height="{}"><title>{}: {}</title></rect>)",
        x_of(head.attention), y_of(head.head), cell, down, for_html(head_name(heads, head)),
        for_html(percent_text(head.share)));
  }
  return out + "</svg></figure>\n";
}

std::string head_map_legend() {
  constexpr int kWide = 18;
  std::string scale;
  for (std::size_t i = 0; i <= kSteps.size(); ++i) {
    scale += fmt::format(R"(<rect class="{}" x="{}" y="0" width="{}" height="12"/>)",
                         i < kSteps.size() ? kSteps.at(i).style : kLastStep, kWide * static_cast<int>(i), kWide - 1);
  }
  return fmt::format(
      R"(<div class="legend"><span>Heads: against the probes</span><span><svg width="{0}" height="12" viewBox="0 0 {0} 12" )"
      R"(role="img" aria-label="Colour scale from blue, against the probes, to orange, along them">{1}</svg></span>)"
      "<span>along them, relative to the head that does most</span></div>\n",
      kWide * static_cast<int>(kSteps.size() + 1), scale);
}

}  // namespace winnow::report
