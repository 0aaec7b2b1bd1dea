// From the module names of an adapter to the tensor names of a checkpoint. They differ by a prefix more often than not,
// and a mismatch that silently does nothing is the commonest failure in the field: exactly one match, or an error.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "winnow/checkpoint/catalogue.hpp"
#include "winnow/checkpoint/model_config.hpp"

namespace winnow::adapter {

struct MappedWeight {
  std::string module;                                    ///< as the checkpoint names it, without ".weight"
  std::string weight;                                    ///< the tensor
  const checkpoint::TensorLocation* location = nullptr;  ///< in the catalogue
  bool tied = false;                                     ///< an output head found as the tied embedding
};

/// Every name `module` may have in a checkpoint, without ".weight": the name itself first, then with its prefix
/// replaced by each of the aliases in their order (model.layers, model.language_model.layers, ...), all of these then
/// under the other names of a part in their middle (Mixtral's router).
std::vector<std::string> module_aliases(std::string_view module);

/// Whether `module` is the layer that turns hidden states into scores of tokens, which models tie to their embedding.
bool is_output_head(std::string_view module);

/// Whether `module` is an embedding of tokens, which PEFT gives factors of other names than a linear layer.
bool is_embedding(std::string_view module);

/// Whether the checkpoint numbers layers as `module` does and has none of its number: the adapter is of a larger model.
bool lies_beyond_last_layer(std::string_view module, const checkpoint::Catalogue& weights);

/// The one tensor that belongs to `module`, if any. An output head that the checkpoint does not store falls back to the
/// embedding it is tied to, unless the model's config says that they are not tied.
/// Throws Error(invalid_input) if several match.
std::optional<MappedWeight> find_module(std::string_view module, const checkpoint::Catalogue& weights,
                                        const checkpoint::ModelConfig& model);

/// The same, but throws Error(invalid_input) if none matches, naming the nearest tensors there are.
MappedWeight map_module(std::string_view module, const checkpoint::Catalogue& weights,
                        const checkpoint::ModelConfig& model);

}  // namespace winnow::adapter
