// Columns of a table of rows, from datasets of one group. Private to src/report.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "source.hpp"

namespace winnow::report {

/// Fills the members of rows that are there already.
template <class Row>
class ColumnReader {
 public:
  ColumnReader(const Source& source, const Handle& group, std::vector<Row>& rows)
      : source_(source), group_(group), rows_(rows), shape_{{rows.size()}} {}

  void text(const char* name, std::string Row::*member) const {
    auto values = source_.strings(group_, name, shape_);
    for (std::size_t i = 0; i < rows_.size(); ++i) rows_[i].*member = std::move(values[i]);
  }
  template <class T>
  void number(const char* name, T Row::*member) const {
    const auto values = source_.numbers<T>(group_, name, shape_);
    for (std::size_t i = 0; i < rows_.size(); ++i) rows_[i].*member = values[i];
  }

 private:
  const Source& source_;
  const Handle& group_;
  std::vector<Row>& rows_;
  Shape shape_;
};

inline bool has(const std::vector<std::string>& names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

}  // namespace winnow::report
