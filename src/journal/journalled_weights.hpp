// What an incarnation of a journal knows of the files its scores come from: its weights.json.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "winnow/base/file_state.hpp"
#include "winnow/checkpoint/tensor_digest.hpp"
#include "winnow/input/inputs.hpp"

namespace winnow::journal {

/// Of both weights of a task, as text; of a direction there is one, and none of adapters. Dense updates have further
/// ones.
struct DigestTexts {
  std::string base, aligned;
  std::vector<std::string> further;
  bool operator==(const DigestTexts&) const = default;
};

/// A record of an incarnation was computed from files in the states that this incarnation noted. Those of earlier ones
/// that it took over had the digests below when the files were in that state.
struct JournalledWeights {
  std::vector<base::FileState> shards;              ///< in the order of Inputs::all_shards()
  std::map<std::uint64_t, DigestTexts> taken_over;  ///< by task
};

std::string to_text(const JournalledWeights& weights, const input::Inputs& inputs);

/// std::nullopt for what is damaged: then nothing is known.
std::optional<JournalledWeights> parse_weights(std::string_view text);

/// The files as this run found them.
JournalledWeights weights_of(const input::Inputs& inputs);

}  // namespace winnow::journal
