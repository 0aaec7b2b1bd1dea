// Writes an adapter of which there was none: factors that were made of weights.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "winnow/adapter/replaced_adapter.hpp"
#include "winnow/base/dtype.hpp"

namespace winnow::adapter {

struct NewModule {
  std::string module;  ///< full name in the model
  std::uint64_t rank = 0, out_features = 0, in_features = 0;
};

/// Of scale 1, dW = B * A.
struct NewAdapter {
  std::string base_model;  ///< base_model_name_or_path
  std::string task_type;   ///< of PEFT, such as CAUSAL_LM; empty: null
  bool fan_in_fan_out = false;
  base::DType dtype = base::DType::f32;
  std::vector<NewModule> modules;
};

/// Little-endian, in NewAdapter::dtype: rank x in, out x rank, row-major.
struct NewFactors {
  std::vector<std::byte> a, b;
};

/// Writes adapter_model.safetensors, adapter_config.json and winnow.json as PEFT, vLLM and llama.cpp read them: every
/// module has the largest rank, what is missing is zero, lora_alpha = r and there are no patterns. `factors` is asked
/// for each module in turn. The directory appears whole or not at all; what is in its place is refused as
/// write_pruned_adapter() does. Throws Error(usage) for the destination, Error(runtime) for an I/O error and for
/// factors of the wrong size. Returns the rank.
std::uint64_t write_new_adapter(const std::string& destination, const NewAdapter& adapter,
                                const std::function<NewFactors(std::size_t)>& factors, const RepairNote& note);

}  // namespace winnow::adapter
