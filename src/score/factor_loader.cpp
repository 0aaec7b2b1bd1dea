#include "winnow/score/factor_loader.hpp"

#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <span>

#include "winnow/base/parallel.hpp"

namespace winnow::score {
namespace {

using input::LayerRef;

constexpr std::size_t kBlock = 1U << 16U;  ///< elements that one thread converts at a time

/// As stored, what several adapters may take at once: a part of the memory that is set aside for little things.
constexpr std::uint64_t kMostInFlight = 16ULL << 20;

/// Descriptors that are not the adapters': shards, libraries, MPI.
constexpr std::uint64_t kOtherFiles = 64;

/// How many adapter files may be open, half of what the process is allowed.
std::size_t most_open_files() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur <= 2 * kOtherFiles) return 1;
  return static_cast<std::size_t>(std::min<std::uint64_t>(limit.rlim_cur, 1U << 16U) - kOtherFiles) / 2;
}

/// Both factors of a layer, as stored, in memory that is used again.
struct Raw {
  std::span<const std::byte> a, b;
};

/// Of an expert in a block: lora_B is taken from what `blocks` keeps.
Raw read_expert(slab::Reader& reader, const std::string& file, std::uint32_t adapter, const adapter::LoraModule& lora,
                ExpertFactors& blocks, std::uint64_t room, std::vector<std::byte>& memory) {
  const auto &a = lora.lora_a, &b = lora.lora_b;
  if (memory.size() < a.bytes) memory.resize(a.bytes);
  const auto of_a = std::span(memory).first(a.bytes);
  reader.read(file, a.offset, of_a, fmt::format("lora_A of {}", lora.adapter_module()));
  const auto of_b = blocks.get(adapter, b, room, [&](std::span<std::byte> all) {
    reader.read(file, b.offset, all, fmt::format("lora_B of {}", lora.adapter_module()));
  });
  return {of_a, of_b};
}

Raw read_raw(slab::Reader& reader, const std::string& file, const adapter::LoraModule& lora,
             std::vector<std::byte>& memory) {
  const auto &a = lora.lora_a, &b = lora.lora_b;
  if (memory.size() < a.bytes + b.bytes) memory.resize(a.bytes + b.bytes);
  const auto all = std::span(memory).first(a.bytes + b.bytes);
  const bool b_first = b.offset + b.bytes == a.offset;
  const auto of_a = all.subspan(b_first ? b.bytes : 0, a.bytes), of_b = all.subspan(b_first ? 0 : a.bytes, b.bytes);
  const auto name = [&](const char* factor) { return fmt::format("{} of {}", factor, lora.adapter_module()); };
  if (b_first || a.offset + a.bytes == b.offset) {
    reader.read(file, std::min(a.offset, b.offset), all, name("factors"));
  } else {
    reader.read(file, a.offset, of_a, name("lora_A"));
    reader.read(file, b.offset, of_b, name("lora_B"));
  }
  return {of_a, of_b};
}

/// The first value that is not finite, or their number.
std::size_t first_not_finite(const float* values, std::size_t count) {
  std::int32_t largest = 0;  // of the bits without the sign: beyond those of the largest number all are not finite
  for (std::size_t k = 0; k < count; ++k) {
    largest = std::max(largest, std::bit_cast<std::int32_t>(values[k]) & 0x7FFFFFFF);
  }
  if (std::isfinite(std::bit_cast<float>(largest))) return count;
  return static_cast<std::size_t>(std::find_if_not(values, values + count, [](float x) { return std::isfinite(x); }) -
                                  values);
}

/// Converts `rows` x `columns` elements into rows that begin `stride` floats apart. Returns the first element that is
/// not finite, or their number.
std::size_t convert(base::DType dtype, std::span<const std::byte> raw, std::size_t rows, std::size_t columns, float* to,
                    std::size_t stride, int threads) {
  const std::size_t block_rows = std::max<std::size_t>(1, kBlock / columns), size = base::element_bytes(dtype);
  std::atomic<std::size_t> first_fault{rows * columns};
  base::parallel_blocks((rows + block_rows - 1) / block_rows, threads, [&](std::size_t block, int) {
    const std::size_t first = block * block_rows, count = std::min(block_rows, rows - first);
    std::vector<float> apart;
    float* values = to + first * stride;
    if (stride != columns) {
      apart.resize(count * columns);
      values = apart.data();
    }
    base::to_float(dtype, raw.data() + first * columns * size, count * columns, values);
    if (const auto bad = first_not_finite(values, count * columns); bad != count * columns) {
      const auto element = first * columns + bad;
      for (auto seen = first_fault.load(); element < seen && !first_fault.compare_exchange_weak(seen, element);) {
      }
    }
    if (stride == columns) return;
    for (std::size_t r = 0; r < count; ++r) std::copy_n(values + r * columns, columns, to + (first + r) * stride);
  });
  return first_fault;
}

}  // namespace

FactorLoader::FactorLoader(const std::vector<adapter::Adapter>& adapters,
                           const std::function<std::unique_ptr<slab::Reader>()>& make_reader, int threads)
    : adapters_(adapters), threads_(std::max(threads, 1)), unreadable_(adapters.size()) {
  const auto readers = std::min(static_cast<std::size_t>(threads_), std::max<std::size_t>(1, adapters.size()));
  for (std::size_t n = 0; n < readers; ++n) {
    readers_.push_back(make_reader());
    readers_.back()->keep_open(std::max<std::size_t>(1, most_open_files() / readers));
  }
  blocks_.resize(readers);
}

void FactorLoader::load(const std::vector<LayerRef>& batch, compute::FactorStack& stack,
                        std::vector<std::string>& faults) {
  std::uint64_t largest = 0;
  for (const auto& ref : batch) {
    largest = std::max(largest, lora(ref).lora_a.own_bytes() + lora(ref).lora_b.own_bytes());
  }
  // Here and not on the threads that fill them: each has a heap of its own, which keeps what this thread frees later.
  for (std::size_t j = 0; j < batch.size(); ++j) stack.a[j].resize(lora(batch[j]).rank * stack.in_features);
  const auto at_once = static_cast<int>(
      std::clamp<std::uint64_t>(kMostInFlight / std::max<std::uint64_t>(largest, 1), 1, readers_.size()));
  // An adapter is always read by the same reader, which then has its file open.
  base::parallel_blocks(readers_.size(), at_once, [&](std::size_t reader, int) {
    std::vector<std::byte> memory;
    for (std::size_t j = 0; j < batch.size(); ++j) {
      if (batch[j].adapter % readers_.size() == reader) load_layer(reader, batch[j], j, stack, memory, faults[j]);
    }
  });
}

void FactorLoader::each(const std::vector<LayerRef>& batch, std::uint64_t out_features, std::uint64_t in_features,
                        std::vector<std::string>& faults,
                        const std::function<void(std::size_t, const compute::FactorStack&)>& use) {
  base::parallel_blocks(readers_.size(), static_cast<int>(readers_.size()), [&](std::size_t reader, int) {
    compute::FactorStack one;
    std::vector<std::byte> memory;
    for (std::size_t j = 0; j < batch.size(); ++j) {
      if (batch[j].adapter % readers_.size() != reader) continue;
      const auto rank = lora(batch[j]).rank;
      if (one.ranks != std::vector{rank}) one = compute::make_factor_stack(out_features, in_features, {rank}, 0, 0, "");
      one.a[0].resize(rank * in_features);
      one.exponents[0] = 0;
      if (fill(reader, batch[j], 0, one, 1, memory, faults[j])) use(j, one);
    }
  });
}

void FactorLoader::load_layer(std::size_t reader, const LayerRef& ref, std::size_t position,
                              compute::FactorStack& stack, std::vector<std::byte>& memory, std::string& fault) {
  if (fill(reader, ref, position, stack, threads_, memory, fault)) return;
  const std::size_t columns = stack.columns(), rank = lora(ref).rank;
  for (std::size_t row = 0; row < stack.out_features; ++row) {
    std::fill_n(&stack.b[row * columns + stack.first_column(position)], rank, 0.0F);
  }
  std::fill(stack.a[position].begin(), stack.a[position].end(), 0.0F);
}

/// Whether both factors are in their place, every entry finite.
bool FactorLoader::fill(std::size_t reader, const LayerRef& ref, std::size_t position, compute::FactorStack& stack,
                        int threads, std::vector<std::byte>& memory, std::string& fault) {
  const auto& lora = this->lora(ref);
  auto& unreadable = unreadable_[ref.adapter];  // of this reader's adapters, so of this thread alone
  Raw raw;
  try {
    // Storage that fails may take minutes to say so: it is asked once, not once a module.
    if (unreadable.empty()) {
      const auto& file = adapters_[ref.adapter].weights_file;
      raw = lora.lora_b.step == 1 ? read_raw(*readers_[reader], file, lora, memory)
                                  : read_expert(*readers_[reader], file, ref.adapter, lora, blocks_[reader],
                                                block_bytes_ / readers_.size(), memory);
    }
  } catch (const base::Error& error) {
    if (!adapter::concerns_adapter_alone(error)) throw;
    unreadable = error.what();
  }
  if (!unreadable.empty()) {
    fault = unreadable;
    return false;
  }
  const std::size_t columns = stack.columns(), rank = lora.rank;
  float* const b = &stack.b[stack.first_column(position)];
  auto& a = stack.a[position];
  const auto check = [&](const char* factor, const adapter::FactorLocation& tensor, std::size_t first_fault) {
    if (first_fault == tensor.own_bytes() / base::element_bytes(tensor.dtype)) return true;
    fault = fmt::format("{} of {} is not finite at element {}", factor, lora.adapter_module(), first_fault);
    return false;
  };
  const bool filled =
      check("lora_B", lora.lora_b, convert(lora.lora_b.dtype, raw.b, stack.out_features, rank, b, columns, threads)) &&
      check("lora_A", lora.lora_a,
            convert(lora.lora_a.dtype, raw.a, rank, stack.in_features, a.data(), stack.in_features, threads));
  if (filled) compute::bring_into_range(stack, position);
  return filled;
}

std::uint64_t FactorLoader::bytes_read() const {
  std::uint64_t bytes = 0;
  for (const auto& reader : readers_) bytes += reader->bytes_read();
  return bytes;
}

}  // namespace winnow::score
