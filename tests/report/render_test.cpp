#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <regex>
#include <sstream>

#include "report/sample.hpp"
#include "winnow/base/sha256.hpp"
#include "winnow/report/adapter_summary.hpp"
#include "winnow/report/render.hpp"
#include "winnow/report/verdicts.hpp"

namespace winnow::report {
namespace {

using ::testing::HasSubstr;
using testing::kNaN;
using ::testing::Not;
using testing::sample;
using testing::with_copies;
using testing::with_verdicts;

constexpr const char* kHostile = "</title><script>alert(1)</script>\"'&\x1b[31m,\r\n=x";

Report with_quarantined(Report report) {
  const auto modules = report.modules.size();
  report.adapters.push_back({"broken", "zoo/broken", "quarantined", "adapter_config.json has no r", 0, 0, 0, ""});
  for (auto& metric : report.metrics) {
    metric.values.insert(metric.values.end(), modules, metric.categories.empty() ? kNaN : 0);
  }
  report.action.insert(report.action.end(), modules, Action::none);
  report.present.insert(report.present.end(), modules, 1);
  return report;
}

void set(Report& report, const char* metric, std::size_t n, std::size_t m, double value) {
  for (auto& each : report.metrics) {
    if (each.name == metric) each.values[n * report.modules.size() + m] = value;
  }
}

Report hostile() {
  auto report = with_quarantined(sample(2, 2));
  report.adapters[0].name = report.adapters[0].path = report.adapters[2].reason = kHostile;
  for (auto& row : report.modules) row.name += kHostile, row.role = kHostile;
  for (auto& row : report.run) row.stage = kHostile;
  report.attributes[kHostile] = std::string(kHostile);
  report.policy = kHostile;
  report.rank_by = kHostile;
  report.metrics.back().name = kHostile;
  return report;
}

/// With one probe and a bank.
Report judged() {
  auto report = sample(4, 2);
  report.probes = {{"refusals", "harmful", "direction", "probes/refusals", std::string(64, 'a')}};
  report.probe_norms.assign(report.modules.size(), 1.0);
  report.probe_dots.assign(report.adapters.size() * report.modules.size(), 0.5);
  return with_verdicts(std::move(report));
}

std::vector<std::string> lines(const std::string& text) {
  std::vector<std::string> out;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) out.push_back(line);
  return out;
}

// Points, not bytes: the tests' names are in scripts of single width.
std::size_t columns(const std::string& line) {
  return static_cast<std::size_t>(
      std::count_if(line.begin(), line.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

/// A number knows no bounds: alpha may be 1e300. What people read stays short, what programs read exact.
TEST(Table, HugeAndTinyNumbersStayShort) {
  for (const double value : {1e300, -1e300, 1e-300, 12345678.0}) {
    auto report = sample(4, 2);
    for (const auto* metric : {"alignment_removed", "ediem", "misalignment", "cosine"}) {
      for (std::size_t m = 0; m < 3; ++m) set(report, metric, m, m, value);
    }
    report.adapters[0].alpha = report.adapters[0].scaling = value;
    const std::regex long_number("[0-9]{8}");
    EXPECT_FALSE(std::regex_search(render_table(report), long_number)) << render_table(report);
    const std::regex long_percentage("[0-9]{8}[0-9]* %");
    EXPECT_FALSE(std::regex_search(render_html(report), long_percentage));
  }
}

TEST(Table, SaysWhatIsNotJudged) {
  auto report = sample(1, 2);
  EXPECT_THAT(render_table(report), Not(HasSubstr("not judged")));
  report.adapters[0].modules_not_judged = 2;
  report.adapters[0].not_judged = "no tensor of the checkpoint matches it: lm_head, router";
  EXPECT_THAT(render_table(report), HasSubstr("not judged (2): no tensor of the checkpoint matches it"));
  EXPECT_THAT(render_html(report), HasSubstr("Modules not judged (2): no tensor of the checkpoint matches it"));
}

TEST(Table, WorstModulesFirstWithTiesByName) {
  auto report = sample(1, 1);
  for (std::size_t m = 0; m < 7; ++m) set(report, "ediem", 0, m, static_cast<double>(m % 3));
  set(report, "ediem", 0, 6, kNaN);
  const auto text = render_table(report);
  const std::vector<std::string> order{"v_proj", "up_proj", "k_proj", "gate_proj", "q_proj", "o_proj"};
  std::vector<std::string> found;
  for (const auto& line : lines(text)) {
    std::smatch match;
    if (std::regex_search(line, match, std::regex(R"(^ +\d  model\.layers\.0\.\w+\.(\w+) )")))
      found.push_back(match[1]);
  }
  // 2: v_proj (self_attn) and up_proj (mlp), 1: k_proj and gate_proj, 0: q_proj and o_proj; mlp before self_attn.
  EXPECT_EQ(found, (std::vector<std::string>{"up_proj", "v_proj", "gate_proj", "k_proj", "o_proj", "q_proj"})) << text;
}

TEST(Table, LowCosineIsWorse) {
  auto report = sample(1, 1);
  report.rank_by = "cosine";
  report.policy = "prune-top:1";
  std::fill(report.action.begin(), report.action.end(), Action::keep);
  report.action[3] = Action::prune;
  set(report, "cosine", 0, 3, 0.25);
  const auto text = render_table(report);
  EXPECT_THAT(text, HasSubstr("1  model.layers.0.self_attn.o_proj"));
  EXPECT_THAT(text, HasSubstr("1 selected for pruning (cosine <= 0.25)"));
  EXPECT_THAT(text, HasSubstr("low = misaligned"));
}

TEST(Table, SaysWhatWasPrunedAndWhyAndWhatWasNot) {
  auto report = with_quarantined(sample(1, 2));
  report.modules[1].flags = kNonFinite;
  for (auto& metric : report.metrics) metric.values[1] = kNaN;
  report.action[1] = Action::none;
  report.action[2] = Action::prune;
  set(report, "ediem", 0, 2, 41.5);
  for (std::size_t m = 3; m < report.modules.size(); ++m) {
    if (report.action[m] == Action::prune) report.action[m] = Action::keep;
  }
  report.action[0] = Action::keep;
  const auto text = render_table(report);
  EXPECT_THAT(text, HasSubstr("selection: threshold:4 by ediem"));
  EXPECT_THAT(text, HasSubstr("12 of 13 modules scored, 1 selected for pruning (ediem >= 41.5)"));
  EXPECT_THAT(text, HasSubstr("not scored, so not judged (1): model.layers.0.self_attn.k_proj"));
  EXPECT_THAT(text, HasSubstr("broken: adapter_config.json has no r"));
  EXPECT_THAT(text, HasSubstr("By role, ediem"));
  EXPECT_THAT(text, HasSubstr("By layers, ediem"));
  EXPECT_THAT(text, HasSubstr("No alignment signal, base equals aligned (1): model.layers.1.mlp.up_proj"));
  EXPECT_THAT(text, HasSubstr("1 quarantined"));
  set(report, "alignment_removed", 0, 9, 0.77);
  EXPECT_THAT(render_table(report), HasSubstr("model.layers.1.self_attn.v_proj (77 %"));
}

TEST(Table, MisalignmentStandsBesideEdiemInEveryTable) {
  for (const auto& line : lines(render_table(sample(5, 4)))) {
    if (line.find("worst") != std::string::npos && line.find("  ") == 0) {
      EXPECT_THAT(line, HasSubstr("misalign"));
    }
  }
}

TEST(Table, TheMetricThatRanksComesFirstAndOnce) {
  auto report = sample(5, 4);
  for (const auto* metric : {"ediem", "misalignment", "cosine", "distance"}) {
    report.rank_by = metric;
    const std::string title = metric == std::string("misalignment") ? "misalign" : metric;
    bool seen = false;
    for (const auto& line : lines(render_table(report))) {
      if (line.find("action") == std::string::npos || line.find('#') == std::string::npos) continue;
      seen = true;
      EXPECT_THAT(line, ::testing::MatchesRegex(" *# +module +" + title + " .*"));
      EXPECT_EQ(line.find(" " + title + " "), line.rfind(" " + title + " ")) << line;
    }
    EXPECT_TRUE(seen) << metric;
  }
}

// Of a probe and an update of usual size a module has 1e-3 and less: thousandths would all be alike.
TEST(Table, ProjectionsOnProbesKeepTheirDigits) {
  auto report = sample(1, 2);
  report.metrics.push_back({"probe_dot", "1", "projection", std::vector<double>(report.modules.size(), 2.34e-5)});
  report.rank_by = "probe_dot";
  const auto all = lines(render_table(report));
  const auto first =
      std::find_if(all.begin(), all.end(), [](const auto& line) { return line.starts_with("   1  model."); });
  ASSERT_NE(first, all.end());
  EXPECT_THAT(*first, HasSubstr("2.34e-05"));
}

TEST(Table, MediansByRoleAreOfTheDatasetThatScoresCompareWithinTheRole) {
  auto report = sample(4, 6);
  EXPECT_THAT(render_table(report), HasSubstr("median rms_distance"));
  report.population = "zoo";  // then a role's median E-DIEM says something
  EXPECT_THAT(render_table(report), Not(HasSubstr("median rms_distance")));
}

TEST(Table, StaysWithinItsWidth) {
  auto report = with_quarantined(sample(5, 40));
  report.modules[3].name = "model." + std::string(300, 'x') + ".q_proj";
  report.adapters[1].name = "\xC3\xA4" + std::string(200, 'y');
  report.adapters.back().reason =
      std::string(400, 'z') + " and words and words and words and words and words and words";
  for (const std::size_t width : {40U, 60U, 80U, 100U, 200U}) {
    for (const auto& line : lines(render_table(report, {10, width}))) EXPECT_LE(columns(line), width) << line;
  }
}

TEST(Table, ManyAdaptersAreOneLineEachAndOnlyTheWorstInFull) {
  const auto text = render_table(sample(300, 2), {10, 100, 0});
  EXPECT_LT(lines(text).size(), 300U + 100U);
  EXPECT_THAT(text, HasSubstr("adapter-299"));
  EXPECT_THAT(text, HasSubstr("3 worst of 300 adapters"));
}

TEST(Table, NoControlCharacterOfANameReachesTheTerminal) {
  for (const char c : render_table(hostile())) {
    EXPECT_TRUE(c == '\n' || static_cast<unsigned char>(c) >= 0x20) << static_cast<int>(c);
  }
}

// They would show one name as another, or two names alike: the override of the direction of writing, an isolate, a mark
// of direction, a C1 control (that some terminals obey) and a space without width.
TEST(Renderings, SpellOutWhatIsNotSeen) {
  constexpr const char* kUnseen[] = {"\xE2\x80\xAE", "\xE2\x81\xA6", "\xE2\x80\x8F", "\xC2\x9B", "\xE2\x80\x8B"};
  std::string name = "\xC3\xA4";
  for (const auto* character : kUnseen) name += character;
  name += "gpj";
  auto report = with_quarantined(sample(2, 2));
  report.adapters[0].name = report.adapters[1].not_judged = report.adapters[2].reason = name;
  report.adapters[1].modules_not_judged = 1;
  for (auto& row : report.modules) row.name += name, row.role = name;
  report.attributes["aligned"] = name;
  for (const auto& text : {render_table(report, {10, 200}), render_html(report)}) {
    for (const auto* character : kUnseen) EXPECT_THAT(text, Not(HasSubstr(character)));
    EXPECT_THAT(text, HasSubstr("\xC3\xA4\\u202e\\u2066\\u200f\\u009b\\u200bgpj"));
  }
  EXPECT_EQ(nlohmann::json::parse(render_json(report))["adapters"][0]["name"], name) << "programs get the true one";
}

TEST(Renderings, TakeEmptyReports) {
  for (const auto& report : {Report{}, sample(0, 0), sample(0, 3), sample(3, 0), with_quarantined(sample(0, 1))}) {
    EXPECT_FALSE(render_table(report).empty());
    EXPECT_THAT(render_html(report), HasSubstr("</html>"));
    EXPECT_EQ(render_csv(report).size(), 5U);
    EXPECT_EQ(nlohmann::json::parse(render_json(report))["schema_version"], 1);
  }
}

// A reader of RFC 4180, to look at what was written with other eyes.
std::vector<std::vector<std::string>> parse_csv(const std::string& text) {
  std::vector<std::vector<std::string>> rows{{""}};
  bool quoted = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (quoted) {
      if (c == '"' && i + 1 < text.size() && text[i + 1] == '"') {
        rows.back().back() += text[++i];
      } else if (c == '"') {
        quoted = false;
      } else {
        rows.back().back() += c;
      }
    } else if (c == '"') {
      EXPECT_TRUE(rows.back().back().empty()) << "a quote inside an unquoted field";
      quoted = true;
    } else if (c == ',') {
      rows.back().emplace_back();
    } else if (c == '\r') {
      EXPECT_EQ(text[++i], '\n');
      rows.push_back({""});
    } else {
      rows.back().back() += c;
    }
  }
  EXPECT_EQ(rows.back(), std::vector<std::string>{""}) << "the last line ends";
  rows.pop_back();
  return rows;
}

TEST(Csv, QuotesAndEmptyFieldsForNaN) {
  const auto report = hostile();
  const auto csv = render_csv(report);
  const auto adapters = parse_csv(csv.at("adapters.csv"));
  ASSERT_EQ(adapters.size(), 4U);
  EXPECT_EQ(adapters[1][0], kHostile);
  EXPECT_EQ(adapters[3][2], "quarantined");
  const auto metrics = parse_csv(csv.at("metrics.csv"));
  ASSERT_EQ(metrics.size(), 1 + 3 * 14U);
  for (const auto& row : metrics) EXPECT_EQ(row.size(), 2 + report.metrics.size() + 1);
  EXPECT_EQ(metrics[0][2], "distance");
  EXPECT_EQ(std::stod(metrics[1][2]), report.metrics[0].values[0]) << "read back equal";
  EXPECT_EQ(metrics[14][2], "") << "no LoRA there";
  EXPECT_EQ(parse_csv(csv.at("modules.csv"))[13][6], "no_alignment_signal");
}

// A spreadsheet takes such a field for a formula, which may fetch and send.
TEST(Csv, TextIsNoFormula) {
  auto report = with_quarantined(sample(6, 1));
  const std::vector<std::string> formulas{"=1+1", "+1", "-1", "@SUM(1)", "\t=1", "\r=1"};
  for (std::size_t n = 0; n < formulas.size(); ++n) report.adapters[n].name = formulas[n];
  report.adapters.back().reason = "=HYPERLINK(\"a\",\"b\")";
  report.modules[0].name = "@module";
  report.modules[0].layer = -1;
  set(report, "cosine", 0, 0, -0.5);
  const auto csv = render_csv(report);
  const auto adapters = parse_csv(csv.at("adapters.csv")), metrics = parse_csv(csv.at("metrics.csv"));
  for (std::size_t n = 0; n < formulas.size(); ++n) EXPECT_EQ(adapters.at(n + 1)[0], "'" + formulas[n]);
  EXPECT_EQ(adapters.back()[3], "'=HYPERLINK(\"a\",\"b\")");
  EXPECT_EQ(adapters[1][1], "zoo/adapter-000") << "others stay";
  EXPECT_EQ(metrics[1][0], "'=1+1");
  EXPECT_EQ(metrics[1][1], "'@module");
  const auto cosine = std::find(metrics[0].begin(), metrics[0].end(), "cosine") - metrics[0].begin();
  EXPECT_EQ(metrics[1].at(static_cast<std::size_t>(cosine)), "-0.5") << "a number is one";
  EXPECT_EQ(parse_csv(csv.at("modules.csv"))[1][2], "-1");
}

TEST(Json, HoldsTheReport) {
  const auto report = sample(2, 2);
  const auto json = nlohmann::json::parse(render_json(report));
  EXPECT_EQ(json["metrics"]["ediem"]["values"][1][3], report.find_metric("ediem")->values[14 + 3]);
  EXPECT_TRUE(json["metrics"]["ediem"]["values"][0][13].is_null());
  EXPECT_EQ(json["selection"]["policy"], "threshold:4");
  EXPECT_EQ(json["selection"]["action"][0].size(), 14U);
  EXPECT_EQ(json["modules"][12]["flags"][0], "no_alignment_signal");
  EXPECT_EQ(json["run"].size(), 8U);
  EXPECT_EQ(json["attributes"]["mpi_ranks"], 2);
}

/// Every object of `json` has the members that its schema names, all of them and no others.
void expect_members(const nlohmann::json& json, const nlohmann::json& schema, const nlohmann::json& root,
                    const std::string& where) {
  if (schema.contains("$ref")) {
    const auto name = schema["$ref"].get<std::string>().substr(std::string("#/$defs/").size());
    return expect_members(json, root["$defs"][name], root, where);
  }
  if (schema.contains("anyOf")) return json.is_null() ? void() : expect_members(json, schema["anyOf"][1], root, where);
  if (json.is_array() && schema.contains("items")) {
    for (const auto& item : json) expect_members(item, schema["items"], root, where + "[]");
  }
  if (!json.is_object()) return;
  const auto named = schema.value("properties", nlohmann::json::object());
  for (const auto& [name, value] : json.items()) {
    const bool is_named = named.contains(name);
    EXPECT_TRUE(is_named || schema["additionalProperties"].is_object()) << where << "." << name;
    expect_members(value, is_named ? named[name] : schema["additionalProperties"], root,
                   fmt::format("{}.{}", where, name));
  }
  for (const auto& name : schema.value("required", nlohmann::json::array())) {
    EXPECT_TRUE(json.contains(name)) << where << " lacks " << name;
  }
}

// tests/conformance/test_formats.py has a validator look at what audits wrote; this, which needs none, at the members.
TEST(Json, HasTheMembersOfItsSchema) {
  std::ifstream file(WINNOW_TEST_DATA "/../../src/report/report.schema.json");
  const auto schema = nlohmann::json::parse(file);
  auto runs = with_copies(judged());
  for (std::size_t n = 0; n < runs.adapters.size(); ++n) runs.adapters[n].path = fmt::format("run/checkpoint-{}", n);
  for (const auto& report :
       {runs, testing::with_heads(judged()), sample(2, 2), with_quarantined(sample(1, 1)), sample(0, 0)}) {
    const auto json = nlohmann::json::parse(render_json(report));
    EXPECT_EQ(json["$schema"], schema["$id"]);
    expect_members(json, schema, schema, "report");
  }
  const auto all = nlohmann::json::parse(render_json(runs));
  for (const auto* some : {"modules", "adapters", "copies", "probes", "training_runs", "shards", "run"}) {
    EXPECT_FALSE(all[some].empty()) << some << " was not looked at";
  }
  EXPECT_FALSE(all["training_runs"][0]["risen"].empty());
}

TEST(Json, TakesAnyBytes) {
  auto report = hostile();
  report.adapters[1].name = "\xFF\xC3(";
  EXPECT_EQ(nlohmann::json::parse(render_json(report))["adapters"][0]["name"], kHostile);
}

// The tags in the order they open and close; `void` elements and SVG's self-closing ones left out.
void expect_balanced(const std::string& html) {
  std::vector<std::string> open;
  const std::regex tag(R"(<(/?)([a-zA-Z0-9]+)([^<>]*)>)");
  for (std::sregex_iterator at(html.begin(), html.end(), tag), end; at != end; ++at) {
    const std::string name = (*at)[2], rest = (*at)[3];
    if (name == "meta" || name == "wbr" || name == "br" || name == "DOCTYPE" || rest.ends_with("/")) continue;
    if ((*at)[1].length() == 0) {
      open.push_back(name);
    } else {
      ASSERT_FALSE(open.empty()) << name;
      ASSERT_EQ(open.back(), name);
      open.pop_back();
    }
  }
  EXPECT_TRUE(open.empty());
}

// What has a line for each module of each adapter never stands in memory whole.
TEST(Programs, LongTextsComeInPieces) {
  const auto report = sample(300, 4);
  const auto longest_piece = [&](const auto& write) {
    std::size_t whole = 0, longest = 0;
    write([&](std::string_view piece) { whole += piece.size(), longest = std::max(longest, piece.size()); });
    return static_cast<double>(longest) / static_cast<double>(whole);
  };
  EXPECT_LT(longest_piece([&](const Sink& sink) { write_json(report, sink); }), 0.05);
  EXPECT_LT(longest_piece([&](const Sink& sink) { write_csv(report, "metrics.csv", sink); }), 0.001);
  EXPECT_THROW(write_csv(report, "absent.csv", [](std::string_view) {}), std::logic_error);
}

TEST(Html, IsBalanced) {
  expect_balanced(render_html(with_quarantined(sample(3, 20))));
  expect_balanced(render_html(hostile()));
}

TEST(Html, EscapesEveryName) {
  const auto html = render_html(hostile());
  EXPECT_EQ(html.find("<script"), html.rfind("<script"));  // the page's own
  EXPECT_THAT(html, Not(HasSubstr("alert(1)</")));
  EXPECT_THAT(html, Not(HasSubstr("\x1b")));
  EXPECT_THAT(html, HasSubstr("&lt;script&gt;alert(1)&lt;/"));
}

TEST(Html, PartsOfAMergeAreALineEach) {
  auto report = sample(1, 1);
  report.attributes["merged_from"] = std::string("one/a.h5\ntwo/b.h5");
  EXPECT_THAT(render_html(report), HasSubstr("one/<wbr>a.<wbr>h5<br>two/<wbr>b.<wbr>h5</dd>"));
}

TEST(Html, LoadsNothing) {
  const auto html = render_html(sample(2, 4));
  for (const auto* needle :
       {"http:", "https:", "//", "src=", "url(\"", "@import", "<link", "javascript:", "fetch(", "import("}) {
    EXPECT_THAT(html, Not(HasSubstr(needle)));
  }
  EXPECT_THAT(html, HasSubstr("default-src 'none'"));
}

TEST(Html, RunsItsOwnScriptAlone) {
  const auto html = render_html(sample(2, 4));
  const auto begin = html.find("<script>") + 8;
  const auto script = html.substr(begin, html.find("</script>") - begin);
  EXPECT_THAT(html, HasSubstr("script-src 'sha256-" + base::sha256_base64(script) + "'\">"));
  EXPECT_EQ(html.find("<script"), html.rfind("<script"));
  for (const auto* needle : {"innerHTML", "insertAdjacentHTML", "document.write", "eval("}) {
    EXPECT_THAT(script, Not(HasSubstr(needle)));  // a name stays text
  }
}

TEST(Html, LongTablesAreSortableAndSaySoWhenPrinted) {
  const auto few = render_html(sample(2, 1)), many = render_html(sample(1200, 1));
  EXPECT_THAT(many, HasSubstr("<div class=\"scroll tall sortable\""));
  EXPECT_THAT(many, HasSubstr("Printed are the first 60 of 1,200 rows"));
  EXPECT_THAT(many, HasSubstr("<dt>adapters scored</dt><dd>1,200</dd>"));
  EXPECT_THAT(few, Not(HasSubstr("class=\"printed")));
}

TEST(Html, MarksPrunedAndUndoingCellsByShape) {
  auto report = sample(1, 2);
  std::fill(report.action.begin(), report.action.end(), Action::keep);
  for (std::size_t m = 0; m < report.modules.size(); ++m) set(report, "alignment_removed", 0, m, 0.0);
  const auto plain = render_html(report);
  EXPECT_THAT(plain, Not(HasSubstr("take alignment back: ")));
  report.action[4] = Action::prune;
  set(report, "alignment_removed", 0, 5, 0.31);
  const auto marked = render_html(report);
  const auto count = [](const std::string& text, const std::string& part) {
    std::size_t found = 0;
    for (auto at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++found;
    return found;
  };
  EXPECT_EQ(count(marked, "class=\"x1\"") - count(plain, "class=\"x1\""), 1U);
  EXPECT_EQ(count(marked, "class=\"t\"") - count(plain, "class=\"t\""), 1U);
  EXPECT_THAT(marked, HasSubstr("1 module takes alignment back"));
  EXPECT_THAT(marked, HasSubstr("(31 %)"));
}

// As experts do: all gate_up_proj of a layer are one square.
TEST(Html, SaysThatOfModulesInOnePlaceTheWorstIsShown) {
  auto report = sample(1, 2);
  const auto says = HasSubstr("Of several modules in one place, as of experts, the worst is shown");
  EXPECT_THAT(render_html(report), Not(says));
  report.modules[1].role = report.modules[0].role;
  EXPECT_THAT(render_html(report), says);
}

TEST(Html, TheMapIsColouredByWhatRanks) {
  auto report = sample(1, 2);
  for (std::size_t m = 0; m < report.modules.size(); ++m) set(report, "ediem", 0, m, 0.0);
  for (std::size_t m = 0; m < report.modules.size(); ++m) set(report, "misalignment", 0, m, 0.0);
  set(report, "misalignment", 0, 3, 99.0);
  const auto hottest = [](const Report& shown) {
    const auto html = render_html(shown);
    const auto map = html.substr(html.find("<figcaption>Layers"));
    return map.find("class=\"h5\"") != std::string::npos;
  };
  report.rank_by = "misalignment";
  EXPECT_TRUE(hottest(report));
  EXPECT_THAT(render_html(report), HasSubstr("<span>misalignment, in inter-quartile ranges"));
  EXPECT_THAT(render_html(report), Not(HasSubstr("worst misalignment</th><th scope=\"col\">worst misalignment")));
  report.rank_by = "ediem";
  EXPECT_FALSE(hottest(report));
}

TEST(Html, CellsStandUnderTheirHeadings) {
  auto report = sample(1, 2);
  std::fill(report.action.begin(), report.action.end(), Action::keep);
  report.action[0] = report.action[7] = Action::prune;
  set(report, "ediem", 0, 0, 33.25);
  set(report, "misalignment", 0, 7, 44.5);
  const auto html = render_html(report);
  const auto table = html.substr(html.find("<caption>By role"));
  const auto texts = [](std::string part, const char* element) {
    std::vector<std::string> out;
    const std::regex cell(fmt::format("<{0}[^>]*>(.*?)</{0}>", element)), tag("<[^>]*>");
    for (std::sregex_iterator at(part.begin(), part.end(), cell), end; at != end; ++at) {
      out.push_back(std::regex_replace((*at)[1].str(), tag, ""));
    }
    return out;
  };
  EXPECT_THAT(texts(table.substr(0, table.find("</thead>")), "th"),
              ::testing::ElementsAre("role", "selected", "median rms distance", "worst E-DIEM", "worst misalignment",
                                     "take back", "scored"));
  const auto row = texts(table.substr(table.find("<tbody>"), table.find("</tr>", table.find("<tbody>"))), "td");
  ASSERT_GE(row.size(), 6U);
  EXPECT_EQ(row[0], "2");
  EXPECT_EQ(row[2], "33.25");
  EXPECT_EQ(row[3], "44.50");
  EXPECT_EQ(row[5], "2");
  for (const auto* caption : {"<caption>Worst modules", "<caption>By layers", "<caption>Stages"}) {
    const auto part = html.substr(html.find(caption));
    const auto body = part.find("<tbody>");
    const auto first = part.substr(body, part.find("</tr>", body) - body);
    EXPECT_EQ(texts(part.substr(0, part.find("</thead>")), "th").size(),
              texts(first, "td").size() + texts(first, "th").size())
        << caption;
  }
}

TEST(Html, StaysSmallForManyAdapters) {
  const auto html = render_html(sample(400, 80));
  EXPECT_LT(html.size(), 4'000'000U);
  EXPECT_THAT(html, HasSubstr("adapter-399"));
}

TEST(Table, EndsWithTheVerdictsTheWorstFirst) {
  const auto report = judged();
  const auto text = lines(render_table(report));
  EXPECT_EQ(text.back(), "3 of 4 adapters did not pass: block 1, review 1, incomplete 1, pass 1");
  const auto& name = [&](std::size_t n) { return report.adapters[n].name; };
  ASSERT_GE(text.size(), 4U);
  EXPECT_EQ(text[text.size() - 4], "  block " + name(2) + ": unusual, with \"quotes\" and <b>");
  EXPECT_EQ(text[text.size() - 3], "  review " + name(3) + ": a little unusual");
  EXPECT_EQ(text[text.size() - 2], "  incomplete " + name(1) + ": 1 module was not judged");
  const auto all = render_table(report);
  EXPECT_THAT(all, HasSubstr("Verdicts: a bank of 3 cannot claim a rate of 5 % (19 adapters at least)"));
  EXPECT_THAT(all, ::testing::ContainsRegex("adapter +verdict"));
  EXPECT_THAT(all, ::testing::ContainsRegex(name(2) + " +block"));
  EXPECT_THAT(render_table(report, {10, 100, 2}), HasSubstr("and 1 more"));
}

TEST(Table, WithoutVerdictsSaysWhatGivesThem) {
  const auto plain = render_table(sample(4, 2));
  EXPECT_THAT(plain, HasSubstr("no verdicts: without --bank REPORT.h5 of harmless adapters"));
  EXPECT_THAT(plain, Not(::testing::ContainsRegex("adapter +verdict")));
  auto few = judged();
  EXPECT_THAT(render_table(few), Not(HasSubstr("pass " + few.adapters[0].name))) << "many: who passes is counted";
}

/// Where each adapter is named first after `begin`, as their places in that order.
std::vector<std::size_t> order_after(const std::string& text, const std::string& begin, const Report& report) {
  std::map<std::size_t, std::size_t> found;
  for (std::size_t n = 0; n < report.adapters.size(); ++n) {
    found[text.find(report.adapters[n].name, text.find(begin))] = n;
  }
  std::vector<std::size_t> order;
  for (const auto& [at, n] : found) order.push_back(n);
  return order;
}

// A score says how unusual an adapter is, a verdict what to do: whoever reads from the top reads the second.
TEST(Renderings, ListByVerdictThenByScore) {
  using enum verdict::Verdict;
  auto report = sample(7, 2);
  report.bank = {{"harmless", std::string(64, 'c')}};
  report.of_adapters = {{"bank_deviation", "1", "how unusual", {20, 3, 5, 30, 9, 7, 1}, {}},
                        {"bank_p", "1", "of the bank", {0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5}, {}}};
  for (const auto verdict : {pass, review, block, incomplete, block, review, pass}) {
    report.verdicts.push_back({verdict, "because"});
  }
  const std::vector<std::size_t> order{4, 2, 5, 1, 3, 0, 6};
  EXPECT_EQ(adapters_by_verdict(report), order);
  const auto table = render_table(report), page = render_html(report);
  EXPECT_EQ(order_after(table, "All adapters, by verdict, then worst first", report), order);
  EXPECT_EQ(order_after(page, "All adapters, by verdict, then worst first by ", report), order);
  EXPECT_EQ(order_after(page, "Adapter by adapter", report), order);
  EXPECT_THAT(table, HasSubstr("worst 30")) << "of the scores, not of the first adapter";
  EXPECT_THAT(render_table(report, {10, 100, 2}), HasSubstr("The first 2 of 7 adapters, by verdict"));
  // For programs they are in the order of the audit, ranked by score.
  const auto summaries = summarise_adapters(report);
  std::vector<std::size_t> ranks;
  for (const auto& summary : summaries) ranks.push_back(summary.zoo_rank);
  EXPECT_THAT(ranks, ::testing::ElementsAre(2, 6, 5, 1, 3, 4, 7));
  EXPECT_EQ(order_after(render_csv(report).at("adapters.csv"), "\n", report),
            (std::vector<std::size_t>{0, 1, 2, 3, 4, 5, 6}));
  report.verdicts.clear();
  EXPECT_EQ(order_after(render_table(report), "All adapters, worst first", report),
            (std::vector<std::size_t>{3, 0, 4, 5, 2, 1, 6}));
}

// What adapters are ranked by, and the angle beside it: an update that is large along nothing has a small one.
TEST(Renderings, ShowTheCosineBesideThePull) {
  auto report = sample(7, 2);
  report.probes = {{"odds", "harmful", "direction", "odds", std::string(64, 'd')}};
  report.of_adapters = {{"probe_pull", "1", "pull", {0.000123, 12.5, 0.4, 0.3, 0.2, 0.1, -0.1}, {}},
                        {"probe_cosine", "1", "cosine", {0.875, 0.125, 0.25, 0, 0, 0, -0.5}, {}}};
  const auto table = render_table(report);
  EXPECT_THAT(table, ::testing::ContainsRegex("probe_pull +cosine"));
  EXPECT_THAT(table, ::testing::ContainsRegex(report.adapters[0].name + " +0.000123 +0.875"));
  EXPECT_THAT(table, HasSubstr("(probe_pull: median 0.2, worst tenth from 5.24, worst 12.5)"));
  const std::vector<std::size_t> order{1, 2, 3, 4, 5, 0, 6};
  EXPECT_EQ(order_after(table, "All adapters, worst first", report), order);
  const auto page = render_html(report);
  EXPECT_EQ(order_after(page, "All adapters, worst first by probe pull", report), order);
  EXPECT_THAT(page, HasSubstr("0.000123"));
  EXPECT_THAT(page, HasSubstr("cosine with the probes"));

  report.of_adapters.erase(report.of_adapters.begin());  // of an earlier version
  const auto earlier = render_table(report);
  EXPECT_THAT(earlier, Not(::testing::ContainsRegex("probe_cosine +cosine")));
  EXPECT_EQ(order_after(earlier, "All adapters, worst first", report), (std::vector<std::size_t>{0, 2, 1, 3, 4, 5, 6}));
}

TEST(Csv, HasVerdicts) {
  const auto report = judged();
  const auto column = [](const Report& of, const std::string& name) {
    const auto rows = parse_csv(render_csv(of).at("adapters.csv"));
    const auto at = std::find(rows[0].begin(), rows[0].end(), name) - rows[0].begin();
    std::vector<std::string> values;
    for (std::size_t n = 1; n < rows.size(); ++n) values.push_back(rows[n].at(static_cast<std::size_t>(at)));
    return values;
  };
  EXPECT_THAT(column(report, "verdict"), ::testing::ElementsAre("pass", "incomplete", "block", "review"));
  EXPECT_EQ(column(report, "verdict_reason")[2], report.verdicts[2].reason);
  EXPECT_THAT(column(sample(2, 1), "verdict"), ::testing::ElementsAre("", ""));
}

TEST(Json, HasVerdicts) {
  const auto json = nlohmann::json::parse(render_json(judged()));
  EXPECT_EQ(json["adapters"][2]["verdict"], "block");
  EXPECT_EQ(json["adapters"][1]["verdict_reason"], "1 module was not judged");
  EXPECT_EQ(json["verdicts"]["false_discovery_rate"], 0.05);
  EXPECT_EQ(json["verdicts"]["bank_members"], 3);
  EXPECT_EQ(json["verdicts"]["block"], 1);
  const auto plain = nlohmann::json::parse(render_json(sample(2, 1)));
  EXPECT_TRUE(plain["verdicts"].is_null());
  EXPECT_TRUE(plain["adapters"][0]["verdict"].is_null());
}

TEST(Html, HasVerdictsFirst) {
  const auto report = judged();
  const auto html = render_html(report);
  expect_balanced(html);
  EXPECT_THAT(html, HasSubstr("3 of 4 adapters did not pass: block 1, review 1, incomplete 1, pass 1"));
  EXPECT_THAT(html, HasSubstr("unusual, with &quot;quotes&quot; and &lt;b&gt;"));
  EXPECT_THAT(html, HasSubstr("<span class=\"tag flag\">block</span>"));
  EXPECT_THAT(html, HasSubstr("<dt>verdict: block</dt><dd>1</dd>"));
  EXPECT_LT(html.find("id=\"verdicts\""), html.find("id=\"adapters\""));
  EXPECT_THAT(render_html(sample(4, 2)), HasSubstr("no verdicts"));
}

// A directory that somebody asks about is found, whichever of several with its content was judged.
TEST(Table, NamesSomeCopies) {
  auto report = with_copies(sample(4, 2));
  EXPECT_THAT(render_table(report, {10, 300}),
              HasSubstr("\n3 directories are copies of others: zoo/again of adapter-001, zoo/link of adapter-000, "
                        "mirror/adapter-001 of adapter-001; see /copies, --csv, --html\n"));
  report.copies.resize(1);
  EXPECT_THAT(render_table(report, {10, 300}),
              HasSubstr("\n1 directory is a copy of another: zoo/again of adapter-001; "));
  report.copies.clear();
  EXPECT_THAT(render_table(report), Not(HasSubstr("cop")));
  for (std::size_t k = 0; k < 1000; ++k) report.copies.push_back({fmt::format("zoo/copy-{}", k), 2});
  EXPECT_THAT(render_table(report, {10, 300}), HasSubstr("zoo/copy-2 of adapter-002 and 997 more; see /copies"));
}

TEST(Csv, HasCopies) {
  EXPECT_THAT(
      parse_csv(render_csv(with_copies(judged())).at("copies.csv")),
      ::testing::ElementsAre(::testing::ElementsAre("path", "of", "adapter", "status", "verdict"),
                             ::testing::ElementsAre("zoo/again", "1", "adapter-001", "ok", "incomplete"),
                             ::testing::ElementsAre("zoo/link", "0", "adapter-000", "ok", "pass"),
                             ::testing::ElementsAre("mirror/adapter-001", "1", "adapter-001", "ok", "incomplete")));
  EXPECT_EQ(render_csv(sample(2, 1)).at("copies.csv"), "path,of,adapter,status,verdict\r\n");
}

TEST(Json, HasCopies) {
  const auto json = nlohmann::json::parse(render_json(with_copies(sample(2, 1))));
  ASSERT_EQ(json["copies"].size(), 3U);
  EXPECT_EQ(json["copies"][2]["path"], "mirror/adapter-001");
  EXPECT_EQ(json["copies"][2]["of"], 1);
  EXPECT_EQ(json["copies"][2]["adapter"], "adapter-001");
  EXPECT_TRUE(nlohmann::json::parse(render_json(sample(2, 1)))["copies"].empty());
}

TEST(Html, ListsCopiesWithTheVerdictOfTheOneThatWasJudged) {
  auto report = with_copies(judged());
  report.copies[0].path = "zoo/<b>";
  const auto html = render_html(report);
  expect_balanced(html);
  EXPECT_THAT(html, HasSubstr("<h2 id=\"copies\">Copies</h2>"));
  EXPECT_THAT(html, HasSubstr("zoo/<wbr>&lt;b&gt;</span></th><td class=\"a w mono\">adapter-001</td>"
                              "<td class=\"a\"><span class=\"tag flag\">incomplete</span></td>"));
  EXPECT_THAT(render_html(judged()), Not(HasSubstr("id=\"copies\"")));
  for (std::size_t k = 0; k < 1000; ++k) report.copies.push_back({fmt::format("zoo/copy-{}", k), 2});
  const auto many = render_html(report);
  expect_balanced(many);
  EXPECT_THAT(many, HasSubstr("and 953 more, in /copies of the report"));
  EXPECT_LT(many.size(), html.size() + 20'000);
}

}  // namespace
}  // namespace winnow::report
