#include "html_figures.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <iterator>
#include <map>
#include <optional>

#include "text.hpp"

namespace winnow::report {
namespace {

constexpr int kCell = 16, kLabel = 76, kTop = 16, kLayersPerBand = 16;

struct Step {
  double below;  ///< in inter-quartile ranges from the median of the peers
  const char* style;
};
constexpr std::array<Step, 8> kSteps{
    {{-2, "l3"}, {-1, "l2"}, {-0.5, "l1"}, {0.5, "m"}, {1, "h1"}, {2, "h2"}, {4, "h3"}, {8, "h4"}}};
constexpr const char* kLastStep = "h5";

const char* style_of(double score) {
  for (const auto& step : kSteps) {
    if (score < step.below) return step.style;
  }
  return kLastStep;
}

// E-DIEM where the report has it; any other metric is brought to its scale: median 0, inter-quartile range 1, and
// positive where misaligned.
class Shade {
 public:
  Shade(const Analysis& analysis, const AdapterView& adapter)
      : analysis_(analysis), ediem_(analysis.report().find_metric("ediem")) {
    if (ediem_ != nullptr) return;
    std::vector<double> scores;
    for (const auto m : adapter.ranking) scores.push_back(analysis.score(adapter.index, m));
    middle_ = quantile(scores, 0.5);
    spread_ = quantile(scores, 0.75) - quantile(scores, 0.25);
    if (analysis.low_is_worse()) spread_ = -spread_;
  }
  double operator()(std::size_t n, std::size_t m) const {
    if (ediem_ != nullptr) return analysis_.value(ediem_, n, m);
    const auto score = analysis_.score(n, m);
    return std::isnan(score) || spread_ == 0 ? score - score : (score - middle_) / spread_;
  }

 private:
  const Analysis& analysis_;
  const Metric* ediem_;
  double middle_ = 0, spread_ = 1;
};

struct Cell {
  std::optional<std::size_t> worst;  ///< module
  double shade = 0;
  std::size_t scored = 0, unscored = 0, pruned = 0, undoing = 0;
  std::size_t modules() const { return scored + unscored; }
};

struct Heat {
  std::vector<std::string> roles;
  std::vector<std::int64_t> layers;
  std::map<std::pair<std::int64_t, std::string>, Cell> cells;
};

Heat gather(const Analysis& analysis, const AdapterView& adapter) {
  const auto& modules = analysis.report().modules;
  const auto n = adapter.index;
  const Shade shade(analysis, adapter);
  Heat heat;
  for (std::size_t m = 0; m < modules.size(); ++m) {
    const auto& row = modules[m];
    if (std::find(heat.roles.begin(), heat.roles.end(), row.role) == heat.roles.end()) heat.roles.push_back(row.role);
    auto& cell = heat.cells[{row.layer, row.role}];
    const auto value = shade(n, m);
    if (analysis.action(n, m) == Action::prune) ++cell.pruned;
    if (analysis.undoing(n, m)) ++cell.undoing;
    if (std::binary_search(adapter.unscored.begin(), adapter.unscored.end(), m)) ++cell.unscored;
    if (std::isnan(value)) continue;
    ++cell.scored;
    if (!cell.worst || value > cell.shade) cell.worst = m, cell.shade = value;
  }
  for (const auto& [key, cell] : heat.cells) {
    if (heat.layers.empty() || heat.layers.back() != key.first) heat.layers.push_back(key.first);
  }
  return heat;
}

std::string tooltip(const Analysis& analysis, std::size_t n, const Cell& cell, const std::string& place) {
  if (!cell.worst) return cell.unscored == 0 ? place + ": no LoRA" : place + ": not scored";
  const auto m = *cell.worst;
  std::string text = analysis.report().modules[m].name;
  if (cell.modules() > 1) text += fmt::format(" (worst of {}, {} pruned)", cell.modules(), cell.pruned);
  const auto add = [&](const char* metric, std::string (*shown)(double)) {
    const auto value = analysis.value(metric, n, m);
    if (!std::isnan(value)) text += fmt::format(", {} {}", title_of(metric), shown(value));
  };
  const auto score = [](double value) { return number_text(value); };
  add("ediem", score);
  add("misalignment", score);
  if (analysis.cause(n, m) != Cause::none) text += fmt::format(" ({})", name(analysis.cause(n, m)));
  add("cosine", share_text);
  add("alignment_removed", share_text);
  if (cell.modules() == 1 && cell.pruned == 1) text += ", pruned";
  return text;
}

std::string layer_text(std::int64_t layer) { return layer < 0 ? "-" : fmt::format("{}", layer); }

std::string band(const Analysis& analysis, const AdapterView& adapter, const Heat& heat, std::size_t first,
                 std::size_t count) {
  const auto height = kTop + kCell * static_cast<int>(heat.roles.size()) + 1;
  // All bands of a page are equally wide, so that they line up under each other.
  constexpr int kWidth = kLabel + kCell * kLayersPerBand;
  std::string out, crosses, triangles;
  auto put = std::back_inserter(out);
  const auto& last = heat.layers[first + count - 1];
  fmt::format_to(put,
                 R"(<svg width="{0}" height="{1}" viewBox="0 0 {0} {1}" role="img" aria-label="Layers {2} to {3}">)",
                 kWidth, height, layer_text(heat.layers[first]), layer_text(last));
  for (std::size_t r = 0; r < heat.roles.size(); ++r) {
    fmt::format_to(put, R"(<text class="e" x="{}" y="{}">{}</text>)", kLabel - 5,
                   kTop + kCell * static_cast<int>(r) + 12, for_html(elided(heat.roles[r], 12)));
  }
  for (std::size_t c = 0; c < count; ++c) {
    const auto layer = heat.layers[first + c];
    const auto x = kLabel + kCell * static_cast<int>(c);
    // More than one digit leaves no gap above every cell.
    if (layer < 10 || c % 2 == 0) {
      fmt::format_to(put, R"(<text class="c" x="{}" y="12">{}</text>)", x + kCell / 2, layer_text(layer));
    }
    for (std::size_t r = 0; r < heat.roles.size(); ++r) {
      const auto found = heat.cells.find({layer, heat.roles[r]});
      if (found == heat.cells.end()) continue;
      const auto& cell = found->second;
      const auto y = kTop + kCell * static_cast<int>(r);
      const auto* style = cell.worst ? style_of(cell.shade) : cell.unscored != 0 ? "u" : "n";
      const auto inset = cell.worst ? 0.0 : 0.5;
      fmt::format_to(put, R"(<rect class="{}" x="{}" y="{}" width="{}" height="{}"><title>{}</title></rect>)", style,
                     x + inset, y + inset, kCell - 1 - 2 * inset, kCell - 1 - 2 * inset,
                     for_html(tooltip(analysis, adapter.index, cell,
                                      fmt::format("layer {} {}", layer_text(layer), heat.roles[r]))));
      if (cell.pruned != 0) crosses += fmt::format("M{} {}l7 7m0-7l-7 7", x + 4, y + 4);
      if (cell.undoing != 0) triangles += fmt::format("M{} {}h6v6z", x + 9, y);
    }
  }
  if (!crosses.empty()) fmt::format_to(put, R"(<path class="x0" d="{0}"/><path class="x1" d="{0}"/>)", crosses);
  if (!triangles.empty()) fmt::format_to(put, R"(<path class="t" d="{}"/>)", triangles);
  return out + "</svg>";
}

std::string swatch(const char* content) {
  return fmt::format(R"(<svg width="16" height="16" viewBox="0 0 16 16" aria-hidden="true">{}</svg>)", content);
}

}  // namespace

std::string title_of(std::string_view metric) {
  if (metric == "ediem") return "E-DIEM";
  std::string out(metric);
  std::replace(out.begin(), out.end(), '_', ' ');
  return out;
}

std::string svg_definitions() {
  return R"svg(<svg class="vh" width="0" height="0" aria-hidden="true" focusable="false"><defs>)svg"
         R"svg(<pattern id="hatch" width="4" height="4" patternUnits="userSpaceOnUse">)svg"
         R"svg(<path d="M0 4l4-4" stroke="var(--soft)" stroke-width=".8"/></pattern>)svg"
         R"svg(<pattern id="stripes" width="4" height="4" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">)svg"
         R"svg(<rect width="4" height="4" fill="var(--hot)"/><rect width="1.6" height="4" fill="var(--card)"/>)svg"
         "</pattern></defs></svg>\n";
}

std::string heat_map(const Analysis& analysis, const AdapterView& adapter) {
  const auto heat = gather(analysis, adapter);
  std::string out;
  for (std::size_t first = 0; first < heat.layers.size(); first += kLayersPerBand) {
    const auto count = std::min<std::size_t>(kLayersPerBand, heat.layers.size() - first);
    out += fmt::format("<figure><figcaption>{}</figcaption>{}</figure>\n",
                       count == 1 ? fmt::format("Layer {}", layer_text(heat.layers[first]))
                                  : fmt::format("Layers {}\u2013{}", layer_text(heat.layers[first]),
                                                layer_text(heat.layers[first + count - 1])),
                       band(analysis, adapter, heat, first, count));
  }
  return out;
}

std::string heat_map_legend(const Analysis& analysis) {
  const bool ediem = analysis.report().find_metric("ediem") != nullptr;
  constexpr int kWide = 30;
  const auto width = kWide * static_cast<int>(kSteps.size() + 1) + 2;
  std::string scale;
  for (std::size_t i = 0; i <= kSteps.size(); ++i) {
    const auto x = 1 + kWide * static_cast<int>(i);
    scale += fmt::format(R"(<rect class="{}" x="{}" y="0" width="{}" height="12"/>)",
                         i < kSteps.size() ? kSteps.at(i).style : kLastStep, x, kWide - 1);
    if (i < kSteps.size()) {
      scale += fmt::format(R"(<text class="c" x="{}" y="25">{}</text>)", x + kWide, kSteps.at(i).below);
    }
  }
  std::string out = R"(<div class="legend">)";
  out += fmt::format(
      R"(<span><svg width="{0}" height="28" viewBox="0 0 {0} 28" role="img" )"
      R"(aria-label="Colour scale from below -2, blue, over 0, neutral, to above 8, orange">{1}</svg></span>)",
      width, scale);
  out += fmt::format("<span>{}, in inter-quartile ranges from the median of its peers</span>",
                     ediem ? "E-DIEM" : for_html(title_of(analysis.rank_by())));
  constexpr const char* kCross = R"(<rect class="h3" width="15" height="15"/><path class="x0" d="M4 4l7 7m0-7l-7 7"/>)"
                                 R"(<path class="x1" d="M4 4l7 7m0-7l-7 7"/>)";
  out += fmt::format("<span>{} pruned</span>", swatch(kCross));
  out += fmt::format("<span>{} takes back more than {:.0f} % of the alignment step</span>",
                     swatch(R"(<rect class="m" width="15" height="15"/><path class="t" d="M9 0h6v6z"/>)"),
                     100 * kRemovedFlag);
  out += fmt::format("<span>{} not scored</span>", swatch(R"(<rect class="u" x=".5" y=".5" width="14" height="14"/>)"));
  out += fmt::format("<span>{} no LoRA</span>", swatch(R"(<rect class="n" x=".5" y=".5" width="14" height="14"/>)"));
  return out + "</div>\n";
}

std::string histogram(const Analysis& analysis, const AdapterView& adapter) {
  if (adapter.ranking.empty()) return {};
  constexpr int kWidth = kLabel + kCell * kLayersPerBand, kLeft = 30, kRight = kWidth - 6, kUpper = 18, kLower = 118;
  constexpr std::size_t kBins = 40;
  std::vector<double> scores;
  for (const auto m : adapter.ranking) {
    const auto score = analysis.score(adapter.index, m);
    if (std::isfinite(score)) scores.push_back(score);
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
  for (const auto m : adapter.ranking) {
    const auto score = analysis.score(adapter.index, m);
    const auto bin = std::min(kBins - 1, static_cast<std::size_t>(place(score) * kBins));
    ++all.at(bin);
    if (analysis.action(adapter.index, m) == Action::prune) ++pruned.at(bin);
  }
  const auto tallest = *std::max_element(all.begin(), all.end());
  const auto title = for_html(title_of(analysis.rank_by()));
  std::string out;
  auto put = std::back_inserter(out);
  fmt::format_to(put, "<figure><figcaption>Distribution of {}</figcaption>", title);
  fmt::format_to(
      put,
      R"(<svg width="{0}" height="150" viewBox="0 0 {0} 150" role="img" aria-label="Histogram of {1} of {2} )"
      R"(modules, median {3}, from {4} to {5}, {6} pruned">)",
      kWidth, title, scores.size(), number_text(quantile(scores, 0.5)), number_text(*smallest), number_text(*largest),
      adapter.pruned);
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
      fmt::format_to(put, "<title>{} modules, {} pruned</title></rect>", all.at(b), pruned.at(b));
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
  if (adapter.pruned != 0 && std::isfinite(adapter.cut)) {
    const auto x = kLeft + (kRight - kLeft) * place(adapter.cut);
    const bool right_half = x > (kLeft + kRight) / 2.0;
    fmt::format_to(put, R"(<path class="cut" d="M{0:.1f} 4V{1}"/>)", x, kLower);
    fmt::format_to(put, R"(<text class="s{}" x="{:.1f}" y="12">pruned {} {}</text>)", right_half ? " e" : "",
                   right_half ? x - 5 : x + 5, analysis.low_is_worse() ? "\u2264" : "\u2265", number_text(adapter.cut));
  }
  fmt::format_to(put, R"(<rect class="k" x="{}" y="139" width="9" height="9"/><text x="{}" y="147">kept</text>)", kLeft,
                 kLeft + 13);
  fmt::format_to(put, R"(<rect class="ph" x="{}" y="139" width="9" height="9"/><text x="{}" y="147">pruned</text>)",
                 kLeft + 52, kLeft + 65);
  return out + "</svg></figure>\n";
}

}  // namespace winnow::report
