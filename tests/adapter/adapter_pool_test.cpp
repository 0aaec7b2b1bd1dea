// What many adapters cost in memory: counted by the allocator, so that it does not depend on machine, time or chance.
#include <gtest/gtest.h>

#include <cmath>
#include <cstddef>
#include <cstdlib>
#include <memory>
#include <new>
#include <string>
#include <utility>
#include <vector>

#include "winnow/adapter/adapter.hpp"
#include "winnow/base/bytes.hpp"

namespace {

/// Bytes that were asked for and not given back. A word before each block holds its size.
std::size_t held = 0;
constexpr std::size_t kHead = alignof(std::max_align_t);

}  // namespace

// NOLINTBEGIN
void* operator new(std::size_t bytes) {
  auto* block = static_cast<std::byte*>(std::malloc(bytes + kHead));
  if (block == nullptr) throw std::bad_alloc();
  *reinterpret_cast<std::size_t*>(block) = bytes;
  held += bytes;
  return block + kHead;
}
void operator delete(void* memory) noexcept {
  if (memory == nullptr) return;
  auto* block = static_cast<std::byte*>(memory) - kHead;
  held -= *reinterpret_cast<std::size_t*>(block);
  std::free(block);
}
void operator delete(void* memory, std::size_t) noexcept { operator delete(memory); }
// NOLINTEND

namespace winnow::adapter {
namespace {

constexpr std::size_t kModules = 224;  // of a model of 32 layers with 7 roles

/// As it is opened: with names and lists of its own. `lead` is what comes before its factors in the file.
Adapter opened(const std::string& name, std::uint64_t lead, double scale = 2) {
  Adapter adapter;
  adapter.name = name;
  adapter.path = "zoo/" + name;
  std::vector<LoraModule> modules;
  std::vector<SkippedTensor> skipped;
  for (std::size_t k = 0; k < kModules; ++k) {
    const auto module = "model.layers." + std::to_string(k / 7) + ".self_attn.role_" + std::to_string(k % 7) + "_proj";
    LoraModule lora;
    lora.names = std::make_shared<const ModuleNames>(ModuleNames{module, module, module + ".weight"});
    lora.rank = 2;
    lora.out_features = lora.in_features = 64;
    lora.alpha = 2 * scale;
    lora.scale = scale;
    lora.lora_a = {lead + k * 512, 256, base::DType::f16};
    lora.lora_b = {lead + k * 512 + 256, 256, base::DType::f16};
    modules.push_back(std::move(lora));
    skipped.push_back({"base_model.model." + module + ".lora_B.bias", "bias of lora_B"});
  }
  adapter.modules = std::move(modules);
  adapter.skipped = std::move(skipped);
  return adapter;
}

std::vector<Adapter> zoo(std::size_t count, bool alike) {
  AdapterPool pool;
  std::vector<Adapter> adapters;
  adapters.reserve(count);
  for (std::size_t n = 0; n < count; ++n) {
    adapters.push_back(opened("adapter-" + std::to_string(n), alike ? 4096 : 4096 + 8 * n));
    pool.share(adapters.back());
  }
  return adapters;
}

/// That one more adapter holds, beyond what is there for the first 50.
double bytes_an_adapter(bool alike) {
  const auto before = held;
  const auto few = zoo(50, alike);
  const auto of_few = held - before;
  const auto many = zoo(150, alike);
  const auto of_many = held - before - of_few;
  EXPECT_EQ(few.size() + many.size(), 200U);
  return static_cast<double>(of_many - of_few) / 100;
}

TEST(AdapterPool, OneMoreAdapterOfTheSameShapeCostsNoModules) {
  EXPECT_LE(bytes_an_adapter(true), sizeof(Adapter) + 256);
}

TEST(AdapterPool, OneMoreAdapterOfAnotherShapeCostsNoNames) {
  EXPECT_LE(bytes_an_adapter(false), sizeof(Adapter) + 256 + kModules * sizeof(LoraModule) + 64);
  EXPECT_LE(sizeof(LoraModule), 120U);
}

TEST(AdapterPool, AMessageHasEachNameAndListOnce) {
  const auto bytes = [](std::size_t count, bool alike) {
    base::ByteWriter out;
    serialise(zoo(count, alike), out);
    return out.bytes().size();
  };
  EXPECT_LE(bytes(150, true) - bytes(50, true), 100 * 256U);
  EXPECT_LE(bytes(150, false) - bytes(50, false), 100 * (256U + kModules * 100U));
}

TEST(AdapterPool, WhatIsReceivedIsSharedAsWell) {
  base::ByteWriter out;
  serialise(zoo(3, true), out);
  base::ByteReader in(out.bytes());
  const auto received = deserialise_adapters(in);
  EXPECT_TRUE(in.at_end());
  ASSERT_EQ(received.size(), 3U);
  EXPECT_EQ(received[0].modules.id(), received[2].modules.id());
  EXPECT_EQ(received[0].skipped.id(), received[2].skipped.id());
  EXPECT_EQ(received[2].name, "adapter-2");
  EXPECT_TRUE(received[2].unjudged.empty());
  ASSERT_EQ(received[2].modules.size(), kModules);
  const auto wanted = opened("adapter-2", 4096);
  for (std::size_t k = 0; k < kModules; ++k) {
    EXPECT_TRUE(received[2].modules[k].is_same(wanted.modules[k])) << k;
    EXPECT_TRUE(received[2].skipped[k].is_same(wanted.skipped[k])) << k;
  }
}

TEST(AdapterPool, OfEqualNumbersEachStaysWhatItIs) {
  AdapterPool pool;
  auto zero = opened("zero", 0, 0.0), negative = opened("negative", 0, -0.0);
  pool.share(zero);
  pool.share(negative);
  EXPECT_FALSE(std::signbit(zero.modules[0].scale));
  EXPECT_TRUE(std::signbit(negative.modules[0].scale));
  EXPECT_EQ(zero.modules[0].names, negative.modules[0].names);
}

TEST(AdapterPool, AnythingThatDiffersIsKept) {
  const auto wanted = opened("a", 4096).modules;
  const auto with = [&](const auto& change) {
    AdapterPool pool;
    auto first = opened("a", 4096), other = opened("b", 4096);
    other.modules.edit([&](auto& modules) { change(modules[100]); });
    const auto changed = other.modules[100];
    pool.share(first);
    pool.share(other);
    EXPECT_NE(first.modules.id(), other.modules.id());
    EXPECT_TRUE(other.modules[100].is_same(changed));
    EXPECT_TRUE(first.modules[100].is_same(wanted[100]));
  };
  with([](LoraModule& lora) { lora.rank = 3; });
  with([](LoraModule& lora) { lora.out_features = 3; });
  with([](LoraModule& lora) { lora.in_features = 3; });
  with([](LoraModule& lora) { lora.stored_transposed = true; });
  with([](LoraModule& lora) { lora.alpha = 3; });
  with([](LoraModule& lora) { lora.scale = 3; });
  with([](LoraModule& lora) { lora.lora_a.offset = 3; });
  with([](LoraModule& lora) { lora.lora_b.bytes = 3; });
  with([](LoraModule& lora) { lora.lora_b.dtype = base::DType::f32; });
  with([](LoraModule& lora) { lora.names = std::make_shared<const ModuleNames>(ModuleNames{"m", "m", "m.weight"}); });
}

TEST(SharedList, AnEditIsOfOneOwner) {
  const base::SharedList<int> list{1, 2};
  auto other = list;
  EXPECT_EQ(list.id(), other.id());
  other.edit([](auto& items) { items.push_back(3); });
  EXPECT_EQ(list.size(), 2U);
  EXPECT_EQ(other.at(2), 3);
  EXPECT_EQ(base::SharedList<int>(std::vector<int>()).id(), nullptr);
  EXPECT_TRUE(base::SharedList<int>().all().empty());
}

}  // namespace
}  // namespace winnow::adapter
