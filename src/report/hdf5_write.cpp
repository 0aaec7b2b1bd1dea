#include <fmt/format.h>
#include <hdf5.h>
#include <hdf5_hl.h>

#include <algorithm>
#include <cstring>
#include <initializer_list>
#include <span>
#include <vector>

#include "hdf5_session.hpp"
#include "schema.hpp"
#include "text.hpp"
#include "winnow/base/error.hpp"
#include "winnow/base/file.hpp"
#include "winnow/base/sha256.hpp"
#include "winnow/report/hdf5_report.hpp"

namespace winnow::report {
namespace {

using base::ErrorKind;
using Shape = std::vector<hsize_t>;

template <class T>
hid_t native_type() {
  if constexpr (std::is_same_v<T, double>) {
    return H5T_NATIVE_DOUBLE;
  } else if constexpr (std::is_same_v<T, std::uint8_t>) {
    return H5T_NATIVE_UINT8;
  } else if constexpr (std::is_same_v<T, std::uint32_t>) {
    return H5T_NATIVE_UINT32;
  } else if constexpr (std::is_same_v<T, std::uint64_t>) {
    return H5T_NATIVE_UINT64;
  } else {
    static_assert(std::is_same_v<T, std::int64_t>);
    return H5T_NATIVE_INT64;
  }
}

// Chunks of whole rows, about 1 MiB: large enough for deflate and for few chunks, small enough for HDF5's chunk cache.
Shape chunk_shape(const Shape& shape, std::size_t element_bytes) {
  constexpr hsize_t kChunkBytes = 1U << 20;
  const hsize_t elements = std::max<hsize_t>(1, kChunkBytes / element_bytes);
  Shape chunk = shape;
  hsize_t row = 1;
  for (std::size_t axis = shape.size(); axis-- > 0;) {
    chunk[axis] = std::clamp<hsize_t>(elements / row, 1, shape[axis]);
    row *= chunk[axis];
  }
  return chunk;
}

/// Builds the file in memory: what reaches the disk is then one plain write, whose errors we see, and no half-closed
/// HDF5 file is left behind in the library when the disk is full.
class Image {
 public:
  explicit Image(const std::string& path) : hdf5_(path, ErrorKind::runtime) {
    const auto access = hdf5_.own(H5Pcreate(H5P_FILE_ACCESS), H5Pclose, "set up the file");
    constexpr std::size_t kGrowBy = 4U << 20;
    hdf5_.check(H5Pset_fapl_core(access.get(), kGrowBy, false), "set up the file");
    // From 1.8 on metadata carries checksums, and any HDF5 in use reads it.
    hdf5_.check(H5Pset_libver_bounds(access.get(), H5F_LIBVER_V18, H5F_LIBVER_V18), "set up the file");
    const auto creation = reproducible(H5P_FILE_CREATE);
    file_ =
        hdf5_.own(H5Fcreate(path.c_str(), H5F_ACC_TRUNC, creation.get(), access.get()), H5Fclose, "create the file");
    root_ = hdf5_.own(H5Gopen2(file_.get(), "/", H5P_DEFAULT), H5Gclose, "open the root group");
  }

  hid_t root() const { return root_.get(); }

  Handle group(const char* name) const {
    const auto creation = reproducible(H5P_GROUP_CREATE);
    return hdf5_.own(H5Gcreate2(root(), name, H5P_DEFAULT, creation.get(), H5P_DEFAULT), H5Gclose, "create a group");
  }

  /// A dimension scale in the root group.
  Handle scale(Handle dataset, std::string_view name) const {
    hdf5_.check(H5DSset_scale(dataset.get(), std::string(name).c_str()), "make a dimension scale");
    return dataset;
  }
  /// Makes the scale a member of `group` as well: the same dataset under a second link.
  void link(hid_t group, std::string_view name) const {
    const std::string text(name);
    hdf5_.check(H5Lcreate_hard(root(), text.c_str(), group, text.c_str(), H5P_DEFAULT, H5P_DEFAULT), "link a scale");
  }

  template <class T>
  Handle numbers(hid_t group, const std::string& name, const Shape& shape, std::span<const T> values,
                 const std::string& units, const std::string& long_name,
                 std::initializer_list<const Handle*> scales) const {
    return dataset(group, name, shape, native_type<T>(), sizeof(T), values.data(), units, long_name, scales);
  }

  /// One string a row, as fixed-length UTF-8 padded with NUL: unlike variable-length strings these are compressed, and
  /// a damaged file cannot send the reader astray. `_Encoding` makes xarray show them as str.
  template <class Row>
  Handle strings(hid_t group, const std::string& name, const std::vector<Row>& rows, std::string Row::*member,
                 const std::string& long_name, std::initializer_list<const Handle*> scales) const {
    std::vector<std::string> texts;
    std::size_t width = 1;
    for (const auto& row : rows) {
      texts.push_back(valid_utf8(row.*member));
      width = std::max(width, texts.back().size());
    }
    std::vector<char> padded(texts.size() * width);
    for (std::size_t i = 0; i < texts.size(); ++i) std::copy(texts[i].begin(), texts[i].end(), &padded[i * width]);
    const auto type = string_type(width);
    auto handle = dataset(group, name, {texts.size()}, type.get(), width, padded.data(), "1", long_name, scales);
    attribute(handle.get(), "_Encoding", "utf-8");
    return handle;
  }

  void attribute(hid_t object, const std::string& name, const std::string& value) const {
    const auto type = string_type(H5T_VARIABLE);  // what h5py reads as str
    const auto text = valid_utf8(value);
    const char* pointer = text.c_str();
    put_attribute(object, name, type.get(), nullptr, &pointer);
  }
  void attribute(hid_t object, const std::string& name, std::int64_t value) const {
    put_attribute(object, name, H5T_NATIVE_INT64, nullptr, &value);
  }
  void attribute(hid_t object, const std::string& name, double value) const {
    put_attribute(object, name, H5T_NATIVE_DOUBLE, nullptr, &value);
  }
  /// CF conventions, section 3.5: what the numbers of an enumeration mean.
  template <class T, std::size_t Count>
  void enumeration(hid_t object, const std::string& kind, const std::array<T, Count>& values,
                   std::string_view meanings) const {
    const hsize_t count = Count;
    put_attribute(object, kind, native_type<T>(), &count, values.data());
    attribute(object, "flag_meanings", std::string(meanings));
  }

  /// The finished file, valid as long as this image. (H5Fget_file_image would copy it, and HDF5 1.10 breaks the
  /// superblock's checksum there.)
  std::span<const std::byte> bytes() const {
    constexpr const char* kDoing = "finish the file";
    hdf5_.check(H5Fflush(file_.get(), H5F_SCOPE_GLOBAL), kDoing);
    void* memory = nullptr;
    hdf5_.check(H5Fget_vfd_handle(file_.get(), H5P_DEFAULT, &memory), kDoing);
    // The memory is larger, it grows in steps: this asks for the size only.
    const auto size = H5Fget_file_image(file_.get(), nullptr, 0);
    if (size < 0) hdf5_.check(-1, kDoing);
    return {*static_cast<const std::byte* const*>(memory), static_cast<std::size_t>(size)};
  }

 private:
  Handle reproducible(hid_t property_class) const {
    auto list = hdf5_.own(H5Pcreate(property_class), H5Pclose, "set up an object");
    hdf5_.check(H5Pset_obj_track_times(list.get(), false), "switch off creation times");
    constexpr unsigned kOrdered = H5P_CRT_ORDER_TRACKED | H5P_CRT_ORDER_INDEXED;  // netCDF-4 reads no file without
    hdf5_.check(H5Pset_attr_creation_order(list.get(), kOrdered), "set up an object");
    if (property_class != H5P_DATASET_CREATE) {
      hdf5_.check(H5Pset_link_creation_order(list.get(), kOrdered), "set up a group");
    }
    return list;
  }

  Handle string_type(std::size_t size) const {
    auto type = hdf5_.own(H5Tcopy(H5T_C_S1), H5Tclose, "make a text type");
    hdf5_.check(H5Tset_size(type.get(), size), "make a text type");
    hdf5_.check(H5Tset_cset(type.get(), H5T_CSET_UTF8), "make a text type");
    if (size != H5T_VARIABLE) hdf5_.check(H5Tset_strpad(type.get(), H5T_STR_NULLPAD), "make a text type");
    return type;
  }

  void put_attribute(hid_t object, const std::string& name, hid_t type, const hsize_t* count, const void* value) const {
    const auto doing = fmt::format("write attribute {}", name);
    const auto space =
        hdf5_.own(count == nullptr ? H5Screate(H5S_SCALAR) : H5Screate_simple(1, count, nullptr), H5Sclose, doing);
    const auto creation = hdf5_.own(H5Pcreate(H5P_ATTRIBUTE_CREATE), H5Pclose, doing);
    hdf5_.check(H5Pset_char_encoding(creation.get(), H5T_CSET_UTF8), doing);
    const auto handle = hdf5_.own(
        H5Acreate2(object, valid_utf8(name).c_str(), type, space.get(), creation.get(), H5P_DEFAULT), H5Aclose, doing);
    hdf5_.check(H5Awrite(handle.get(), type, value), doing);
  }

  Handle dataset(hid_t group, const std::string& name, const Shape& shape, hid_t type, std::size_t element_bytes,
                 const void* values, const std::string& units, const std::string& long_name,
                 std::initializer_list<const Handle*> scales) const {
    const auto doing = fmt::format("write dataset {}", name);
    const auto space =
        hdf5_.own(H5Screate_simple(static_cast<int>(shape.size()), shape.data(), nullptr), H5Sclose, doing);
    const auto creation = reproducible(H5P_DATASET_CREATE);
    const bool empty = std::find(shape.begin(), shape.end(), hsize_t{0}) != shape.end();
    if (!empty) {  // HDF5 has no empty chunks
      const auto chunk = chunk_shape(shape, element_bytes);
      hdf5_.check(H5Pset_chunk(creation.get(), static_cast<int>(chunk.size()), chunk.data()), doing);
      hdf5_.check(H5Pset_shuffle(creation.get()), doing);
      constexpr unsigned kDeflateLevel = 4;
      hdf5_.check(H5Pset_deflate(creation.get(), kDeflateLevel), doing);
    }
    auto handle = hdf5_.own(
        H5Dcreate2(group, name.c_str(), type, space.get(), H5P_DEFAULT, creation.get(), H5P_DEFAULT), H5Dclose, doing);
    if (!empty) hdf5_.check(H5Dwrite(handle.get(), type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values), doing);
    attribute(handle.get(), "units", units.empty() ? "1" : units);
    attribute(handle.get(), "long_name", long_name.empty() ? name : long_name);
    unsigned axis = 0;
    for (const auto* one : scales) {
      hdf5_.check(H5DSattach_scale(handle.get(), one->get(), axis++), fmt::format("name the dimensions of {}", name));
    }
    return handle;
  }

  Hdf5Session hdf5_;
  Handle file_, root_;
};

template <class T, class Row, class Member>
std::vector<T> column(const std::vector<Row>& rows, Member Row::*member) {
  std::vector<T> values;
  values.reserve(rows.size());
  for (const auto& row : rows) values.push_back(static_cast<T>(row.*member));
  return values;
}

template <class Enum>
std::vector<std::uint8_t> codes(const std::vector<Enum>& values, std::size_t size) {
  std::vector<std::uint8_t> out(size);
  std::transform(values.begin(), values.end(), out.begin(),
                 [](Enum value) { return static_cast<std::uint8_t>(value); });
  return out;
}

/// Writes the columns of one table of rows.
template <class Row>
class Columns {
 public:
  Columns(const Image& image, const Handle& group, const std::vector<Row>& rows, const Handle& scale)
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

void write_root(const Image& image, const Report& report) {
  image.attribute(image.root(), "schema_version", std::int64_t{kSchemaVersion});
  for (const auto& [name, value] : report.attributes) {
    if (name == "schema_version") continue;
    std::visit([&, &key = name](const auto& held) { image.attribute(image.root(), key, held); }, value);
  }
}

void write_modules(const Image& image, const Report& report, const Handle& scale) {
  const auto group = image.group("modules");
  image.link(group.get(), schema::kModuleScale);
  const Columns<ModuleRow> columns(image, group, report.modules, scale);
  columns.text("name", &ModuleRow::name, "module name");
  columns.number("layer", &ModuleRow::layer, "1", "layer number, -1 where the name has none");
  columns.text("role", &ModuleRow::role, "last component of the module name");
  columns.number("out_features", &ModuleRow::out_features, "1", "output features: rows of the weight");
  columns.number("in_features", &ModuleRow::in_features, "1", "input features: columns of the weight");
  columns.number("alignment_norm", &ModuleRow::alignment_norm, "1", "Frobenius norm of W_aligned - W_base");
  const auto flags = columns.number("flags", &ModuleRow::flags, "1", "what is special about the module");
  image.enumeration(flags.get(), "flag_masks", schema::kFlagMasks, schema::kFlagMeanings);
}

void write_adapters(const Image& image, const Report& report, const Handle& scale) {
  const auto group = image.group("adapters");
  image.link(group.get(), schema::kAdapterScale);
  const Columns<AdapterRow> columns(image, group, report.adapters, scale);
  columns.text("name", &AdapterRow::name, "adapter name");
  columns.text("path", &AdapterRow::path, "directory the adapter was read from");
  columns.text("status", &AdapterRow::status, "ok, or quarantined: not scored");
  columns.text("reason", &AdapterRow::reason, "why the adapter was quarantined");
  columns.number("rank", &AdapterRow::rank, "1", "LoRA rank r");
  columns.number("alpha", &AdapterRow::alpha, "1", "LoRA alpha");
  columns.number("scaling", &AdapterRow::scaling, "1", "factor s of the update s B A");
  columns.text("sha256", &AdapterRow::sha256, "SHA-256 of the adapter's weights");
}

void write_metrics(const Image& image, const Report& report, const Handle& adapters, const Handle& modules) {
  const Shape shape{report.adapters.size(), report.modules.size()};
  const auto group = image.group("metrics");
  image.link(group.get(), schema::kAdapterScale);
  image.link(group.get(), schema::kModuleScale);
  for (const auto& metric : report.metrics) {
    image.numbers<double>(group.get(), metric.name, shape, metric.values, metric.units, metric.long_name,
                          {&adapters, &modules});
  }
  const auto causes = codes(report.misalignment_cause, shape[0] * shape[1]);
  const auto cause =
      image.numbers<std::uint8_t>(group.get(), std::string(schema::kCause), shape, causes, "1",
                                  "which of the three parts of misalignment was largest", {&adapters, &modules});
  image.enumeration(cause.get(), "flag_values", schema::kCauseValues, schema::kCauseMeanings);
}

void write_selection(const Image& image, const Report& report, const Handle& adapters, const Handle& modules) {
  const Shape shape{report.adapters.size(), report.modules.size()};
  const auto group = image.group("selection");
  image.link(group.get(), schema::kAdapterScale);
  image.link(group.get(), schema::kModuleScale);
  image.attribute(group.get(), "policy", report.policy);
  image.attribute(group.get(), "rank_by", report.rank_by);
  image.attribute(group.get(), "population", report.population);
  const auto actions = codes(report.action, shape[0] * shape[1]);
  const auto action = image.numbers<std::uint8_t>(group.get(), "action", shape, actions, "1",
                                                  "what the selection decided; none: no LoRA there, or not scored",
                                                  {&adapters, &modules});
  image.enumeration(action.get(), "flag_values", schema::kActionValues, schema::kActionMeanings);
}

void write_run(const Image& image, const Report& report) {
  std::vector<std::int64_t> numbers(report.run.size());
  for (std::size_t i = 0; i < numbers.size(); ++i) numbers[i] = static_cast<std::int64_t>(i);
  const auto group = image.group("run");
  const std::string name(schema::kStageScale);
  const auto scale = image.scale(
      image.numbers<std::int64_t>(group.get(), name, {numbers.size()}, numbers, "1", "one stage of one MPI rank", {}),
      name);
  const Columns<StageRow> columns(image, group, report.run, scale);
  columns.number("rank", &StageRow::rank, "1", "MPI rank");
  columns.text("stage", &StageRow::stage, "stage of the run");
  columns.number("seconds", &StageRow::seconds, "s", "wall-clock time spent");
  columns.number("bytes_read", &StageRow::bytes_read, "byte", "bytes read from files");
  columns.number("peak_memory_bytes", &StageRow::peak_memory_bytes, "byte",
                 "largest resident memory of the process so far");
  const bool merged =
      std::any_of(report.run.begin(), report.run.end(), [](const StageRow& row) { return !row.part.empty(); });
  if (merged) columns.text("part", &StageRow::part, "report that was merged");
}

void check_consistent(const Report& report, const std::string& path) {
  const auto cells = report.adapters.size() * report.modules.size();
  const auto require = [&](bool holds, const std::string& what) {
    if (!holds) throw base::Error(ErrorKind::runtime, "report is inconsistent: " + what).file(path);
  };
  for (const auto& metric : report.metrics) {
    require(metric.values.size() == cells,
            fmt::format("{} values of {} for {} adapters and {} modules", metric.values.size(), metric.name,
                        report.adapters.size(), report.modules.size()));
    const bool reserved = metric.name.empty() || metric.name.find('/') != std::string::npos ||
                          metric.name == schema::kAdapterScale || metric.name == schema::kModuleScale ||
                          metric.name == schema::kCause;
    require(!reserved, fmt::format("a metric cannot be called '{}'", metric.name));
  }
  const auto cause = report.misalignment_cause.size(), action = report.action.size();
  require(cause == cells || cause == 0, fmt::format("{} causes for {} cells", cause, cells));
  require(action == cells || action == 0, fmt::format("{} actions for {} cells", action, cells));
}

void fill(const Image& image, const Report& report) {
  write_root(image, report);
  const std::string adapter(schema::kAdapterScale), module(schema::kModuleScale);
  const auto adapters = image.scale(
      image.strings(image.root(), adapter, report.adapters, &AdapterRow::name, "adapter name", {}), adapter);
  const auto modules =
      image.scale(image.strings(image.root(), module, report.modules, &ModuleRow::name, "module name", {}), module);
  write_modules(image, report, modules);
  write_adapters(image, report, adapters);
  write_metrics(image, report, adapters, modules);
  write_selection(image, report, adapters, modules);
  write_run(image, report);
}

}  // namespace

void write_hdf5(const Report& report, const std::string& path) {
  check_consistent(report, path);
  base::AtomicFile file(path);  // first: an unwritable directory is told before any work
  const Image image(path);
  fill(image, report);
  const auto bytes = image.bytes();
  file.append(bytes);
  base::Sha256 hash;
  hash.update(bytes);
  file.append(fmt::format("{}{}\n", schema::kSealPrefix, hash.finish()));
  file.commit();
}

}  // namespace winnow::report
