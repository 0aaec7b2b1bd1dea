// Builds the HDF5 file of a report in memory. Private to src/report.
#pragma once

#include <fmt/format.h>
#include <hdf5.h>
#include <hdf5_hl.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "../text.hpp"
#include "session.hpp"
#include "winnow/base/error.hpp"

namespace winnow::report {

// Chunks of whole rows, about 1 MiB: large enough for deflate and for few chunks, small enough for HDF5's chunk cache.
inline std::vector<hsize_t> chunk_shape(const std::vector<hsize_t>& shape, std::size_t element_bytes) {
  constexpr hsize_t kChunkBytes = 1U << 20;
  const hsize_t elements = std::max<hsize_t>(1, kChunkBytes / element_bytes);
  std::vector<hsize_t> chunk = shape;
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
  using Shape = std::vector<hsize_t>;

  explicit Image(const std::string& path) : hdf5_(path, base::ErrorKind::runtime) {
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
  /// Makes a dataset of the root group, or of `folder` in it, a member of `group` as well, under the same name.
  void link(hid_t group, std::string_view name, std::string_view folder = "") const {
    const std::string text(name), path = folder.empty() ? text : fmt::format("{}/{}", folder, name);
    hdf5_.check(H5Lcreate_hard(root(), path.c_str(), group, text.c_str(), H5P_DEFAULT, H5P_DEFAULT), "link a dataset");
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
    for (const auto& row : rows) texts.push_back(row.*member);
    return strings(group, name, std::move(texts), long_name, scales);
  }
  Handle strings(hid_t group, const std::string& name, std::vector<std::string> texts, const std::string& long_name,
                 std::initializer_list<const Handle*> scales) const {
    std::size_t width = 1;
    for (auto& text : texts) {
      text = valid_utf8(text);
      width = std::max(width, text.size());
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
  template <class Values>
  void enumeration(hid_t object, const std::string& kind, const Values& values, std::string_view meanings) const {
    using T = typename Values::value_type;
    const hsize_t count = values.size();
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

}  // namespace winnow::report
