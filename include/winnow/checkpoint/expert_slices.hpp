// Fused experts: one tensor of three dimensions holds the weights of all experts of a layer.
//
//     model.layers.0.mlp.experts.gate_up_proj       [experts, rows, columns]
//     model.layers.0.mlp.experts.3.gate_up_proj     what its fourth slice is called here, as if stored by itself
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "winnow/checkpoint/catalogue.hpp"

namespace winnow::checkpoint {

/// A block of more experts is none: models have a few hundred.
inline constexpr std::uint64_t kMostExperts = 4096;

/// Whether a tensor of this name and shape is a block of experts: a bare parameter of a module that is called experts
/// (Mixtral, Qwen, DeepSeek, gpt-oss and Llama 4 as transformers 5 has them in memory, and some of them on disk), or
/// Granite's input_linear and output_linear.
bool is_expert_block(std::string_view tensor, const std::vector<std::uint64_t>& shape);

/// The name of an expert in a block, without ".weight": its number before the last part of the block's name.
/// `block` is the parameter's name, with or without ".weight".
std::string expert_name(std::string_view block, std::uint64_t expert);

/// Fills in Catalogue::experts.
void add_expert_slices(Catalogue& catalogue);

}  // namespace winnow::checkpoint
