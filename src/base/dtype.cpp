#include "winnow/base/dtype.hpp"

#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "winnow/base/error.hpp"

namespace winnow::base {
namespace {

struct DTypeInfo {
  std::string_view name;
  std::size_t bits;
};

// In the order of the enumeration.
constexpr std::array<DTypeInfo, 22> kInfo{{
    {"BOOL", 8},    {"F4", 4},      {"F6_E2M3", 6}, {"F6_E3M2", 6},     {"U8", 8},          {"I8", 8},
    {"F8_E5M2", 8}, {"F8_E4M3", 8}, {"F8_E8M0", 8}, {"F8_E4M3FNUZ", 8}, {"F8_E5M2FNUZ", 8}, {"I16", 16},
    {"U16", 16},    {"F16", 16},    {"BF16", 16},   {"I32", 32},        {"U32", 32},        {"F32", 32},
    {"C64", 64},    {"F64", 64},    {"I64", 64},    {"U64", 64},
}};

/// Here, so that loops over it become vector instructions.
float widened(std::uint16_t bf16) { return std::bit_cast<float>(static_cast<std::uint32_t>(bf16) << 16); }

template <class Stored, class Out, class Convert>
void convert_all(const std::byte* source, std::size_t count, Out* destination, Convert convert) {
  for (std::size_t i = 0; i < count; ++i) {
    Stored stored;
    std::memcpy(&stored, source + i * sizeof(Stored), sizeof(Stored));
    destination[i] = static_cast<Out>(convert(stored));
  }
}

template <class Out>
void to_floating(DType dtype, const std::byte* source, std::size_t count, Out* destination) {
  switch (dtype) {
    case DType::bf16:
      return convert_all<std::uint16_t>(source, count, destination, [](std::uint16_t v) { return widened(v); });
    case DType::f16:
      return convert_all<std::uint16_t>(source, count, destination, f16_to_float);
    case DType::f32:
      return convert_all<float>(source, count, destination, [](float v) { return v; });
    case DType::f64:
      return convert_all<double>(source, count, destination, [](double v) { return v; });
    default:
      throw Error(ErrorKind::runtime, "cannot compute on " + std::string(name(dtype)));
  }
}

template <class Stored, class Convert>
std::size_t store_all(DType dtype, const double* source, std::size_t count, std::byte* destination, Convert convert) {
  std::size_t first_fault = count;
  for (std::size_t i = 0; i < count; ++i) {
    const Stored stored = convert(source[i]);
    std::memcpy(destination + i * sizeof(Stored), &stored, sizeof(Stored));
    double back = 0;
    to_double(dtype, destination + i * sizeof(Stored), 1, &back);
    if (first_fault == count && !std::isfinite(back)) first_fault = i;
  }
  return first_fault;
}

}  // namespace

std::optional<DType> parse_dtype(std::string_view name) {
  for (std::size_t i = 0; i < kInfo.size(); ++i) {
    if (kInfo[i].name == name) return static_cast<DType>(i);
  }
  return std::nullopt;
}

std::string_view name(DType dtype) { return kInfo[static_cast<std::size_t>(dtype)].name; }
std::size_t bits(DType dtype) { return kInfo[static_cast<std::size_t>(dtype)].bits; }
std::size_t element_bytes(DType dtype) { return bits(dtype) / 8; }

bool is_computable(DType dtype) {
  return dtype == DType::f64 || dtype == DType::f32 || dtype == DType::f16 || dtype == DType::bf16;
}

float bf16_to_float(std::uint16_t bits) { return widened(bits); }

float f16_to_float(std::uint16_t bits) {
  const std::uint32_t sign = static_cast<std::uint32_t>(bits & 0x8000U) << 16;
  const std::uint32_t exponent = (bits >> 10) & 0x1FU;
  const std::uint32_t mantissa = bits & 0x3FFU;
  if (exponent == 0x1F) return std::bit_cast<float>(sign | 0x7F800000U | (mantissa << 13));
  if (exponent != 0) return std::bit_cast<float>(sign | ((exponent + 112) << 23) | (mantissa << 13));
  const float subnormal = static_cast<float>(mantissa) * 0x1p-24F;  // exact
  return sign != 0 ? -subnormal : subnormal;
}

std::uint16_t float_to_bf16(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  if (std::isnan(value)) return static_cast<std::uint16_t>((bits >> 16) | 0x40U);
  return static_cast<std::uint16_t>((bits + 0x7FFFU + ((bits >> 16) & 1U)) >> 16);
}

std::uint16_t float_to_f16(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const auto sign = static_cast<std::uint16_t>((bits >> 16) & 0x8000U);
  const float magnitude = std::fabs(value);
  if (std::isnan(value)) return static_cast<std::uint16_t>(sign | 0x7E00U);
  if (magnitude >= 65520.0F) return static_cast<std::uint16_t>(sign | 0x7C00U);
  if (magnitude < 0x1p-14F) {  // subnormal: a multiple of 2^-24, rounded to even by the addition
    const auto steps = static_cast<std::uint32_t>(std::nearbyint(magnitude * 0x1p24F));
    return static_cast<std::uint16_t>(sign | steps);
  }
  const std::uint32_t rounded = (bits & 0x7FFFFFFFU) + 0xFFFU + ((bits >> 13) & 1U);
  return static_cast<std::uint16_t>(sign | ((rounded - (112U << 23)) >> 13));
}

void to_float(DType dtype, const std::byte* source, std::size_t count, float* destination) {
  to_floating(dtype, source, count, destination);
}

void to_double(DType dtype, const std::byte* source, std::size_t count, double* destination) {
  to_floating(dtype, source, count, destination);
}

std::size_t from_double(DType dtype, const double* source, std::size_t count, std::byte* destination) {
  const auto narrow = [](double value) { return static_cast<float>(value); };
  switch (dtype) {
    case DType::bf16:
      return store_all<std::uint16_t>(dtype, source, count, destination,
                                      [&](double value) { return float_to_bf16(narrow(value)); });
    case DType::f16:
      return store_all<std::uint16_t>(dtype, source, count, destination,
                                      [&](double value) { return float_to_f16(narrow(value)); });
    case DType::f32:
      return store_all<float>(dtype, source, count, destination, narrow);
    case DType::f64:
      return store_all<double>(dtype, source, count, destination, [](double value) { return value; });
    default:
      throw Error(ErrorKind::runtime, "cannot compute on " + std::string(name(dtype)));
  }
}

}  // namespace winnow::base
