#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <iterator>
#include <string>
#include <vector>

#include "../numbers.hpp"
#include "../text.hpp"
#include "figures.hpp"

namespace winnow::report {
namespace {

constexpr int kLeft = 30, kRight = kFigureWidth - 6, kUpper = 18, kLower = 118;
constexpr std::size_t kBins = 40;

struct Sample {
  double score = 0;
  bool pruned = false;
};

/// What the two histograms of a page differ in.
struct Distribution {
  std::string caption;  ///< escaped
  const char* things = "modules";
  std::vector<Sample> samples;
  double cut = std::numeric_limits<double>::quiet_NaN();  ///< where pruning starts; NaN: no line
  bool low_is_worse = false;
  bool pruning = true;  ///< whether the samples are pruned or kept at all
};

std::string draw(const Distribution& distribution) {
  std::vector<double> scores;
  for (const auto& sample : distribution.samples) {
    if (std::isfinite(sample.score)) scores.push_back(sample.score);
  }
  if (scores.empty()) return {};
  // A few far outliers must not squeeze all others into one bin: the outermost bins take what lies beyond.
  const auto low_quartile = quantile(scores, 0.25), high_quartile = quantile(scores, 0.75);
  const auto reach = 30 * (high_quartile - low_quartile);
  const auto [smallest, largest] = std::minmax_element(scores.begin(), scores.end());
  auto from = *smallest, to = *largest;
  if (reach > 0) from = std::max(from, low_quartile - reach), to = std::min(to, high_quartile + reach);
  const bool cut_off_below = *smallest<from, cut_off_above = *largest> to;
  if (to <= from) from -= 0.5, to += 0.5;
  const auto place = [&](double score) { return std::clamp((score - from) / (to - from), 0.0, 1.0); };
  std::array<std::size_t, kBins> all{}, pruned{};
  std::size_t pruned_in_all = 0;
  for (const auto& sample : distribution.samples) {
    if (std::isnan(sample.score)) continue;
    const auto bin = std::min(kBins - 1, static_cast<std::size_t>(place(sample.score) * kBins));
    ++all.at(bin);
    if (sample.pruned) ++pruned.at(bin), ++pruned_in_all;
  }
  const auto tallest = *std::max_element(all.begin(), all.end());
  std::string out;
  auto put = std::back_inserter(out);
  fmt::format_to(put, "<figure><figcaption>{}</figcaption>", distribution.caption);
  fmt::format_to(put,
                 R"(<svg width="{0}" height="150" viewBox="0 0 {0} 150" role="img" aria-label="Histogram of {1} {2}, )"
                 R"(median {3}, from {4} to {5})",
                 kFigureWidth, scores.size(), distribution.things, number_text(quantile(scores, 0.5)),
                 number_text(*smallest), number_text(*largest));
  if (distribution.pruning) fmt::format_to(put, ", {} selected", pruned_in_all);
  out += "\">";
  const auto bin_width = static_cast<double>(kRight - kLeft) / kBins;
  for (std::size_t b = 0; b < kBins; ++b) {
    if (all.at(b) == 0) continue;
    const auto height_of = [&](std::size_t count) {
      return count == 0 ? 0.0
                        : std::max(4.0, (kLower - kUpper) * static_cast<double>(count) / static_cast<double>(tallest));
    };
    const auto x = kLeft + bin_width * static_cast<double>(b);
    const auto high = height_of(pruned.at(b)), whole = std::max(height_of(all.at(b)), high);
    const auto bar = [&](const char* style, double top, double height) {
      fmt::format_to(put, R"(<rect class="{}" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}">)", style, x, top,
                     bin_width - 1, height);
      fmt::format_to(put, "<title>{} {}", all.at(b), distribution.things);
      if (distribution.pruning) fmt::format_to(put, ", {} selected", pruned.at(b));
      out += "</title></rect>";
    };
    if (all.at(b) > pruned.at(b)) bar("k", kLower - whole, whole - high);
    if (pruned.at(b) != 0) bar("ph", kLower - high, high);
  }
  fmt::format_to(put, R"(<path class="ax" d="M{} {}H{}"/><text class="e" x="{}" y="{}">{}</text>)", kLeft, kLower,
                 kRight, kLeft - 4, kUpper + 8, tallest);
  fmt::format_to(put, R"(<text x="{}" y="{}">{}{}</text>)", kLeft, kLower + 14, cut_off_below ? "\u2264 " : "",
                 number_text(from));
  fmt::format_to(put, R"(<text class="e" x="{}" y="{}">{}{}</text>)", kRight, kLower + 14,
                 cut_off_above ? "\u2265 " : "", number_text(to));
  if (std::isfinite(distribution.cut)) {
    const auto x = kLeft + (kRight - kLeft) * place(distribution.cut);
    const bool right_half = x > (kLeft + kRight) / 2.0;
    fmt::format_to(put, R"(<path class="cut" d="M{0:.1f} 4V{1}"/>)", x, kLower);
    fmt::format_to(put, R"(<text class="s{}" x="{:.1f}" y="12">selected {} {}</text>)", right_half ? " e" : "",
                   right_half ? x - 5 : x + 5, distribution.low_is_worse ? "\u2264" : "\u2265",
                   number_text(distribution.cut));
  }
  if (distribution.pruning) {
    fmt::format_to(put, R"(<rect class="k" x="{}" y="139" width="9" height="9"/><text x="{}" y="147">kept</text>)",
                   kLeft, kLeft + 13);
    fmt::format_to(put, R"(<rect class="ph" x="{}" y="139" width="9" height="9"/><text x="{}" y="147">selected</text>)",
                   kLeft + 52, kLeft + 65);
  }
  return out + "</svg></figure>\n";
}

}  // namespace

std::string histogram(const Analysis& analysis, const AdapterView& adapter) {
  Distribution distribution;
  distribution.caption = "Distribution of " + for_html(title_of(analysis.rank_by()));
  for (const auto m : adapter.ranking) {
    distribution.samples.push_back(
        {analysis.score(adapter.index, m), analysis.action(adapter.index, m) == Action::prune});
  }
  distribution.cut = adapter.cut;
  distribution.low_is_worse = analysis.low_is_worse();
  return draw(distribution);
}

std::string zoo_histograms(const Analysis& analysis) {
  const auto one = [&](const std::string& caption, auto worst) {
    Distribution distribution;
    distribution.caption = for_html(caption);
    distribution.things = "adapters";
    for (const auto& adapter : analysis.adapters()) {
      if (const double score = worst(adapter); !std::isnan(score)) distribution.samples.push_back({score, false});
    }
    distribution.pruning = false;
    return draw(distribution);
  };
  const auto worst = [](const std::string& metric) { return "Worst " + title_of(metric) + " of an adapter"; };
  std::string out;
  if (const auto* metric = analysis.adapter_metric()) {
    const auto caption = "Whole adapters: " + title_of(metric->name);
    out += one(caption, [&](const auto& adapter) { return analysis.adapter_score(adapter); });
  }
  out += one(worst(analysis.rank_by()), [&](const auto& adapter) { return analysis.worst_score(adapter); });
  if (!analysis.misalignment_beside()) return out;
  return out + one(worst("misalignment"), [&](const auto& adapter) { return analysis.worst_misalignment(adapter); });
}

}  // namespace winnow::report
