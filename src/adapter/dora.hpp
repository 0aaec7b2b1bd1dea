// DoRA beside the weights: updates of full rank. Private to src/adapter.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "winnow/adapter/adapter.hpp"
#include "winnow/checkpoint/catalogue.hpp"

namespace winnow::adapter {

struct DoraLayers {
  std::vector<DenseUpdate> updates;
  std::vector<UnjudgedModule> unjudged;
};

/// Takes all LoRA modules of a DoRA adapter. `magnitudes`: the tensors lora_magnitude_vector, by the adapter's name of
/// the module; `aligned`: where the weights are. Not judged is a module without one (PEFT makes it up), one that is
/// stored [in, out], an expert, and one whose weight the aligned checkpoint has not alike.
DoraLayers dora_layers(std::vector<LoraModule> modules,
                       const std::map<std::string, const checkpoint::TensorLocation*>& magnitudes,
                       const checkpoint::Catalogue& aligned);

}  // namespace winnow::adapter
