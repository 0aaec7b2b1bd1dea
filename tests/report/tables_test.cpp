// A table as data, and the four forms that are made of it: each with a table that no report has.
#include "tables/table.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <stdexcept>
#include <string>
#include <string_view>

#include "export/csv.hpp"
#include "export/json.hpp"
#include "html/table.hpp"
#include "terminal/grid.hpp"

namespace winnow::report {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

struct Ship {
  std::string name, port;
  double draught = 0;
  std::uint64_t crew = 0;
  std::vector<std::string> cargo = {};
};

/// Eight columns: one of each kind that a form treats in its own way.
Table ships(std::vector<Ship> rows) {
  TableOf<Ship> t("ship", "name", std::move(rows));
  t.add({"name", "ship", "", Format::prose}, [](const Ship& ship) {
    Cell cell(ship.name);
    cell.link = "ship-" + ship.name;
    return cell;
  });
  t.add({"draught", "draught in metres", "draught", Format::number, 1}, &Ship::draught);
  t.add({"crew", "crew", "", Format::number, 2}, &Ship::crew);
  t.add({"cargo", "cargo", "", Format::list, 3}, &Ship::cargo);
  t.add({"port", "port", "", Format::path, 0, true, kCsv}, &Ship::port);
  t.add({"flag", "flag", "", Format::tag, 0, false, kJson}, [](const Ship&) { return Cell(); });
  t.add({"state", "state", "", Format::tag, 0, true, kNoProgram}, [](const Ship& ship) {
    Cell cell(std::string("afloat"));
    cell.hot = ship.crew == 0, cell.symbol = cell.hot ? "! " : "";
    return cell;
  });
  t.table.group = "numbers";
  t.add({.name = "age", .grouped = true}, [](const Ship&, std::size_t row) { return row + 10; });
  return std::move(t.table);
}

Table two() { return ships({{"Ada", "a/b.c", 1.25, 3, {"tea", "ink"}}, {"<=B>", "=x", std::nan(""), 0, {}}}); }

std::string csv_text(const Table& table) {
  std::string text;
  write_csv_table(table, [&](std::string_view piece) { text += piece; });
  return text;
}

TEST(Tables, CsvHasWhatIsInCsvUnderTheNameOfTheRows) {
  EXPECT_EQ(csv_text(two()),
            "ship,draught,crew,cargo,port,age\r\n"
            "Ada,1.25,3,tea ink,a/b.c,10\r\n"
            "<=B>,,0,,'=x,11\r\n");
  EXPECT_EQ(csv_text(ships({})), "ship,draught,crew,cargo,port,age\r\n");
}

TEST(Tables, CsvTextIsQuotedWhereItMustBeAndNumbersAreExact) {
  auto table = ships({{"a \"b\"\r\n,c", "\tx,", 0.1 + 0.2, std::numeric_limits<std::uint64_t>::max(), {"-1", "2"}}});
  EXPECT_THAT(csv_text(table),
              HasSubstr("\"a \"\"b\"\"\r\n,c\",0.30000000000000004,18446744073709551615,'-1 2,\"'\tx,\",10"));
}

TEST(Tables, JsonHasWhatIsInJsonAndNullForNothing) {
  EXPECT_EQ(json_rows(two()).dump(),
            R"([{"name":"Ada","draught":1.25,"crew":3,"cargo":["tea","ink"],"flag":null,"numbers":{"age":10}},)"
            R"({"name":"<=B>","draught":null,"crew":0,"cargo":[],"flag":null,"numbers":{"age":11}}])");
  for (const auto& table : {two(), ships({})}) {
    std::string text;
    write_json_rows(table, [&](std::string_view piece) { text += piece; });
    EXPECT_EQ(text, json_rows(table).dump());
  }
  auto without = two();
  std::erase_if(without.columns, [](const Column& column) { return column.grouped; });
  EXPECT_TRUE(json_rows(without)[0]["numbers"].is_object()) << "the member is there whatever it holds";
}

TEST(Tables, ATerminalShowsWhatIsSelectedAndKnown) {
  const auto table = select(two(), {"draught", "name", "flag", "cargo"});
  EXPECT_EQ(grid(table, 80),
            "  draught  ship  cargo\n"
            "     1.25  Ada   tea, ink\n"
            "        -  <=B>  -\n");
}

TEST(Tables, OnANarrowTerminalColumnsGoByTheirPriorityAndTextGivesWay) {
  const auto table = select(ships({{std::string(60, 'n'), "", 1, 2, {"tea"}}}), {"name", "draught", "crew", "cargo"});
  const auto heading = [&](std::size_t width) { return grid(table, width).substr(0, grid(table, width).find('\n')); };
  EXPECT_THAT(heading(90), ::testing::ContainsRegex("ship +draught +crew +cargo"));
  EXPECT_THAT(heading(54), ::testing::ContainsRegex("ship +draught +crew +cargo")) << "the name gives way first";
  EXPECT_THAT(heading(50), ::testing::ContainsRegex("ship +draught +crew$"));
  EXPECT_THAT(heading(43), ::testing::ContainsRegex("ship +draught$"));
  EXPECT_THAT(heading(20), ::testing::MatchesRegex(" +ship")) << "what has no priority stays";
}

TEST(Tables, APageEscapesMarksAndLeadsWhereItCan) {
  const auto html = html_table(select(two(), {"name", "port", "state"}), "ships & boats", {"ship-Ada"});
  EXPECT_THAT(html, HasSubstr("<caption>ships &amp; boats</caption>"));
  EXPECT_THAT(html, HasSubstr("<th scope=\"col\">ship</th><th scope=\"col\" class=\"a\">port</th>"));
  EXPECT_THAT(html, HasSubstr("<th scope=\"row\" class=\"w\"><a href=\"#ship-Ada\">Ada</a></th>"
                              "<td class=\"a w mono\">a/<wbr>b.<wbr>c</td>"
                              "<td class=\"a\"><span class=\"tag\">afloat</span></td>"));
  EXPECT_THAT(html, HasSubstr("<th scope=\"row\" class=\"w\">&lt;=B&gt;</th>")) << "no anchor, no link";
  EXPECT_THAT(html, HasSubstr("<span class=\"tag flag\">! afloat</span>"));
  EXPECT_THAT(html, Not(HasSubstr("ship tall")));
}

TEST(Tables, OnAPageOneColumnMayStandBeneathAnother) {
  auto table = select(two(), {"name", "port", "crew"});
  table.columns[1].beneath = true;
  const auto html = html_table(table, "ships");
  EXPECT_THAT(html, Not(HasSubstr(">port<")));
  EXPECT_THAT(html, HasSubstr("Ada<br><span class=\"mono soft\">a/<wbr>b.<wbr>c</span></th><td>3</td>"));
}

TEST(Tables, ARowMayHaveNoValues) {
  auto table = select(two(), {"name", "draught", "crew"});
  table.gap = [](std::size_t row) { return row == 0 ? Gap{"sunk", "in a.b"} : Gap{}; };
  EXPECT_EQ(grid(table, 80),
            "  ship  draught  crew\n"
            "  Ada      sunk     -\n"
            "  <=B>        -     0\n");
  EXPECT_THAT(html_table(table, "ships"),
              HasSubstr("Ada</th><td colspan=\"2\" class=\"a w soft\">sunk: in a.<wbr>b</td></tr>"));
}

TEST(Tables, AParagraphARow) {
  EXPECT_EQ(paragraphs(select(two(), {"state", "name", "port"}), 80), "  afloat Ada: a/b.c\n  afloat <=B>: =x\n");
  const auto longer = ships({{"Ada", std::string(5000, 'x'), 1, 1, {}}});
  EXPECT_LT(paragraphs(select(longer, {"name", "port"}), 80).size(), 1200U) << "the report has all of it";
}

TEST(Tables, AColumnThatIsNotThereIsAMistake) {
  EXPECT_THROW(select(two(), {"name", "captain"}), std::logic_error);
  auto table = two();
  EXPECT_THROW(move_last(table, "captain"), std::logic_error);
  move_last(table, "draught");
  EXPECT_EQ(table.columns.back().name, "draught");
  EXPECT_EQ(table.columns.size(), two().columns.size());
}

TEST(Tables, PeopleReadADashForNothing) {
  EXPECT_EQ(shown_text(Cell(), Format::tag), "-");
  EXPECT_EQ(shown_text(std::nan(""), Format::rise), "-");
  EXPECT_EQ(shown_text(1.5, Format::rise), "+1.50");
  EXPECT_EQ(shown_text(std::size_t{0}, Format::place), "-");
  EXPECT_EQ(shown_text(std::size_t{0}, Format::number), "0");
  EXPECT_EQ(shown_text(0.256, Format::percent), "26 %");
  EXPECT_EQ(shown_text(std::uint64_t{14'200'000'000}, Format::bytes), "14.2 GB");
  EXPECT_EQ(shown_text(std::vector<std::string>{}, Format::list), "-");
}

}  // namespace
}  // namespace winnow::report
