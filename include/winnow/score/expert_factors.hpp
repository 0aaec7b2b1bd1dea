// The lora_B of fused experts, read once for all of them.
//
//     in the file   b00 of expert 0, b00 of expert 1, ... b01 of expert 0, ...      PEFT: [out, r, experts]
//     kept          all of expert 0, all of expert 1, ...                           in the same dtype
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <list>
#include <span>
#include <vector>

#include "winnow/adapter/adapter.hpp"

namespace winnow::score {

/// Keeps the blocks that were used last. For one thread.
class ExpertFactors {
 public:
  /// The bytes of `factor`, which has a step above 1, of adapter number `adapter`. `read` fills memory with all bytes
  /// of the block, and is called if they are not here. As many blocks stay as `room` bytes hold, and always the last
  /// one. What it returns is valid until the next call.
  std::span<const std::byte> get(std::uint32_t adapter, const adapter::FactorLocation& factor, std::uint64_t room,
                                 const std::function<void(std::span<std::byte>)>& read);

 private:
  struct Block {
    std::uint32_t adapter = 0;
    std::uint64_t offset = 0;
    std::vector<std::byte> bytes;
  };
  std::list<Block> blocks_;  // the one used last is the first
  std::uint64_t held_ = 0;
};

}  // namespace winnow::score
