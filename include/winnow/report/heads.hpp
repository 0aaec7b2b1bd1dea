// What a report tells of attention heads (`--heads`): <D, dW> of each probe, adapter, attention and head.
//
// A head's product is the sum over the rows of q, k and v that make it and the columns of o that read it. A head of k
// or v serves several heads of q and is given to them in equal parts (checkpoint/attention_heads.hpp). So the sum over
// the heads of one attention is that of /probes/dot over its modules that have heads.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace winnow::report {

/// A row of /heads: the attention of a layer. An encoder and a decoder may have layers of one number, and a decoder's
/// layer two attentions, so it has a name.
struct AttentionRow {
  std::string name;         ///< model.layers.3.self_attn
  std::int64_t layer = -1;  ///< as of its modules
  bool operator==(const AttentionRow&) const = default;
};

/// A module of attention whose products are in no head.
struct HeadlessRow {
  std::string module, reason;
  bool operator==(const HeadlessRow&) const = default;
};

struct Heads {
  std::uint64_t query = 0, key_value = 0, width = 0;  ///< H, those of keys and values, and rows of each
  std::vector<AttentionRow> attention;                ///< L of them, in the order of the modules
  std::vector<double> dots;                           ///< K x N x L x H, NaN if not known
  std::vector<HeadlessRow> headless;                  ///< by name
  bool operator==(const Heads&) const = default;
};

}  // namespace winnow::report
