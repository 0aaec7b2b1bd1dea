#include <fmt/format.h>
#include <hdf5.h>

#include <algorithm>
#include <cstring>
#include <new>
#include <span>
#include <stdexcept>
#include <utility>
#include <vector>

#include "hdf5_session.hpp"
#include "schema.hpp"
#include "winnow/base/error.hpp"
#include "winnow/base/file.hpp"
#include "winnow/base/sha256.hpp"
#include "winnow/report/hdf5_report.hpp"

namespace winnow::report {
namespace {

using base::Error;
using base::ErrorKind;

constexpr const char* kAdvice = "give a report written by winnow audit";

constexpr const char* kOpening = "open the report";

/// Makes HDF5 use `image` itself where it would copy it, three times over. The image stays the caller's and must
/// outlive the file. (H5LTopen_file_image does the same, but leaks where the file does not open.)
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

struct Shape {
  std::vector<hsize_t> sizes;
  std::size_t count() const {
    std::size_t product = 1;
    for (const auto size : sizes) product *= size;
    return product;
  }
};

std::string to_string(const std::vector<hsize_t>& sizes) { return fmt::format("[{}]", fmt::join(sizes, ", ")); }

/// Reads datasets and attributes of a file that may be anything: every type and shape is checked against what the
/// caller expects before memory is asked for.
class Source {
 public:
  Source(std::span<std::byte> image, const std::string& path) : hdf5_(path, ErrorKind::invalid_input) {
    // No file is opened, so none is locked, which some network file systems refuse.
    const auto access = hdf5_.own(H5Pcreate(H5P_FILE_ACCESS), H5Pclose, kOpening);
    hdf5_.check(H5Pset_fapl_core(access.get(), image.size(), false), kOpening);
    auto callbacks = in_place(image.data());
    hdf5_.check(H5Pset_file_image_callbacks(access.get(), &callbacks), kOpening);
    hdf5_.check(H5Pset_file_image(access.get(), image.data(), image.size()), kOpening);
    // HDF5 wants a name that no file has; below a file there can be none.
    file_ = hdf5_.own(H5Fopen((path + "/image").c_str(), H5F_ACC_RDONLY, access.get()), H5Fclose, kOpening);
  }

  hid_t file() const { return file_.get(); }
  std::size_t size() const { return static_cast<std::size_t>(H5Fget_file_image(file_.get(), nullptr, 0)); }
  Error error(std::string_view what) const { return hdf5_.error(what); }

  Handle group(const char* name) const {
    if (H5Lexists(file(), name, H5P_DEFAULT) <= 0) {
      throw error(fmt::format("report has no group /{}", name)).advice(kAdvice);
    }
    return hdf5_.own(H5Gopen2(file(), name, H5P_DEFAULT), H5Gclose, fmt::format("open group /{}", name));
  }

  template <class T>
  std::vector<T> numbers(const Handle& group, const std::string& name, hid_t type, H5T_class_t wanted,
                         const Shape& shape) const {
    const auto dataset = open(group, name);
    check_type(dataset, name, wanted);
    check_shape(dataset, name, shape);
    check_storage(dataset, name, shape.count());
    std::vector<T> values(shape.count());
    if (!values.empty()) {
      hdf5_.check(H5Dread(dataset.get(), type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data()), "read " + name);
    }
    return values;
  }

  std::vector<std::string> strings(const Handle& group, const std::string& name, const Shape& shape) const {
    const auto dataset = open(group, name);
    const auto stored = check_type(dataset, name, H5T_STRING);
    if (H5Tis_variable_str(stored.get()) != 0) {
      throw error(fmt::format("{} has strings of variable length", name)).expected("fixed-length UTF-8");
    }
    check_shape(dataset, name, shape);
    check_storage(dataset, name, shape.count());
    const auto width = H5Tget_size(stored.get());
    std::vector<char> padded(shape.count() * width);
    if (!padded.empty()) {
      hdf5_.check(H5Dread(dataset.get(), stored.get(), H5S_ALL, H5S_ALL, H5P_DEFAULT, padded.data()), "read " + name);
    }
    std::vector<std::string> texts;
    for (std::size_t i = 0; i < shape.count(); ++i) {
      const auto* text = padded.data() + i * width;
      texts.emplace_back(text, strnlen(text, width));
    }
    return texts;
  }

  /// The length of a dataset that has one dimension.
  std::size_t length(const Handle& group, const std::string& name) const {
    const auto dataset = open(group, name);
    const auto sizes = sizes_of(dataset, name);
    if (sizes.size() != 1) {
      throw error(fmt::format("{} has the wrong shape", name)).expected("one dimension, found " + to_string(sizes));
    }
    check_storage(dataset, name, sizes[0]);
    return sizes[0];
  }

  /// The scalar text, integer and real attributes of an object; others' (arrays, references) are not ours.
  std::map<std::string, Attribute> attributes(hid_t object) const {
    std::map<std::string, Attribute> found;
    H5O_info_t info;
    hdf5_.check(H5Oget_info2(object, &info, H5O_INFO_NUM_ATTRS), "read attributes");
    for (hsize_t i = 0; i < info.num_attrs; ++i) {
      const auto handle =
          hdf5_.own(H5Aopen_by_idx(object, ".", H5_INDEX_NAME, H5_ITER_INC, i, H5P_DEFAULT, H5P_DEFAULT), H5Aclose,
                    "read attributes");
      const auto length = H5Aget_name(handle.get(), 0, nullptr);
      if (length < 0) hdf5_.check(-1, "read attributes");
      std::string name(static_cast<std::size_t>(length) + 1, '\0');
      H5Aget_name(handle.get(), name.size(), name.data());
      name.pop_back();
      add_attribute(handle, name, found);
    }
    return found;
  }

  /// Names of the members of a group, in the order they were made where the file knows it.
  std::vector<std::string> members(const Handle& group, const char* group_name) const {
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

  /// Of a dataset; empty where it has none.
  std::string text_attribute(const Handle& group, const std::string& dataset, const char* name) const {
    const auto found = attributes(open(group, dataset).get());
    const auto at = found.find(name);
    if (at == found.end() || !std::holds_alternative<std::string>(at->second)) return {};
    return std::get<std::string>(at->second);
  }

 private:
  Handle open(const Handle& group, const std::string& name) const {
    if (H5Lexists(group.get(), name.c_str(), H5P_DEFAULT) <= 0) {
      throw error(fmt::format("report has no dataset {}", name)).advice(kAdvice);
    }
    return hdf5_.own(H5Dopen2(group.get(), name.c_str(), H5P_DEFAULT), H5Dclose, "open dataset " + name);
  }

  Handle check_type(const Handle& dataset, const std::string& name, H5T_class_t wanted) const {
    auto type = hdf5_.own(H5Dget_type(dataset.get()), H5Tclose, "read the type of " + name);
    if (H5Tget_class(type.get()) != wanted) {
      const char* expected = wanted == H5T_STRING  ? "text"
                             : wanted == H5T_FLOAT ? "floating-point numbers"
                                                   : "integers";
      throw error(fmt::format("{} has the wrong type", name)).expected(expected);
    }
    return type;
  }

  std::vector<hsize_t> sizes_of(const Handle& dataset, const std::string& name) const {
    const auto space = hdf5_.own(H5Dget_space(dataset.get()), H5Sclose, "read the shape of " + name);
    const auto rank = H5Sget_simple_extent_ndims(space.get());
    if (rank < 0) hdf5_.check(-1, "read the shape of " + name);
    std::vector<hsize_t> sizes(static_cast<std::size_t>(rank));
    if (rank > 0)
      hdf5_.check(H5Sget_simple_extent_dims(space.get(), sizes.data(), nullptr), "read the shape of " + name);
    return sizes;
  }

  void check_shape(const Handle& dataset, const std::string& name, const Shape& wanted) const {
    const auto sizes = sizes_of(dataset, name);
    if (sizes == wanted.sizes) return;
    throw error(fmt::format("{} has the wrong shape", name))
        .expected(fmt::format("{}, found {}", to_string(wanted.sizes), to_string(sizes)));
  }

  // A damaged shape may claim more elements than memory holds.
  void check_storage(const Handle& dataset, const std::string& name, std::size_t count) const {
    const auto type = hdf5_.own(H5Dget_type(dataset.get()), H5Tclose, "read the type of " + name);
    const auto stored = H5Dget_storage_size(dataset.get());
    if (count != 0 && (stored == 0 || count > stored * schema::kLargestCompression / H5Tget_size(type.get()))) {
      throw error(fmt::format("{} claims more elements than are stored", name))
          .expected(fmt::format("{} elements, found {} bytes", count, stored));
    }
  }

  void add_attribute(const Handle& handle, const std::string& name, std::map<std::string, Attribute>& out) const {
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

  std::string text(const Handle& handle, const Handle& type, const std::string& doing) const {
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

  Hdf5Session hdf5_;
  Handle file_;
};

template <class Row>
class Columns {
 public:
  Columns(const Source& source, const Handle& group, std::vector<Row>& rows)
      : source_(source), group_(group), rows_(rows), shape_{{rows.size()}} {}

  void text(const char* name, std::string Row::*member) const {
    auto values = source_.strings(group_, name, shape_);
    for (std::size_t i = 0; i < rows_.size(); ++i) rows_[i].*member = std::move(values[i]);
  }
  template <class T>
  void number(const char* name, T Row::*member) const {
    constexpr auto wanted = std::is_same_v<T, double> ? H5T_FLOAT : H5T_INTEGER;
    const auto type = std::is_same_v<T, double>          ? H5T_NATIVE_DOUBLE
                      : std::is_same_v<T, std::uint32_t> ? H5T_NATIVE_UINT32
                      : std::is_same_v<T, std::uint64_t> ? H5T_NATIVE_UINT64
                                                         : H5T_NATIVE_INT64;
    const auto values = source_.template numbers<T>(group_, name, type, wanted, shape_);
    for (std::size_t i = 0; i < rows_.size(); ++i) rows_[i].*member = values[i];
  }

 private:
  const Source& source_;
  const Handle& group_;
  std::vector<Row>& rows_;
  Shape shape_;
};

void read_root(const Source& source, Report& report) {
  report.attributes = source.attributes(source.file());
  const auto node = report.attributes.extract("schema_version");
  if (node.empty() || !std::holds_alternative<std::int64_t>(node.mapped())) {
    throw source.error("HDF5 file is not a winnow report: no attribute schema_version").advice(kAdvice);
  }
  if (const auto version = std::get<std::int64_t>(node.mapped()); version != kSchemaVersion) {
    throw source.error("report has a schema this winnow does not know")
        .expected(fmt::format("schema_version {}, found {}", kSchemaVersion, version))
        .advice("use the winnow that wrote it, or a newer one");
  }
}

void read_modules(const Source& source, Report& report) {
  const auto group = source.group("modules");
  report.modules.resize(source.length(group, "name"));
  const Columns<ModuleRow> columns(source, group, report.modules);
  columns.text("name", &ModuleRow::name);
  columns.number("layer", &ModuleRow::layer);
  columns.text("role", &ModuleRow::role);
  columns.number("out_features", &ModuleRow::out_features);
  columns.number("in_features", &ModuleRow::in_features);
  columns.number("alignment_norm", &ModuleRow::alignment_norm);
  columns.number("flags", &ModuleRow::flags);
}

void read_adapters(const Source& source, Report& report) {
  const auto group = source.group("adapters");
  report.adapters.resize(source.length(group, "name"));
  const Columns<AdapterRow> columns(source, group, report.adapters);
  columns.text("name", &AdapterRow::name);
  columns.text("path", &AdapterRow::path);
  columns.text("status", &AdapterRow::status);
  columns.text("reason", &AdapterRow::reason);
  columns.number("rank", &AdapterRow::rank);
  columns.number("alpha", &AdapterRow::alpha);
  columns.number("scaling", &AdapterRow::scaling);
  columns.text("sha256", &AdapterRow::sha256);
}

template <class Enum>
std::vector<Enum> read_codes(const Source& source, const Handle& group, const std::string& name, const Shape& shape,
                             Enum largest) {
  const auto values = source.numbers<std::uint8_t>(group, name, H5T_NATIVE_UINT8, H5T_INTEGER, shape);
  std::vector<Enum> out;
  out.reserve(values.size());
  for (const auto value : values) {
    if (value > static_cast<std::uint8_t>(largest)) {
      throw source.error(fmt::format("{} holds a value without meaning", name))
          .expected(fmt::format("0 to {}, found {}", static_cast<int>(largest), value));
    }
    out.push_back(static_cast<Enum>(value));
  }
  return out;
}

void read_metrics(const Source& source, Report& report, const Shape& shape) {
  const auto group = source.group("metrics");
  for (auto& name : source.members(group, "metrics")) {
    if (name == schema::kAdapterScale || name == schema::kModuleScale || name == schema::kCause) continue;
    Metric metric;
    metric.values = source.numbers<double>(group, name, H5T_NATIVE_DOUBLE, H5T_FLOAT, shape);
    metric.units = source.text_attribute(group, name, "units");
    metric.long_name = source.text_attribute(group, name, "long_name");
    metric.name = std::move(name);
    report.metrics.push_back(std::move(metric));
  }
  report.misalignment_cause = read_codes(source, group, std::string(schema::kCause), shape, Cause::sign);
}

void read_selection(const Source& source, Report& report, const Shape& shape) {
  const auto group = source.group("selection");
  report.action = read_codes(source, group, "action", shape, Action::prune);
  const auto attributes = source.attributes(group.get());
  const auto text = [&](const char* name) -> std::string {
    const auto found = attributes.find(name);
    if (found == attributes.end() || !std::holds_alternative<std::string>(found->second)) {
      throw source.error(fmt::format("/selection has no attribute {}", name)).advice(kAdvice);
    }
    return std::get<std::string>(found->second);
  };
  report.policy = text("policy");
  report.rank_by = text("rank_by");
  report.population = text("population");
}

void read_run(const Source& source, Report& report) {
  const auto group = source.group("run");
  report.run.resize(source.length(group, "stage"));
  const Columns<StageRow> columns(source, group, report.run);
  columns.number("rank", &StageRow::rank);
  columns.text("stage", &StageRow::stage);
  columns.number("seconds", &StageRow::seconds);
  columns.number("bytes_read", &StageRow::bytes_read);
  columns.number("peak_memory_bytes", &StageRow::peak_memory_bytes);
}

Error damaged(const std::string& path, std::string_view expectation) {
  return Error(ErrorKind::invalid_input, "report is damaged").file(path).expected(expectation).advice("copy it again");
}

/// The HDF5 part of the file: what the seal at its end vouches for, or all of it where there is no seal.
std::span<std::byte> unsealed(std::span<std::byte> bytes, const std::string& path) {
  if (bytes.size() < schema::kSealBytes) return bytes;
  const auto image = bytes.first(bytes.size() - schema::kSealBytes);
  const auto seal = bytes.last(schema::kSealBytes);
  const std::string_view text(reinterpret_cast<const char*>(seal.data()), seal.size());
  if (!text.starts_with(schema::kSealPrefix)) return bytes;
  base::Sha256 hash;
  hash.update(image);
  if (text != fmt::format("{}{}\n", schema::kSealPrefix, hash.finish())) {
    throw damaged(path, "the content that its SHA-256 was taken of");
  }
  return image;
}

Report parse(std::span<std::byte> image, const std::string& path) {
  const Source source(image, path);
  if (source.size() < image.size()) throw damaged(path, "a whole checksum after the HDF5 data");
  Report report;
  read_root(source, report);
  read_modules(source, report);
  read_adapters(source, report);
  const Shape shape{{report.adapters.size(), report.modules.size()}};
  read_metrics(source, report, shape);
  read_selection(source, report, shape);
  read_run(source, report);
  return report;
}

}  // namespace

Report read_hdf5(const std::string& path) {
  constexpr std::string_view kSignature = "\x89HDF\r\n\x1a\n";
  const auto file = base::File::open_for_reading(path);
  std::vector<std::byte> image;
  try {
    image.resize(file.size());
    file.read_exact(0, image);
    if (image.size() < kSignature.size() || std::memcmp(image.data(), kSignature.data(), kSignature.size()) != 0) {
      throw Error(ErrorKind::invalid_input, "file is not HDF5").file(path).advice(kAdvice);
    }
    return parse(unsealed(image, path), path);
  } catch (const std::bad_alloc&) {
    throw Error(ErrorKind::invalid_input, "report does not fit in memory").file(path);
  } catch (const std::length_error&) {
    throw Error(ErrorKind::invalid_input, "report claims an impossible size").file(path);
  }
}

}  // namespace winnow::report
