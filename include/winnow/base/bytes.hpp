// Plain little-endian serialisation, for what is read once and broadcast to the other ranks.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "winnow/base/error.hpp"

namespace winnow::base {

static_assert(std::endian::native == std::endian::little, "safetensors data is little-endian and used in place");

/// What is copied byte by byte: numbers, and plain structs of them (same program on every rank, so same layout).
template <class T>
concept Plain = std::is_trivially_copyable_v<T> && !std::is_pointer_v<T> && !std::is_convertible_v<T, std::string_view>;

/// Appends numbers, strings and vectors of numbers to a byte string.
class ByteWriter {
 public:
  template <Plain T>
  void put(T value) {
    const auto at = bytes_.size();
    bytes_.resize(at + sizeof(T));
    std::memcpy(bytes_.data() + at, &value, sizeof(T));
  }
  void put(std::string_view text) {
    put<std::uint64_t>(text.size());
    bytes_.append(text);
  }
  template <class T>
  requires std::is_arithmetic_v<T>
  void put(const std::vector<T>& values) {
    put<std::uint64_t>(values.size());
    bytes_.append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T));
  }

  const std::string& bytes() const& noexcept { return bytes_; }
  std::string bytes() && noexcept { return std::move(bytes_); }

 private:
  std::string bytes_;
};

/// Reads back what ByteWriter wrote. Throws Error(runtime) past the end.
class ByteReader {
 public:
  explicit ByteReader(std::string_view bytes) : rest_(bytes) {}

  template <Plain T>
  T get() {
    T value;
    std::memcpy(&value, take(sizeof(T)).data(), sizeof(T));
    return value;
  }
  std::string get_string() { return std::string(take(get<std::uint64_t>())); }
  template <class T>
  std::vector<T> get_vector() {
    const auto count = get<std::uint64_t>();
    if (count > rest_.size() / sizeof(T)) throw short_read();
    std::vector<T> values(count);
    const auto raw = take(count * sizeof(T));
    if (count != 0) std::memcpy(values.data(), raw.data(), raw.size());
    return values;
  }
  bool at_end() const noexcept { return rest_.empty(); }

 private:
  static Error short_read() { return Error(ErrorKind::runtime, "internal message between ranks ends too early"); }
  std::string_view take(std::uint64_t count) {
    if (count > rest_.size()) throw short_read();
    const auto head = rest_.substr(0, count);
    rest_.remove_prefix(count);
    return head;
  }

  std::string_view rest_;
};

}  // namespace winnow::base
