// Layer, role and order of modules, from their names alone.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace winnow::input {

/// The first number among the name's components: 3 for model.layers.3.mlp.up_proj. -1 if there is none.
std::int64_t layer_of(std::string_view module);

/// Roles of all modules of a model, in the same order: the last component (q_proj), or, if two kinds of module share
/// it, what follows the layer number without further numbers (attn.c_proj and mlp.c_proj of GPT-2).
std::vector<std::string> roles_of(const std::vector<std::string>& modules);

/// The same of those that are `counted`, as if there were no others. The others get theirs among all.
std::vector<std::string> roles_beside(const std::vector<std::string>& modules, const std::vector<bool>& counted);

/// Whether module `a` comes before `b` in a report: by layer (embeddings first, heads last), then in the order data
/// flows through a block (q, k, v, o, gate, up, down), then by name with numbers compared as numbers.
bool comes_before(std::string_view a, std::string_view b);

}  // namespace winnow::input
