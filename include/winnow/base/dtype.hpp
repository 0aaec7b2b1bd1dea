// Element types of the safetensors format, and conversion of those winnow computes on.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace winnow::base {

/// Every dtype of safetensors 0.8 (huggingface/safetensors, tensor.rs).
enum class DType : std::uint8_t {
  boolean,
  f4,
  f6_e2m3,
  f6_e3m2,
  u8,
  i8,
  f8_e5m2,
  f8_e4m3,
  f8_e8m0,
  f8_e4m3fnuz,
  f8_e5m2fnuz,
  i16,
  u16,
  f16,
  bf16,
  i32,
  u32,
  f32,
  c64,
  f64,
  i64,
  u64,
};

std::optional<DType> parse_dtype(std::string_view name);  ///< by its name in the format, e.g. "BF16"
std::string_view name(DType dtype);
std::size_t bits(DType dtype);           ///< bits an element takes: 4, 6, 8, 16, 32 or 64
bool is_computable(DType dtype);         ///< F64, F32, F16, BF16: what the alignment pass takes
std::size_t element_bytes(DType dtype);  ///< for computable dtypes

float bf16_to_float(std::uint16_t bits);
float f16_to_float(std::uint16_t bits);
std::uint16_t float_to_bf16(float value);  ///< round to nearest, ties to even; NaN stays NaN
std::uint16_t float_to_f16(float value);   ///< likewise; overflow gives infinity

/// Converts `count` little-endian elements at `source` (any alignment) of a computable dtype. Exact, except F64 to
/// float, which rounds.
void to_float(DType dtype, const std::byte* source, std::size_t count, float* destination);
void to_double(DType dtype, const std::byte* source, std::size_t count, double* destination);

/// The way back: rounds to nearest, by way of float for the 16-bit dtypes. Returns the first element that the dtype
/// cannot hold (it becomes infinite), or that is not finite itself; `count` if there is none.
std::size_t from_double(DType dtype, const double* source, std::size_t count, std::byte* destination);

}  // namespace winnow::base
