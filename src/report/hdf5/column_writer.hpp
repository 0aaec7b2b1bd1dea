// Tables of rows as datasets, a column each. Private to src/report.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "image.hpp"

namespace winnow::report {

template <class T, class Row, class Member>
std::vector<T> column(const std::vector<Row>& rows, Member Row::*member) {
  std::vector<T> values;
  values.reserve(rows.size());
  for (const auto& row : rows) values.push_back(static_cast<T>(row.*member));
  return values;
}

/// Writes the columns of one table of rows.
template <class Row>
class ColumnWriter {
 public:
  ColumnWriter(const Image& image, const Handle& group, const std::vector<Row>& rows, const Handle& scale)
      : image_(image), group_(group), rows_(rows), scale_(scale) {}

  void text(const char* name, std::string Row::*member, const char* long_name) const {
    image_.strings(group_.get(), name, rows_, member, long_name, {&scale_});
  }
  template <class T>
  Handle number(const char* name, T Row::*member, const char* units, const char* long_name) const {
    const auto values = column<T>(rows_, member);
    return image_.numbers<T>(group_.get(), name, {rows_.size()}, values, units, long_name, {&scale_});
  }

 private:
  const Image& image_;
  const Handle& group_;
  const std::vector<Row>& rows_;
  const Handle& scale_;
};

/// A scale of numbers for a group that no other shares a dimension with.
inline Handle numbered_scale(const Image& image, const Handle& group, const std::string& name, std::size_t count,
                             const char* long_name) {
  std::vector<std::int64_t> numbers(count);
  for (std::size_t i = 0; i < count; ++i) numbers[i] = static_cast<std::int64_t>(i);
  return image.scale(image.numbers<std::int64_t>(group.get(), name, {count}, numbers, "1", long_name, {}), name);
}

}  // namespace winnow::report
