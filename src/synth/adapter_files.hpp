// One synthetic adapter as PEFT writes it.
#pragma once

#include <string>
#include <vector>

#include "winnow/synth/synth.hpp"

namespace winnow::synth {

std::string adapter_config_json(const SynthOptions& options);

/// Writes adapter_config.json and adapter_model.safetensors into `directory`.
void write_adapter(const SynthOptions& options, const std::string& adapter, const std::vector<Module>& modules,
                   const std::vector<Planted>& planted, const std::string& directory, int threads);

}  // namespace winnow::synth
