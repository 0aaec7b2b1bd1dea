#include "winnow/synth/weights.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>

namespace winnow::synth {
namespace {

constexpr std::size_t kChunk = 2048;  // elements worked on at a time: stays in the first-level cache

// As base::float_to_bf16 rounds, for finite numbers only, inline so that the loops below vectorise.
std::uint16_t round_to_bf16(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  return static_cast<std::uint16_t>((bits + 0x7fffU + ((bits >> 16) & 1U)) >> 16);
}
float from_bf16(std::uint16_t bits) { return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16); }

CheapNormals base_numbers(std::uint64_t seed, const checkpoint::TensorSpec& tensor, const Module* module) {
  const auto stream = "W/" + tensor.name;
  if (module != nullptr) return {seed, stream, base_std(*module)};
  if (tensor.shape.size() == 1) return {seed, stream, 0.05, 1.0};  // a norm's gains
  return {seed, stream, 0.02};                                     // embeddings, as initialised
}

}  // namespace

CheapNormals::CheapNormals(std::uint64_t seed, std::string_view stream, double std, double mean)
    // A byte is uniform on 0..255: variance (256² - 1)/12; four of them.
    : bits_(seed, stream),
      scale_(static_cast<float>(std / std::sqrt((65536.0 - 1.0) / 3.0))),
      mean_(static_cast<float>(mean)) {}

void CheapNormals::fill(std::uint64_t first, std::size_t count, float* out) const {
  std::array<std::uint32_t, kChunk> words;
  for (std::size_t done = 0; done < count; done += kChunk) {
    const auto size = std::min(kChunk, count - done);
    bits_.fill(first + done, size, words.data());
    for (std::size_t n = 0; n < size; ++n) {
      const std::uint32_t pairs = (words[n] & 0x00ff00ffU) + ((words[n] >> 8) & 0x00ff00ffU);
      const auto sum = static_cast<std::int32_t>((pairs & 0xffffU) + (pairs >> 16));
      out[done + n] = mean_ + scale_ * static_cast<float>(sum - 510);
    }
  }
}

TensorRows::TensorRows(std::uint64_t seed, const checkpoint::TensorSpec& tensor, const Module* module, bool aligned)
    : rows_(tensor.shape.size() > 1 ? tensor.shape.front() : 1),
      columns_(tensor.shape.back()),
      base_(base_numbers(seed, tensor, module)) {
  if (module == nullptr || !aligned) return;
  const auto step = make_alignment_step(seed, *module);
  k_ = step.k;
  tail_.emplace(seed, "V.tail/" + module->name, step.tail_std);
  scaled_left_.resize(step.left.size());
  for (std::size_t at = 0; at < step.left.size(); ++at) {
    scaled_left_[at] = static_cast<float>(step.left[at] * step.sigma[at % k_]);
  }
  right_.assign(step.right.begin(), step.right.end());
}

void TensorRows::make(std::uint64_t first, std::uint64_t count, std::uint16_t* out) const {
  std::array<float, kChunk> base, change;
  for (std::uint64_t row = first; row < first + count; ++row) {
    for (std::uint64_t column = 0; column < columns_; column += kChunk) {
      const auto size = std::min<std::size_t>(kChunk, columns_ - column);
      auto* const target = out + (row - first) * columns_ + column;
      base_.fill(row * columns_ + column, size, base.data());
      for (std::size_t n = 0; n < size; ++n) target[n] = round_to_bf16(base[n]);
      if (!tail_) continue;
      tail_->fill(row * columns_ + column, size, change.data());
      for (std::size_t j = 0; j < k_; ++j) {
        const float left = scaled_left_[row * k_ + j];
        const float* right = right_.data() + j * columns_ + column;
        for (std::size_t n = 0; n < size; ++n) change[n] += left * right[n];
      }
      for (std::size_t n = 0; n < size; ++n) target[n] = round_to_bf16(from_bf16(target[n]) + change[n]);
    }
  }
}

}  // namespace winnow::synth
