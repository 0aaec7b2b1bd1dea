// What adapters have in common is in memory once.
#include <bit>
#include <functional>
#include <string_view>

#include "winnow/adapter/adapter.hpp"

namespace winnow::adapter {

namespace {

constexpr std::uint64_t kMix = 0x9E3779B97F4A7C15;  // odd: 2^64 by the golden ratio

std::uint64_t mixed() { return 0; }
template <class... Rest>
std::uint64_t mixed(std::uint64_t first, Rest... rest) {
  const auto hash = (first + mixed(rest...)) * kMix;
  return hash ^ (hash >> 32U);
}

std::uint64_t hash_of(std::string_view text) { return std::hash<std::string_view>()(text); }

/// Of equal numbers that differ as bits, 0 and -0, each stays what it is.
std::uint64_t bits(double number) { return std::bit_cast<std::uint64_t>(number); }

}  // namespace

std::uint64_t LoraModule::hash() const noexcept {
  return mixed(names ? hash_of(names->adapter_module) : 0, rank, bits(scale), lora_a.offset, lora_b.offset);
}

bool LoraModule::is_same(const LoraModule& other) const noexcept {
  if (names != other.names && (!names || !other.names || *names != *other.names)) return false;
  return rank == other.rank && out_features == other.out_features && in_features == other.in_features &&
         stored_transposed == other.stored_transposed && bits(alpha) == bits(other.alpha) &&
         bits(scale) == bits(other.scale) && lora_a == other.lora_a && lora_b == other.lora_b &&
         shares_a == other.shares_a;
}

std::uint64_t DenseUpdate::hash() const noexcept {
  return mixed(names ? hash_of(names->adapter_module) : 0, rank, bits(scale), weight.offset, lora_a.offset);
}

bool DenseUpdate::is_same(const DenseUpdate& other) const noexcept {
  if (names != other.names && (!names || !other.names || *names != *other.names)) return false;
  return out_features == other.out_features && in_features == other.in_features &&
         stored_transposed == other.stored_transposed && weight == other.weight && rank == other.rank &&
         bits(scale) == bits(other.scale) && lora_a == other.lora_a && lora_b == other.lora_b &&
         magnitude == other.magnitude;
}

std::uint64_t SkippedTensor::hash() const noexcept { return mixed(hash_of(key), hash_of(reason)); }

std::uint64_t UnjudgedModule::hash() const noexcept { return mixed(hash_of(module), hash_of(reason)); }

std::size_t AdapterPool::HashNames::operator()(const std::shared_ptr<const ModuleNames>& names) const noexcept {
  return mixed(hash_of(names->module), hash_of(names->adapter_module));
}

void AdapterPool::share(Adapter& adapter) {
  const std::lock_guard lock(mutex_);
  adapter.modules = modules_.share(adapter.modules, [&](base::SharedList<LoraModule> list) {
    list.edit([&](std::vector<LoraModule>& modules) {  // of one that differs the names are the same all the same
      for (auto& module : modules) {
        if (module.names) module.names = *names_.insert(module.names).first;
      }
    });
    return list;
  });
  adapter.dense = dense_.share(adapter.dense);
  adapter.skipped = skipped_.share(adapter.skipped);
  adapter.unjudged = unjudged_.share(adapter.unjudged);
}

}  // namespace winnow::adapter
