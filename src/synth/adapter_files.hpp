// One synthetic adapter as PEFT writes it.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "winnow/synth/model.hpp"
#include "winnow/synth/update.hpp"

namespace winnow::synth {

/// What is to be written.
struct AdapterPlan {
  std::string preset;
  std::vector<Module> modules;
  std::uint64_t rank = 0;
  double alpha = 0;
  std::function<LoraFactors(const Module&)> update;  ///< called by several threads; not without weights
  bool headers_only = false;
};

std::string adapter_config_json(const AdapterPlan& plan);

/// Writes adapter_config.json and adapter_model.safetensors into `directory`.
void write_adapter(const AdapterPlan& plan, const std::string& directory, int threads);

}  // namespace winnow::synth
