#include "figures.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <iterator>
#include <map>
#include <optional>

#include "../tables/tables.hpp"
#include "../text.hpp"

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

/// Whether the metric that orders is in inter-quartile ranges from the median of its peers already.
bool is_robust(const Analysis& analysis) {
  const auto* column = methods::find_column(analysis.rank_by());
  return column != nullptr && column->form == methods::Form::robust;
}

/// The metric that orders, unchanged if it compares with peers; any other is brought to that scale: within the
/// adapter median 0 and inter-quartile range 1, and positive if misaligned.
class Shade {
 public:
  Shade(const Analysis& analysis, const AdapterView& adapter) : analysis_(analysis), as_it_is_(is_robust(analysis)) {
    if (as_it_is_) return;
    std::vector<double> scores;
    for (const auto m : adapter.ranking) scores.push_back(analysis.score(adapter.index, m));
    middle_ = quantile(scores, 0.5);
    spread_ = quantile(scores, 0.75) - quantile(scores, 0.25);
    if (analysis.low_is_worse()) spread_ = -spread_;
  }
  double operator()(std::size_t n, std::size_t m) const {
    const auto score = analysis_.score(n, m);
    if (as_it_is_ || std::isnan(score)) return score;
    return spread_ == 0 ? 0 : (score - middle_) / spread_;
  }

 private:
  const Analysis& analysis_;
  bool as_it_is_;
  double middle_ = 0, spread_ = 1;
};

struct Square {
  std::optional<std::size_t> worst;  ///< module
  double shade = 0;
  std::size_t scored = 0, unscored = 0, pruned = 0, undoing = 0;
  std::size_t modules() const { return scored + unscored; }
};

struct Heat {
  std::vector<std::string> roles;
  std::vector<std::int64_t> layers;
  std::map<std::pair<std::int64_t, std::string>, Square> cells;
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

std::string tooltip(const Analysis& analysis, std::size_t n, const Square& cell, const std::string& place) {
  if (!cell.worst) return cell.unscored == 0 ? place + ": no LoRA" : place + ": not scored";
  const auto m = *cell.worst;
  std::string text = analysis.report().modules[m].name;
  if (cell.modules() > 1) text += fmt::format(" (worst of {}, {} selected)", cell.modules(), cell.pruned);
  for (const auto& shown : shown_metrics(analysis)) {
    const auto value = shown_text(shown_cell(analysis, shown, n, m), shown.format);
    if (value == "-") continue;
    text += is_number(shown.format) ? fmt::format(", {} {}", shown.title, value) : fmt::format(" ({})", value);
  }
  if (cell.modules() == 1 && cell.pruned == 1) text += ", selected";
  return text;
}

std::string layer_text(std::int64_t layer) { return layer < 0 ? "-" : fmt::format("{}", layer); }

std::string band(const Analysis& analysis, const AdapterView& adapter, const Heat& heat, std::size_t first,
                 std::size_t count) {
  const auto height = kTop + kCell * static_cast<int>(heat.roles.size()) + 1;
  // All bands of a page are equally wide, so that they line up under each other.
  constexpr int kWidth = kFigureWidth;
  static_assert(kWidth == kLabel + kCell * kLayersPerBand);
  std::string out, crosses, triangles;
  auto put = std::back_inserter(out);
  const auto& last = heat.layers[first + count - 1];
  fmt::format_to(put,
                 R"(<svg width="{0}" height="{1}" viewBox="0 0 {0} {1}" role="img" aria-label="Layers {2} to {3}">)",
                 kWidth, height, layer_text(heat.layers[first]), layer_text(last));
  for (std::size_t r = 0; r < heat.roles.size(); ++r) {
    fmt::format_to(put, R"(<text class="e" x="{}" y="{}">{}</text>)", kLabel - 5,
                   kTop + kCell * static_cast<int>(r) + 12, for_html(elided(for_terminal(heat.roles[r]), 12)));
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
  const auto shares = [](const auto& place) { return place.second.modules() > 1; };
  if (std::any_of(heat.cells.begin(), heat.cells.end(), shares)) {
    out += "<p class=\"soft\">Of several modules in one place, as of experts, the worst is shown.</p>\n";
  }
  return out;
}

std::string heat_map_legend(const Analysis& analysis) {
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
  out += fmt::format("<span>{}, in inter-quartile ranges from the median of {}</span>",
                     for_html(title_of(analysis.rank_by())), is_robust(analysis) ? "its peers" : "the adapter");
  constexpr const char* kCross = R"(<rect class="h3" width="15" height="15"/><path class="x0" d="M4 4l7 7m0-7l-7 7"/>)"
                                 R"(<path class="x1" d="M4 4l7 7m0-7l-7 7"/>)";
  out += fmt::format("<span>{} selected</span>", swatch(kCross));
  if (analysis.knows_alignment()) {
    out += fmt::format("<span>{} takes back more than {:.0f} % of the alignment step</span>",
                       swatch(R"(<rect class="m" width="15" height="15"/><path class="t" d="M9 0h6v6z"/>)"),
                       100 * kRemovedFlag);
  }
  out += fmt::format("<span>{} not scored</span>", swatch(R"(<rect class="u" x=".5" y=".5" width="14" height="14"/>)"));
  out += fmt::format("<span>{} no LoRA</span>", swatch(R"(<rect class="n" x=".5" y=".5" width="14" height="14"/>)"));
  return out + "</div>\n";
}

}  // namespace winnow::report
