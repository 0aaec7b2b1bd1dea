// From adapter files to the stacked factors of one module.
//
//     adapter 0  [ lora_A | lora_B ]  one read if the two lie side by side, as PEFT writes them
//     adapter 1  [ lora_A | lora_B ]        |
//     ...                                   v  float, checked
//                                     FactorStack: b (o x R), a[j] (r_j x i)
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "winnow/compute/factor_stack.hpp"
#include "winnow/input/inputs.hpp"
#include "winnow/score/expert_factors.hpp"
#include "winnow/slab/reader.hpp"

namespace winnow::score {

/// Reads several adapters at once. Adapter files stay open from module to module, as far as the process may have that
/// many open: a zoo of a thousand is not opened anew for each module.
class FactorLoader {
 public:
  /// `adapters` must outlive it.
  FactorLoader(const std::vector<adapter::Adapter>& adapters,
               const std::function<std::unique_ptr<slab::Reader>()>& make_reader, int threads);

  /// Fused experts have one lora_B for all of them: it is read once and kept, taken apart, as far as these bytes go.
  /// With less than it takes for one of each adapter it is read anew for every expert.
  void keep_blocks(std::uint64_t bytes) { block_bytes_ = bytes; }

  /// Fills in the factors of `batch` in a stack that has room for them. faults[j] tells where a factor has an entry
  /// that is not finite, or why the adapter's file cannot be read, which is not tried again then: its columns are zero,
  /// as they must not spoil their neighbours'. Throws if the error is the machine's, not one adapter's.
  void load(const std::vector<input::LayerRef>& batch, compute::FactorStack& stack, std::vector<std::string>& faults);

  /// Reads the factors of each layer of `batch`, all on one module, into a stack of their own, and calls use(position,
  /// stack) with it: on several threads at once. Not of a layer with a fault.
  void each(const std::vector<input::LayerRef>& batch, std::uint64_t out_features, std::uint64_t in_features,
            std::vector<std::string>& faults, const std::function<void(std::size_t, const compute::FactorStack&)>& use);

  /// Whether that is why an adapter has a fault.
  bool unreadable(std::uint32_t adapter) const { return !unreadable_[adapter].empty(); }

  std::uint64_t bytes_read() const;

 private:
  void load_layer(std::size_t reader, const input::LayerRef& ref, std::size_t position, compute::FactorStack& stack,
                  std::vector<std::byte>& memory, std::string& fault);
  bool fill(std::size_t reader, const input::LayerRef& ref, std::size_t position, compute::FactorStack& stack,
            int threads, std::vector<std::byte>& memory, std::string& fault);

  const adapter::LoraModule& lora(const input::LayerRef& ref) const {
    return adapters_[ref.adapter].modules[ref.position];
  }

  const std::vector<adapter::Adapter>& adapters_;
  int threads_;
  std::uint64_t block_bytes_ = 0;
  std::vector<std::unique_ptr<slab::Reader>> readers_;  // each for its own adapters
  std::vector<ExpertFactors> blocks_;                   // [readers]
  std::vector<std::string> unreadable_;                 // [adapters]: why; empty for those that could be read so far
};

}  // namespace winnow::score
