// Which attention heads do most: shares by hand, and how table, page and JSON tell them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>
#include <string>

#include "head_shares.hpp"
#include "sample.hpp"
#include "winnow/report/render.hpp"

namespace winnow::report {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using testing::kNaN;
using ::testing::Not;
using testing::sample;
using testing::with_heads;

/// Probes of length 2 in one module of layer 0 and nothing elsewhere; their products with heads are those of
/// with_heads().
Report probed(std::size_t adapters, std::size_t layers, const std::vector<std::pair<const char*, const char*>>& probes,
              std::uint64_t query = 4) {
  auto report = sample(adapters, layers);
  const auto modules = report.modules.size();
  for (const auto& [effect, form] : probes) {
    report.probes.push_back({"probe", effect, form, "probes/p", std::string(64, 'a')});
    for (std::size_t m = 0; m < modules; ++m) report.probe_norms.push_back(m == 0 ? 2 : 0);
    report.probe_dots.insert(report.probe_dots.end(), adapters * modules, 0.5);
    report.probe_blocks.insert(report.probe_blocks.end(), adapters * modules, kNaN);
  }
  report.metrics.push_back({"probe_dot", "1", "", std::vector<double>(adapters * modules, 0.1)});
  return with_heads(std::move(report), query);
}

std::optional<HeadShares> shares_of(const Report& report, std::size_t place = 0) {
  const Analysis analysis(report);
  return head_shares(report, analysis.adapters().at(place));
}

/// Sets all products of a probe with the first adapter.
void set(Report& report, std::size_t k, const std::vector<double>& values) {
  const auto cells = report.heads->attention.size() * report.heads->query;
  for (std::size_t cell = 0; cell < cells; ++cell) {
    report.heads->dots[k * report.adapters.size() * cells + cell] = cell < values.size() ? values[cell] : 0;
  }
}

TEST(Heads, ShareWhatRunsAlongTheProbesAndNotWhatRunsAgainstThem) {
  auto report = probed(1, 2, {{"harmful", "direction"}});
  set(report, 0, {1, -8, 0, 2, 5, kNaN, 0, -1});
  const auto shares = shares_of(report);
  ASSERT_TRUE(shares);
  ASSERT_EQ(shares->largest.size(), 3U);
  EXPECT_EQ(head_name(*report.heads, shares->largest[0]), "layer 1 head 0");
  EXPECT_DOUBLE_EQ(shares->largest[0].share, 0.625);
  EXPECT_EQ(head_name(*report.heads, shares->largest[1]), "layer 0 head 3");
  EXPECT_DOUBLE_EQ(shares->largest[1].share, 0.25);
  EXPECT_DOUBLE_EQ(shares->largest[2].share, 0.125);
  EXPECT_DOUBLE_EQ(shares->values[1], -1.6);
  EXPECT_TRUE(std::isnan(shares->values[5]));
  EXPECT_EQ(
      heads_text(*report.heads, *shares),
      "what attention heads do along the directions lies in layer 1 head 0 (62 %), layer 0 head 3 (25 %), layer 0 "
      "head 0 (12 %); 1 of 7 heads holds half of it");
}

TEST(Heads, DirectionsAreBelievedAndAdaptersOnlyIfThereAreNone) {
  auto report = probed(1, 1, {{"harmful", "adapter"}, {"safe", "direction"}, {"harmful", "direction"}});
  set(report, 0, {100, 0, 0, 0});
  set(report, 1, {0, -3, 1, 0});  // safe: what runs against it is worse
  set(report, 2, {0, 0, 4, 0});
  auto shares = shares_of(report);
  ASSERT_TRUE(shares && shares->of_directions);
  ASSERT_EQ(shares->largest.size(), 2U);
  EXPECT_EQ(shares->largest[0].head, 1U);
  EXPECT_DOUBLE_EQ(shares->largest[0].share, 0.5);
  EXPECT_EQ(shares->largest[1].head, 2U);
  // A probe counts at length 1, whatever its size.
  for (std::size_t m = 0; m < report.modules.size(); ++m) report.probe_norms[2 * report.modules.size() + m] *= 1000;
  shares = shares_of(report);
  ASSERT_EQ(shares->largest.size(), 1U);
  EXPECT_EQ(shares->largest[0].head, 1U);
  // Of directions that know nothing of the adapter's heads nothing is taken.
  set(report, 1, {kNaN, kNaN, kNaN, kNaN});
  set(report, 2, {kNaN, kNaN, kNaN, kNaN});
  shares = shares_of(report);
  ASSERT_TRUE(shares && !shares->of_directions);
  EXPECT_EQ(shares->largest[0].head, 0U);
  EXPECT_THAT(heads_text(*report.heads, *shares), HasSubstr("along the probes lies in layer 0 head 0 (100 %)"));
}

TEST(Heads, OfAnySizeAndOfNothing) {
  auto report = probed(1, 1, {{"harmful", "direction"}});
  for (const double size : {1e-300, 1.0, 1e300}) {
    set(report, 0, {size, 3 * size, size, -size});
    const auto shares = shares_of(report);
    ASSERT_TRUE(shares);
    EXPECT_DOUBLE_EQ(shares->largest[0].share, 0.6) << size;
  }
  set(report, 0, {-1, -2, 0, kNaN});
  EXPECT_FALSE(shares_of(report));
  set(report, 0, {kNaN, kNaN, kNaN, kNaN});
  EXPECT_FALSE(shares_of(report));
  report.heads.reset();
  EXPECT_FALSE(shares_of(report));
}

TEST(Heads, OfSeveralAttentionsOfOneNumberTheNameTells) {
  auto report = probed(1, 1, {{"harmful", "direction"}});
  report.heads->attention = {{"encoder.layers.0.self_attn", 0}, {"decoder.layers.0.self_attn", 0}};
  EXPECT_EQ(head_name(*report.heads, {1, 3, 1.0}), "decoder.layers.0.self_attn head 3");
  report.heads->attention = {{"attention", -1}};
  EXPECT_EQ(head_name(*report.heads, {0, 3, 1.0}), "attention head 3");
}

TEST(Heads, AreInTheTableAndThePageOfAReportThatHasThem) {
  auto report = probed(1, 2, {{"harmful", "direction"}});
  const auto line = "heads: what attention heads do along the directions lies in layer 1 head 3 (";
  EXPECT_THAT(render_table(report, {5, 400, 0}),
              AllOf(HasSubstr(line), HasSubstr("Modules of attention that are in no head (1): "
                                               "model.layers.0.self_attn.qkv_proj holds q, k and v in an order")));
  const auto page = render_html(report);
  EXPECT_THAT(page, AllOf(HasSubstr("What attention heads do along the directions lies in layer 1 head 3 ("),
                          HasSubstr("Attention heads by layers"), HasSubstr("4 attention heads of 2 layers"),
                          HasSubstr("Modules of attention that are in no head (1)")));
  report.heads.reset();
  EXPECT_THAT(render_table(report, {5, 400, 0}), AllOf(Not(HasSubstr("attention heads")), Not(HasSubstr("no head"))));
  EXPECT_THAT(render_html(report), AllOf(Not(HasSubstr("ttention heads")), Not(HasSubstr("no head"))));
  EXPECT_THAT(render_json(report), Not(HasSubstr("\"heads\"")));
}

TEST(Heads, NamesOfStrangersAreEscaped) {
  auto report = probed(1, 1, {{"harmful", "direction"}});
  report.heads->attention[0] = {"<script>\x1b[31m", -1};
  report.heads->headless = {{"<b>q_proj", "a \"reason\" & more"}};
  EXPECT_THAT(render_html(report), AllOf(Not(HasSubstr("<script>\\")), Not(HasSubstr("<b>q")), HasSubstr("&lt;b&gt;"),
                                         HasSubstr("&lt;script&gt;"), Not(HasSubstr("\x1b"))));
  EXPECT_THAT(render_table(report, {5, 100, 0}), Not(HasSubstr("\x1b")));
}

/// Up to `count` numbers that follow `begin`, each after at most one character of another kind.
std::vector<int> numbers_after(const std::string& text, const std::string& begin, std::size_t count) {
  std::vector<int> numbers;
  const auto found = text.find(begin);
  if (found == std::string::npos) return numbers;
  std::istringstream rest(text.substr(found + begin.size()));
  for (int number = 0; numbers.size() < count && rest >> number; rest.get()) numbers.push_back(number);
  return numbers;
}

/// Every coordinate of the map lies within it.
TEST(Heads, TheMapFitsItsFrameWhateverTheModel) {
  struct Size {
    std::size_t layers;
    std::uint64_t heads;
  };
  for (const auto& [layers, heads] : {Size{1, 4}, Size{6, 4}, Size{32, 32}, Size{80, 64}, Size{126, 128}}) {
    const auto page = render_html(probed(1, layers, {{"harmful", "direction"}}, heads));
    const auto begin = page.find("Attention heads by layers");
    ASSERT_NE(begin, std::string::npos);
    const auto map = page.substr(begin, page.find("</svg>", begin) - begin);
    const auto box = numbers_after(map, "viewBox=\"", 4);
    ASSERT_EQ(box.size(), 4U);
    const int width = box[2], height = box[3];
    EXPECT_LE(width, 420) << "narrower than a telephone lying on its side";
    EXPECT_LE(height, 420);
    std::size_t cells = 0;
    for (auto at = map.find('M'); at != std::string::npos; at = map.find('M', at + 1)) {
      const auto cell = numbers_after(map.substr(at, 60), "M", 4);  // M<x> <y>h<width>v<height>
      if (cell.size() < 4) continue;
      ++cells;
      EXPECT_LE(cell[0] + cell[2], width);
      EXPECT_LE(cell[1] + cell[3], height);
      EXPECT_GT(cell[2], 0);
    }
    EXPECT_EQ(cells, layers * heads);
    EXPECT_LT(map.size(), 20 * layers * heads + 6000) << "a page of twenty of them must stay small";
  }
}

TEST(Heads, AreInJsonWithTheirShares) {
  const auto report = probed(2, 2, {{"harmful", "direction"}, {"safe", "adapter"}});
  const auto json = nlohmann::json::parse(render_json(report));
  const auto& heads = json.at("heads");
  EXPECT_EQ(heads.at("num_attention_heads"), 4);
  EXPECT_EQ(heads.at("attention").at(1).at("name"), "model.layers.1.self_attn");
  EXPECT_EQ(heads.at("headless").size(), 1U);
  ASSERT_EQ(heads.at("dot").size(), 2U);
  ASSERT_EQ(heads.at("dot")[1].size(), 2U);
  ASSERT_EQ(heads.at("dot")[1][0].size(), 2U);
  EXPECT_DOUBLE_EQ(heads.at("dot")[0][0][1][3].get<double>(), 6e-3);
  EXPECT_DOUBLE_EQ(heads.at("dot")[1][0][1][3].get<double>(), -6e-3);
  EXPECT_TRUE(heads.at("dot")[0][1][1][3].is_null());
  ASSERT_EQ(heads.at("largest").size(), 2U);
  EXPECT_EQ(heads.at("largest")[0][0].at("layer"), 1);
  EXPECT_EQ(heads.at("largest")[0][0].at("head"), 3);
  EXPECT_DOUBLE_EQ(heads.at("largest")[0][0].at("share").get<double>(), 6.0 / 21);
  EXPECT_EQ(heads.at("largest")[1][0].at("head"), 2) << "of the second adapter the last head is not known";
}

}  // namespace
}  // namespace winnow::report
