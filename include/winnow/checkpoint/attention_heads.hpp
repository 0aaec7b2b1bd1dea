// Attention heads: how many a model has, and which rows or columns of a module are whose. All ranges of a module lie
// side by side from 0 and are equally wide:
//
//     q_proj           rows      head 0 | head 1 | ...          `query` of them
//     k_proj, v_proj   rows      head 0 | ...                   `key_value` of them: several queries share one
//     qkv_proj         rows      those of q | of k | of v       of Phi-3, which puts the three below each other
//     o_proj, out_proj columns   head 0 | head 1 | ...          `query` of them
//
// Other models mix q, k and v within one weight (query_key_value of NeoX, Falcon and BLOOM, c_attn of GPT-2), each in
// its own order: of those nothing is known by head, which is said and not guessed.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace winnow::checkpoint {

/// Of the text part of a model with towers. All 0 if config.json does not say.
struct AttentionHeads {
  std::uint64_t query = 0;      ///< num_attention_heads; also n_head, num_heads
  std::uint64_t key_value = 0;  ///< num_key_value_heads, which divides `query`; as many if it is absent
  std::uint64_t width = 0;      ///< head_dim; hidden_size (n_embd) / `query` if it is absent
  bool joined = false;          ///< a qkv_proj holds q, k and v below each other

  explicit operator bool() const { return query != 0; }
  bool operator==(const AttentionHeads&) const = default;
};

/// In words, the same for the same: "32 heads of 128, 8 of keys and values"; "none".
std::string to_text(const AttentionHeads& heads);

/// `count` ranges of `width` rows (outputs) or columns (inputs) of a module each; count is 0 for one without heads.
struct HeadRanges {
  std::uint64_t count = 0, width = 0;
  bool of_inputs = false;

  explicit operator bool() const { return count != 0; }
};

struct HeadsOfModule {
  HeadRanges ranges;
  std::string reason;  ///< why there are none, of a module that belongs to attention; empty for any other
};

/// What of a module belongs to which head, by its name, and only if its shape is what that makes it. Layers without
/// heads (an MLP) have no ranges and no reason; towers for pictures and sound have heads of their own, not these.
HeadsOfModule heads_of_module(std::string_view module, std::uint64_t out_features, std::uint64_t in_features,
                              const AttentionHeads& heads);

/// The query heads [first, first + count) that a range belongs to: itself of q and o. A head of k or v serves a group
/// of them (grouped-query attention, arXiv 2305.13245; consecutive in every model that has these names), and what is
/// found out about it is to be given to each of the group in equal parts: all of them read it, and nothing in the
/// weights tells which reads it most. So sums over heads stay those of the modules.
struct QueryHeads {
  std::uint64_t first = 0, count = 1;
};
QueryHeads query_heads_of(std::uint64_t range, const HeadRanges& ranges, const AttentionHeads& heads);

/// The attention that a module is a part of: its name without the last component, model.layers.3.self_attn.
std::string attention_of(std::string_view module);

}  // namespace winnow::checkpoint
