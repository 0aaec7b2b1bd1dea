#include "winnow/base/philox.hpp"

#include <Random123/philox.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>

namespace winnow::base {
namespace {

using Block = std::array<std::uint32_t, 4>;

Block philox_block(std::uint64_t seed, std::uint64_t stream, std::uint64_t index) {
  const r123::Philox4x32::key_type key = {{static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32)}};
  const r123::Philox4x32::ctr_type counter = {
      {static_cast<std::uint32_t>(index), static_cast<std::uint32_t>(index >> 32), static_cast<std::uint32_t>(stream),
       static_cast<std::uint32_t>(stream >> 32)}};
  const auto words = r123::Philox4x32()(counter, key);
  return {words[0], words[1], words[2], words[3]};
}

double to_unit(std::uint32_t word) { return (static_cast<double>(word) + 0.5) * 0x1p-32; }

/// Fills `out` with elements first .. of a sequence that comes in groups of `Width`, each made by group(number, out).
template <std::size_t Width, class T, class Group>
void fill_by_groups(std::uint64_t first, std::size_t count, T* out, const Group& group) {
  std::size_t done = 0;
  while (done < count) {
    const std::uint64_t position = first + done;
    const std::size_t skip = position % Width;
    if (skip == 0 && count - done >= Width) {
      group(position / Width, out + done);
      done += Width;
      continue;
    }
    std::array<T, Width> whole;
    group(position / Width, whole.data());
    const auto take = std::min(Width - skip, count - done);
    std::copy_n(whole.begin() + static_cast<std::ptrdiff_t>(skip), take, out + done);
    done += take;
  }
}

template <class T>
void fill_normals(const BitStream& bits, std::uint64_t first, std::size_t count, T* out) {
  fill_by_groups<4>(first, count, out, [&](std::uint64_t index, T* four) {
    std::array<double, 4> u;
    bits.fill_uniform(index * 4, 4, u.data());
    for (std::size_t pair = 0; pair < 4; pair += 2) {
      const double radius = std::sqrt(-2.0 * std::log(u[pair]));
      const double angle = 2.0 * std::numbers::pi * u[pair + 1];
      four[pair] = static_cast<T>(radius * std::cos(angle));
      four[pair + 1] = static_cast<T>(radius * std::sin(angle));
    }
  });
}

}  // namespace

std::uint64_t fnv1a(std::string_view text) noexcept {
  std::uint64_t hash = 0xcbf29ce484222325U;
  for (const char c : text) {
    hash ^= static_cast<unsigned char>(c);
    hash *= 0x100000001b3U;
  }
  return hash;
}

void BitStream::fill(std::uint64_t first, std::size_t count, std::uint32_t* out) const {
  fill_by_groups<4>(first, count, out, [this](std::uint64_t index, std::uint32_t* four) {
    const auto block = philox_block(seed_, stream_, index);
    std::copy(block.begin(), block.end(), four);
  });
}

void BitStream::fill_uniform(std::uint64_t first, std::size_t count, double* out) const {
  fill_by_groups<4>(first, count, out, [this](std::uint64_t index, double* four) {
    const auto block = philox_block(seed_, stream_, index);
    std::transform(block.begin(), block.end(), four, to_unit);
  });
}

double BitStream::uniform(std::uint64_t position) const {
  double value = 0.0;
  fill_uniform(position, 1, &value);
  return value;
}

void NormalStream::fill(std::uint64_t first, std::size_t count, float* out) const {
  fill_normals(bits_, first, count, out);
}

void NormalStream::fill(std::uint64_t first, std::size_t count, double* out) const {
  fill_normals(bits_, first, count, out);
}

double NormalStream::at(std::uint64_t position) const {
  double value = 0.0;
  fill(position, 1, &value);
  return value;
}

}  // namespace winnow::base
