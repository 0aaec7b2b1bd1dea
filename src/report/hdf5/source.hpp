// An HDF5 file in memory that may be anything: every type and shape is checked against what the caller expects before
// memory is asked for. Private to src/report.
#pragma once

#include <hdf5.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "session.hpp"
#include "winnow/base/error.hpp"
#include "winnow/report/report.hpp"

namespace winnow::report {

/// What to do about a file that is not ours.
inline constexpr const char* kReportAdvice = "give a report written by winnow audit";

struct Shape {
  std::vector<hsize_t> sizes;
  std::size_t count() const;  ///< elements
};

/// Everything throws Error(invalid_input) about the file if it is not as expected.
class Source {
 public:
  /// Opens `image`, the bytes of the HDF5 file `path`, in place: they stay the caller's and must outlive this.
  Source(std::span<std::byte> image, const std::string& path);

  hid_t file() const { return file_.get(); }
  std::size_t size() const;  ///< bytes of the image that HDF5 takes for its own
  base::Error error(std::string_view what) const { return hdf5_.error(what); }

  Handle group(const char* name) const;
  bool has_group(const char* name) const;

  /// A dataset of integers or reals, row-major; stored in any width of the kind of T.
  template <class T>
  std::vector<T> numbers(const Handle& group, const std::string& name, const Shape& shape) const {
    const auto dataset = open_numbers(group, name, std::is_floating_point_v<T> ? H5T_FLOAT : H5T_INTEGER, shape);
    std::vector<T> values(shape.count());
    if (!values.empty()) read(dataset, name, native_type<T>(), values.data());
    return values;
  }
  std::vector<std::string> strings(const Handle& group, const std::string& name, const Shape& shape) const;

  /// The length of a dataset that has one dimension.
  std::size_t length(const Handle& group, const std::string& name) const;

  /// The scalar text, integer and real attributes of an object; others' (arrays, references) are not ours.
  std::map<std::string, Attribute> attributes(hid_t object) const;

  /// Of a dataset; empty if it has none.
  std::string text_attribute(const Handle& group, const std::string& dataset, const char* name) const;

  /// Of a dataset; NaN if it has none.
  double real_attribute(const Handle& group, const std::string& dataset, const char* name) const;

  /// Names of the members of a group, in the order they were made if the file knows it.
  std::vector<std::string> members(const Handle& group, const char* group_name) const;

 private:
  Handle open(const Handle& group, const std::string& name) const;
  Handle open_numbers(const Handle& group, const std::string& name, H5T_class_t wanted, const Shape& shape) const;
  void read(const Handle& dataset, const std::string& name, hid_t type, void* values) const;

  Handle check_type(const Handle& dataset, const std::string& name, H5T_class_t wanted) const;
  void check_shape(const Handle& dataset, const std::string& name, const Shape& wanted) const;
  void check_storage(const Handle& dataset, const std::string& name, std::size_t count) const;
  std::vector<hsize_t> sizes_of(const Handle& dataset, const std::string& name) const;

  void add_attribute(const Handle& handle, const std::string& name, std::map<std::string, Attribute>& out) const;
  std::string text(const Handle& handle, const Handle& type, const std::string& doing) const;

  Hdf5Session hdf5_;
  Handle file_;
};

}  // namespace winnow::report
