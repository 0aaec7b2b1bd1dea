#include "line_chart.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <iterator>

#include "../numbers.hpp"
#include "../text.hpp"
#include "figures.hpp"

namespace winnow::report {
namespace {

constexpr std::size_t kDotted = 60;  // steps up to which each has its dot and tooltip

/// In inter-quartile ranges above the upper quartile: what lies higher leaves through the top.
constexpr double kReach = 6;

/// From steps and values to pixels.
struct Frame {
  double left = 0, right = 0, upper = 0, lower = 0;
  double first = 0, last = 0;  ///< steps
  double from = 0, to = 1;     ///< values

  double x(std::uint64_t step) const {
    if (last <= first) return (left + right) / 2;
    return left + (right - left) * (static_cast<double>(step) - first) / (last - first);
  }
  double y(double value) const { return lower - (lower - upper) * (std::clamp(value, from, to) - from) / (to - from); }
};

/// Whether a value leaves the frame at its top.
bool fit(Frame& frame, const std::vector<Series>& series, bool counts) {
  std::vector<double> all;
  for (const auto& one : series) {
    std::copy_if(one.values.begin(), one.values.end(), std::back_inserter(all),
                 [](double v) { return std::isfinite(v); });
  }
  if (all.empty()) return false;
  const auto [smallest, largest] = std::minmax_element(all.begin(), all.end());
  frame.from = std::min(0.0, *smallest);
  frame.to = *largest;
  const auto high_quartile = quantile(all, 0.75), reach = kReach * (high_quartile - quantile(all, 0.25));
  if (!counts && reach > 0) frame.to = std::min(frame.to, high_quartile + reach);
  const bool cut_off = frame.to < *largest;
  if (frame.to <= frame.from) frame.to = frame.from + 1;
  return cut_off;
}

/// The line with its gaps; a point between two gaps would not be seen, so it is drawn as a short dash.
std::string path_of(const Frame& frame, const std::vector<std::uint64_t>& steps, const std::vector<double>& values) {
  std::string out;
  auto put = std::back_inserter(out);
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (!std::isfinite(values[i])) continue;
    const bool continued = i > 0 && std::isfinite(values[i - 1]);
    const bool alone = !continued && (i + 1 == values.size() || !std::isfinite(values[i + 1]));
    fmt::format_to(put, "{}{:.1f} {:.1f}", continued ? "L" : "M", frame.x(steps[i]) - (alone ? 1.5 : 0),
                   frame.y(values[i]));
    if (alone) out += "h3";
  }
  return out;
}

std::string value_text(double value, bool counts) { return counts ? fmt::format("{:.0f}", value) : number_text(value); }

/// Arrows where a line leaves the frame, with the value in a tooltip.
std::string beyond(const Frame& frame, const LineChart& chart, std::size_t k) {
  const auto& series = chart.series[k];
  std::string out;
  for (std::size_t i = 0; i < series.values.size(); ++i) {
    if (!std::isfinite(series.values[i]) || series.values[i] <= frame.to) continue;
    out += fmt::format(R"(<path class="o{}" d="M{:.1f} {:.1f}l3.5 6h-7z"><title>step {}: {} {}</title></path>)", k + 1,
                       frame.x(chart.steps[i]), frame.upper - 8, chart.steps[i], for_html(series.name),
                       value_text(series.values[i], chart.counts));
  }
  return out;
}

}  // namespace

std::string line_chart(const LineChart& chart) {
  constexpr int kHeight = 168, kLeft = 44, kRight = kFigureWidth - 8, kUpper = 12, kLower = 122;
  Frame frame{
      kLeft, kRight, kUpper, kLower, static_cast<double>(chart.steps.front()), static_cast<double>(chart.steps.back())};
  const bool cut_off = fit(frame, chart.series, chart.counts);
  std::string out, names;
  auto put = std::back_inserter(out);
  for (const auto& series : chart.series) names += (names.empty() ? "" : " and ") + series.name;
  fmt::format_to(put, "<figure><figcaption>{}</figcaption>", for_html(chart.caption));
  fmt::format_to(put,
                 R"(<svg width="{0}" height="{1}" viewBox="0 0 {0} {1}" role="img" )"
                 R"(aria-label="{2} over {3} steps, {4} to {5}">)",
                 kFigureWidth, kHeight, for_html(names), chart.steps.size(), chart.steps.front(), chart.steps.back());
  fmt::format_to(put, R"(<path class="grid" d="M{0} {1}H{2}M{0} {3:.1f}H{2}"/>)", kLeft, kUpper, kRight,
                 (kUpper + kLower) / 2.0);
  fmt::format_to(put, R"(<path class="ax" d="M{0} {1:.1f}H{2}M{0} {3}V{4}"/>)", kLeft, frame.y(0), kRight, kUpper,
                 kLower);
  const auto label = [&](double y, const std::string& text) {
    fmt::format_to(put, R"(<text class="e" x="{}" y="{:.1f}">{}</text>)", kLeft - 4, y + 4, text);
  };
  label(kUpper, (cut_off ? "\u2265 " : "") + value_text(frame.to, chart.counts));
  label(kLower, value_text(frame.from, chart.counts));
  if (frame.from < 0 && frame.y(0) < kLower - 12 && frame.y(0) > kUpper + 12) label(frame.y(0), "0");
  for (std::size_t k = 0; k < chart.series.size(); ++k) {
    const auto& values = chart.series[k].values;
    fmt::format_to(put, R"(<path class="d{}" d="{}"/>)", k + 1, path_of(frame, chart.steps, values));
    out += beyond(frame, chart, k);
    if (values.size() > kDotted) continue;
    for (std::size_t i = 0; i < values.size(); ++i) {
      if (!std::isfinite(values[i])) continue;
      fmt::format_to(put,
                     R"(<circle class="o{}" cx="{:.1f}" cy="{:.1f}" r="2.4"><title>step {}: {} {}</title></circle>)",
                     k + 1, frame.x(chart.steps[i]), frame.y(values[i]), chart.steps[i], for_html(chart.series[k].name),
                     value_text(values[i], chart.counts));
    }
  }
  bool any_missing = false;
  for (std::size_t i = 0; i < chart.steps.size(); ++i) {
    if (!chart.missing[i]) continue;
    any_missing = true;
    fmt::format_to(put, R"(<path class="gap" d="M{:.1f} {}l5 5m0-5l-5 5"><title>step {}: not scored</title></path>)",
                   frame.x(chart.steps[i]) - 2.5, kLower + 3, chart.steps[i]);
  }
  fmt::format_to(put, R"(<text x="{}" y="{}">step {}</text><text class="e" x="{}" y="{}">{}</text>)", kLeft,
                 kLower + 19, chart.steps.front(), kRight, kLower + 19, chart.steps.back());
  auto x = kLeft;
  constexpr int kLegend = kHeight - 9, kLetter = 6;
  for (std::size_t k = 0; k < chart.series.size(); ++k) {
    fmt::format_to(put, R"(<path class="d{}" d="M{} {}h20"/><text x="{}" y="{}">{}</text>)", k + 1, x, kLegend, x + 24,
                   kLegend + 4, for_html(chart.series[k].name));
    x += 36 + kLetter * static_cast<int>(display_width(chart.series[k].name));
  }
  if (any_missing) {
    fmt::format_to(put, R"(<path class="gap" d="M{} {}l5 5m0-5l-5 5"/><text x="{}" y="{}">not scored</text>)", x,
                   kLegend - 2, x + 9, kLegend + 4);
  }
  return out + "</svg></figure>\n";
}

std::string sparkline(const std::vector<std::uint64_t>& steps, const std::vector<double>& values) {
  constexpr int kWidth = 120, kHeight = 22;
  Frame frame{2, kWidth - 2, 3, kHeight - 3, static_cast<double>(steps.front()), static_cast<double>(steps.back())};
  fit(frame, {{"", values}}, false);
  return fmt::format(R"(<svg class="spark" width="{0}" height="{1}" viewBox="0 0 {0} {1}" aria-hidden="true">)"
                     R"(<path class="grid" d="M2 {2:.1f}H{3}"/><path class="d1" d="{4}"/></svg>)",
                     kWidth, kHeight, frame.y(0), kWidth - 2, path_of(frame, steps, values));
}

}  // namespace winnow::report
