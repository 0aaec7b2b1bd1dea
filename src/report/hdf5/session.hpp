// HDF5's handles, number types and errors in C++ terms. Private to src/report. HighFive does the same, but Debian 12
// has no package of it.
#pragma once

#include <hdf5.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include "winnow/base/error.hpp"

namespace winnow::report {

/// Owns an HDF5 identifier.
class Handle {
 public:
  using Closer = herr_t (*)(hid_t);

  Handle() = default;
  Handle(hid_t id, Closer closer) : id_(id), closer_(closer) {}
  Handle(Handle&& other) noexcept : id_(std::exchange(other.id_, -1)), closer_(other.closer_) {}
  Handle& operator=(Handle&& other) noexcept {
    std::swap(id_, other.id_);
    std::swap(closer_, other.closer_);
    return *this;
  }
  ~Handle() {
    if (id_ >= 0) closer_(id_);
  }

  hid_t get() const noexcept { return id_; }

 private:
  hid_t id_ = -1;
  Closer closer_ = nullptr;
};

/// HDF5's name for T as it lies in memory: for the numbers that a report holds.
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

/// While one of these lives HDF5 prints no error stack; failures become Errors of `kind` about the file `path`, with
/// the innermost reason that HDF5 gives.
class Hdf5Session {
 public:
  Hdf5Session(std::string path, base::ErrorKind kind);
  ~Hdf5Session();
  Hdf5Session(const Hdf5Session&) = delete;
  Hdf5Session& operator=(const Hdf5Session&) = delete;

  Handle own(hid_t id, Handle::Closer closer, std::string_view doing) const;  ///< throws if `id` is an error
  void check(herr_t status, std::string_view doing) const;
  base::Error error(std::string_view what) const;  ///< without HDF5's reason: for what we find out ourselves

 private:
  base::Error failure(std::string_view doing) const;

  std::string path_;
  base::ErrorKind kind_;
  H5E_auto2_t printer_ = nullptr;
  void* printer_data_ = nullptr;
};

}  // namespace winnow::report
