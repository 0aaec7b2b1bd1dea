// A table as data: what its columns are called, and how each value follows from a row. Terminal, page, CSV and JSON are
// made of it by renderers that know nothing of what it is about. Private to src/report.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

namespace winnow::report {

/// How people are shown the values of a column. Programs get them as they are.
enum class Format : std::uint8_t {
  number,       ///< two decimals; a count is one
  significant,  ///< three digits, for what has no usual size
  share,        ///< three decimals
  percent,
  bytes,
  rise,   ///< a number with its sign
  place,  ///< from 1; 0 is none
  word,   ///< short, in one piece
  tag,    ///< a word that stands out
  prose,  ///< a name or a sentence
  path,   ///< of a file, or the name of a module
  list,   ///< of such names
  curve,  ///< a drawing
};
inline constexpr bool is_number(Format format) { return format <= Format::place; }

/// One value a step, NaN if there is none.
struct Curve {
  std::vector<std::uint64_t> steps;  ///< ascending
  std::vector<double> values;
};

struct Cell {
  /// Neither is a value: nothing, and NaN. JSON has null for them, CSV an empty field, people see "-".
  using Value =
      std::variant<std::monostate, double, std::uint64_t, std::int64_t, std::string, std::vector<std::string>, Curve>;

  Cell() = default;
  // NOLINTBEGIN(google-explicit-constructor): a number, a text or a list is a cell without more ado.
  template <class T>
  requires(!std::is_integral_v<T> && std::constructible_from<Value, T>) Cell(T held) : value(std::move(held)) {}
  Cell(std::unsigned_integral auto count) : value(std::uint64_t{count}) {}
  Cell(std::signed_integral auto integer) : value(std::int64_t{integer}) {}
  Cell(std::string_view text) : value(std::string(text)) {}
  // NOLINTEND(google-explicit-constructor)

  Value value = {};
  // Of the page alone, which has room and colours:
  std::string words = {};        ///< in place of the value, if not empty
  std::string link = {};         ///< the anchor that it leads to, if the page has that
  std::string_view symbol = {};  ///< before the value, if it is hot
  bool hot = false;              ///< whoever reads should see it
  double meter = -1;             ///< a bar under it, as a part of the largest in its column; below 0: none
};

/// A form for programs has all columns that say so, in the order of the table; one for people selects.
enum Programs : std::uint8_t { kNoProgram = 0, kCsv = 1, kJson = 2, kPrograms = kCsv | kJson };

struct Column {
  std::string name;                     ///< in CSV and JSON, and what it is selected by
  std::string title = {}, narrow = {};  ///< on the page, and on a terminal if that is not the title
  Format format = Format::word;
  int priority = 0;   ///< on a narrow terminal those of the highest go first; 0 never goes
  bool known = true;  ///< false: the report has none of it; no table for people shows it
  std::uint8_t in = kPrograms;
  bool grouped = false;  ///< in JSON within the member Table::group
  bool beneath = false;  ///< on the page: small, in the cell of the column before
  std::function<Cell(std::size_t row)> cell = {};
};

/// Why a row has no values.
struct Gap {
  std::string what, why;  ///< a word, and for who has room its reason; both empty: it has values
};

/// What it is made of must outlive it: cells are made when they are asked for.
struct Table {
  std::string of;          ///< what a row is: the column `name` is called so in CSV, where tables are joined by it
  std::string head = {};   ///< the column that says which one it is
  std::string group = {};  ///< the member of a row in JSON that holds the grouped columns; empty: there are none
  std::vector<Column> columns = {};
  std::size_t rows = 0;
  std::function<Gap(std::size_t row)> gap = {};  ///< asked by forms for people; empty: all rows have values
};

/// The columns of these names that the report knows, in this order. Throws std::logic_error for a name that the table
/// does not have.
Table select(const Table& table, std::initializer_list<std::string_view> names);

/// Puts one of its columns after all others.
void move_last(Table& table, std::string_view name);

/// What people read: "-" if there is nothing.
std::string shown_text(const Cell& cell, Format format);

/// Makes a table of rows of one type: each column says how its cell follows from a row, and from the row's number if it
/// wants that.
template <class Row>
class TableOf {
 public:
  TableOf(std::string of, std::string head, std::vector<Row> rows)
      : rows_(std::make_shared<const std::vector<Row>>(std::move(rows))) {
    table.of = std::move(of);
    table.head = std::move(head);
    table.rows = rows_->size();
  }

  template <class Value>
  void add(Column column, Value value) {
    column.cell = [rows = rows_, value = std::move(value)](std::size_t i) -> Cell {
      if constexpr (std::is_invocable_v<const Value&, const Row&, std::size_t>) {
        return value((*rows)[i], i);
      } else {
        return std::invoke(value, (*rows)[i]);
      }
    };
    table.columns.push_back(std::move(column));
  }

  template <class Why>
  void gaps(Why why) {
    table.gap = [rows = rows_, why = std::move(why)](std::size_t i) -> Gap { return why((*rows)[i]); };
  }

  Table table;

 private:
  std::shared_ptr<const std::vector<Row>> rows_;
};

}  // namespace winnow::report
