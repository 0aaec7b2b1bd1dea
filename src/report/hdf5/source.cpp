#include "source.hpp"

#include <fmt/format.h>

#include <cstring>
#include <limits>
#include <utility>

#include "../schema.hpp"

namespace winnow::report {
namespace {

using base::ErrorKind;

constexpr const char* kOpening = "open the report";

/// Makes HDF5 use `image` itself, which it would copy three times over. The image stays the caller's and must
/// outlive the file. (H5LTopen_file_image does the same, but leaks if the file does not open.)
H5FD_file_image_callbacks_t in_place(void* image) {
  H5FD_file_image_callbacks_t callbacks{};
  callbacks.image_malloc = [](std::size_t, H5FD_file_image_op_t, void* data) { return data; };
  callbacks.image_memcpy = [](void* to, const void*, std::size_t, H5FD_file_image_op_t, void*) { return to; };
  callbacks.image_realloc = [](void*, std::size_t, H5FD_file_image_op_t, void*) -> void* { return nullptr; };
  callbacks.image_free = [](void*, H5FD_file_image_op_t, void*) -> herr_t { return 0; };
  callbacks.udata_copy = [](void* data) { return data; };
  callbacks.udata_free = [](void*) -> herr_t { return 0; };
  callbacks.udata = image;
  return callbacks;
}

std::string to_string(const std::vector<hsize_t>& sizes) { return fmt::format("[{}]", fmt::join(sizes, ", ")); }

}  // namespace

std::size_t Shape::count() const {
  std::size_t product = 1;
  for (const auto size : sizes) product *= size;
  return product;
}

Source::Source(std::span<std::byte> image, const std::string& path) : hdf5_(path, ErrorKind::invalid_input) {
  // No file is opened, so none is locked, which some network file systems refuse.
  const auto access = hdf5_.own(H5Pcreate(H5P_FILE_ACCESS), H5Pclose, kOpening);
  hdf5_.check(H5Pset_fapl_core(access.get(), image.size(), false), kOpening);
  auto callbacks = in_place(image.data());
  hdf5_.check(H5Pset_file_image_callbacks(access.get(), &callbacks), kOpening);
  hdf5_.check(H5Pset_file_image(access.get(), image.data(), image.size()), kOpening);
  // HDF5 wants a name that no file has; below a file there can be none.
  file_ = hdf5_.own(H5Fopen((path + "/image").c_str(), H5F_ACC_RDONLY, access.get()), H5Fclose, kOpening);
}

std::size_t Source::size() const { return static_cast<std::size_t>(H5Fget_file_image(file_.get(), nullptr, 0)); }

bool Source::has_group(const char* name) const { return H5Lexists(file(), name, H5P_DEFAULT) > 0; }

Handle Source::group(const char* name) const {
  if (H5Lexists(file(), name, H5P_DEFAULT) <= 0) {
    throw error(fmt::format("report has no group /{}", name)).advice(kReportAdvice);
  }
  return hdf5_.own(H5Gopen2(file(), name, H5P_DEFAULT), H5Gclose, fmt::format("open group /{}", name));
}

std::vector<std::string> Source::strings(const Handle& group, const std::string& name, const Shape& shape) const {
  const auto dataset = open(group, name);
  const auto stored = check_type(dataset, name, H5T_STRING);
  if (H5Tis_variable_str(stored.get()) != 0) {
    throw error(fmt::format("{} has strings of variable length", name)).expected("fixed-length UTF-8");
  }
  check_shape(dataset, name, shape);
  check_storage(dataset, name, shape.count());
  const auto width = H5Tget_size(stored.get());
  std::vector<char> padded(shape.count() * width);
  if (!padded.empty()) read(dataset, name, stored.get(), padded.data());
  std::vector<std::string> texts;
  for (std::size_t i = 0; i < shape.count(); ++i) {
    const auto* text = padded.data() + i * width;
    texts.emplace_back(text, strnlen(text, width));
  }
  return texts;
}

std::size_t Source::length(const Handle& group, const std::string& name) const {
  const auto dataset = open(group, name);
  const auto sizes = sizes_of(dataset, name);
  if (sizes.size() != 1) {
    throw error(fmt::format("{} has the wrong shape", name)).expected("one dimension, found " + to_string(sizes));
  }
  check_storage(dataset, name, sizes[0]);
  return sizes[0];
}

std::map<std::string, Attribute> Source::attributes(hid_t object) const {
  std::map<std::string, Attribute> found;
  H5O_info_t info;
  hdf5_.check(H5Oget_info2(object, &info, H5O_INFO_NUM_ATTRS), "read attributes");
  for (hsize_t i = 0; i < info.num_attrs; ++i) {
    const auto handle = hdf5_.own(H5Aopen_by_idx(object, ".", H5_INDEX_NAME, H5_ITER_INC, i, H5P_DEFAULT, H5P_DEFAULT),
                                  H5Aclose, "read attributes");
    const auto length = H5Aget_name(handle.get(), 0, nullptr);
    if (length < 0) hdf5_.check(-1, "read attributes");
    std::string name(static_cast<std::size_t>(length) + 1, '\0');
    H5Aget_name(handle.get(), name.size(), name.data());
    name.pop_back();
    add_attribute(handle, name, found);
  }
  return found;
}

std::string Source::text_attribute(const Handle& group, const std::string& dataset, const char* name) const {
  const auto found = attributes(open(group, dataset).get());
  const auto at = found.find(name);
  if (at == found.end() || !std::holds_alternative<std::string>(at->second)) return {};
  return std::get<std::string>(at->second);
}

double Source::real_attribute(const Handle& group, const std::string& dataset, const char* name) const {
  const auto found = attributes(open(group, dataset).get());
  const auto at = found.find(name);
  if (at == found.end() || !std::holds_alternative<double>(at->second)) return std::numeric_limits<double>::quiet_NaN();
  return std::get<double>(at->second);
}

std::vector<std::string> Source::members(const Handle& group, const char* group_name) const {
  H5G_info_t info;
  hdf5_.check(H5Gget_info(group.get(), &info), fmt::format("list /{}", group_name));
  auto order = H5_INDEX_CRT_ORDER;
  if (info.nlinks > 0 && H5Lget_name_by_idx(group.get(), ".", order, H5_ITER_INC, 0, nullptr, 0, H5P_DEFAULT) < 0) {
    order = H5_INDEX_NAME;
  }
  std::vector<std::string> names;
  for (hsize_t i = 0; i < info.nlinks; ++i) {
    const auto length = H5Lget_name_by_idx(group.get(), ".", order, H5_ITER_INC, i, nullptr, 0, H5P_DEFAULT);
    if (length < 0) hdf5_.check(-1, fmt::format("list /{}", group_name));
    std::string name(static_cast<std::size_t>(length) + 1, '\0');
    H5Lget_name_by_idx(group.get(), ".", order, H5_ITER_INC, i, name.data(), name.size(), H5P_DEFAULT);
    name.pop_back();
    names.push_back(std::move(name));
  }
  return names;
}

Handle Source::open(const Handle& group, const std::string& name) const {
  if (H5Lexists(group.get(), name.c_str(), H5P_DEFAULT) <= 0) {
    throw error(fmt::format("report has no dataset {}", name)).advice(kReportAdvice);
  }
  return hdf5_.own(H5Dopen2(group.get(), name.c_str(), H5P_DEFAULT), H5Dclose, "open dataset " + name);
}

Handle Source::open_numbers(const Handle& group, const std::string& name, H5T_class_t wanted,
                            const Shape& shape) const {
  auto dataset = open(group, name);
  check_type(dataset, name, wanted);
  check_shape(dataset, name, shape);
  check_storage(dataset, name, shape.count());
  return dataset;
}

void Source::read(const Handle& dataset, const std::string& name, hid_t type, void* values) const {
  hdf5_.check(H5Dread(dataset.get(), type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values), "read " + name);
}

Handle Source::check_type(const Handle& dataset, const std::string& name, H5T_class_t wanted) const {
  auto type = hdf5_.own(H5Dget_type(dataset.get()), H5Tclose, "read the type of " + name);
  if (H5Tget_class(type.get()) != wanted) {
    const char* expected = wanted == H5T_STRING ? "text" : wanted == H5T_FLOAT ? "floating-point numbers" : "integers";
    throw error(fmt::format("{} has the wrong type", name)).expected(expected);
  }
  return type;
}

void Source::check_shape(const Handle& dataset, const std::string& name, const Shape& wanted) const {
  const auto sizes = sizes_of(dataset, name);
  if (sizes == wanted.sizes) return;
  throw error(fmt::format("{} has the wrong shape", name))
      .expected(fmt::format("{}, found {}", to_string(wanted.sizes), to_string(sizes)));
}

// A damaged shape may claim more elements than memory holds.
void Source::check_storage(const Handle& dataset, const std::string& name, std::size_t count) const {
  const auto type = hdf5_.own(H5Dget_type(dataset.get()), H5Tclose, "read the type of " + name);
  const auto stored = H5Dget_storage_size(dataset.get());
  if (count != 0 && (stored == 0 || count > stored * schema::kLargestCompression / H5Tget_size(type.get()))) {
    throw error(fmt::format("{} claims more elements than are stored", name))
        .expected(fmt::format("{} elements, found {} bytes", count, stored));
  }
}

std::vector<hsize_t> Source::sizes_of(const Handle& dataset, const std::string& name) const {
  const auto space = hdf5_.own(H5Dget_space(dataset.get()), H5Sclose, "read the shape of " + name);
  const auto rank = H5Sget_simple_extent_ndims(space.get());
  if (rank < 0) hdf5_.check(-1, "read the shape of " + name);
  std::vector<hsize_t> sizes(static_cast<std::size_t>(rank));
  if (rank > 0) hdf5_.check(H5Sget_simple_extent_dims(space.get(), sizes.data(), nullptr), "read the shape of " + name);
  return sizes;
}

void Source::add_attribute(const Handle& handle, const std::string& name, std::map<std::string, Attribute>& out) const {
  const auto doing = "read attribute " + name;
  const auto space = hdf5_.own(H5Aget_space(handle.get()), H5Sclose, doing);
  const auto type = hdf5_.own(H5Aget_type(handle.get()), H5Tclose, doing);
  if (H5Sget_simple_extent_npoints(space.get()) != 1) return;
  switch (H5Tget_class(type.get())) {
    case H5T_INTEGER: {
      std::int64_t value = 0;
      hdf5_.check(H5Aread(handle.get(), H5T_NATIVE_INT64, &value), doing);
      out[name] = value;
      break;
    }
    case H5T_FLOAT: {
      double value = 0;
      hdf5_.check(H5Aread(handle.get(), H5T_NATIVE_DOUBLE, &value), doing);
      out[name] = value;
      break;
    }
    case H5T_STRING:
      out[name] = text(handle, type, doing);
      break;
    default:
      break;
  }
}

std::string Source::text(const Handle& handle, const Handle& type, const std::string& doing) const {
  if (H5Tis_variable_str(type.get()) == 0) {
    std::string value(H5Tget_size(type.get()), '\0');
    hdf5_.check(H5Aread(handle.get(), type.get(), value.data()), doing);
    return value.substr(0, value.find('\0'));
  }
  char* value = nullptr;
  hdf5_.check(H5Aread(handle.get(), type.get(), &value), doing);
  std::string copy = value == nullptr ? "" : value;
  H5free_memory(value);
  return copy;
}

}  // namespace winnow::report
