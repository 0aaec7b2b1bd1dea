#include "file_factors.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "refusal.hpp"

namespace winnow::adapter {
namespace {

/// No update has a rank above its dimensions, but that of a layer with few outputs (a router) may be given one.
constexpr std::uint64_t kLargestOddRank = 1024;

}  // namespace

bool is_loadable(const AdapterKey& key) {
  return key.prefixed && (key.adapter_name.empty() || key.adapter_name == "default");
}

bool is_loadable(const FileFactors& factors) {
  const auto fits = [](const std::string& key) { return key.empty() || is_loadable(parse_adapter_key(key)); };
  return fits(factors.a_key) && fits(factors.b_key);
}

void check_factors(const std::string& module, const FileFactors& factors, const std::string& weights_file) {
  if (factors.a == nullptr || factors.b == nullptr) {
    throw bad_adapter(fmt::format("module {} has {} without {}", module, factors.a ? "lora_A" : "lora_B",
                                  factors.a ? "lora_B" : "lora_A"))
        .file(weights_file);
  }
  for (const auto& [factor, key] : {std::pair(factors.a, factors.a_key), std::pair(factors.b, factors.b_key)}) {
    const auto& shape = factor->shape;
    if (shape.size() != 2 || std::find(shape.begin(), shape.end(), 0U) != shape.end()) {
      const bool rank_zero = shape.size() == 2 && (factor == factors.a ? shape[0] : shape[1]) == 0;
      throw bad_adapter(rank_zero ? fmt::format("module {} has rank 0", module)
                                  : fmt::format("a factor of module {} is not a matrix", module))
          .file(weights_file)
          .tensor(key)
          .expected(fmt::format("two dimensions above 0, found {}", shape_text(shape)))
          .advice("sharded training must gather its parameters before saving");
    }
    if (!base::is_computable(factor->dtype)) {
      throw bad_adapter(fmt::format("a factor of module {} cannot be computed on", module))
          .file(weights_file)
          .tensor(key)
          .expected(fmt::format("F64, F32, F16 or BF16, found {}", base::name(factor->dtype)));
    }
  }
  const auto rank = factors.a->shape[0], largest = std::max(factors.a->shape[1], factors.b->shape[0]);
  if (rank > std::max(largest, kLargestOddRank)) {
    throw bad_adapter(fmt::format("module {} has a rank above that of any update", module))
        .file(weights_file)
        .tensor(factors.a_key)
        .expected(fmt::format("at most {}, found {}", std::max(largest, kLargestOddRank), rank));
  }
  if (factors.a->shape[0] != factors.b->shape[1]) {
    throw bad_adapter(fmt::format("the factors of module {} differ in rank", module))
        .file(weights_file)
        .expected(fmt::format("lora_A [r, in] and lora_B [out, r], found {} and {}", shape_text(factors.a->shape),
                              shape_text(factors.b->shape)));
  }
}

}  // namespace winnow::adapter
