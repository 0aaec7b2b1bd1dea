#include "journalled_weights.hpp"

#include <nlohmann/json.hpp>

namespace winnow::pipeline {
namespace {

using json = nlohmann::ordered_json;

json shards(const std::vector<base::FileState>& states, const checkpoint::Catalogue& catalogue) {
  auto all = json::array();
  for (std::size_t k = 0; k < states.size(); ++k) {
    const auto& state = states[k];
    all.push_back({{"path", catalogue.shards.at(k).path},
                   {"bytes", state.bytes},
                   {"inode", state.inode},
                   {"seconds", state.seconds},
                   {"nanoseconds", state.nanoseconds}});
  }
  return all;
}

std::vector<base::FileState> states(const json& shards) {
  std::vector<base::FileState> all;
  for (const auto& shard : shards) {
    all.push_back({shard.at("bytes").get<std::uint64_t>(), shard.at("inode").get<std::uint64_t>(),
                   shard.at("seconds").get<std::int64_t>(), shard.at("nanoseconds").get<std::int64_t>()});
  }
  return all;
}

}  // namespace

std::string to_text(const JournalledWeights& weights, const Inputs& inputs) {
  json all{{"base", shards(weights.base, inputs.base)},
           {"aligned", shards(weights.aligned, inputs.aligned)},
           {"taken_over", json::array()}};
  for (const auto& [module, digests] : weights.taken_over) {
    all["taken_over"].push_back({{"module", module}, {"base", digests.base}, {"aligned", digests.aligned}});
  }
  // A path that is not UTF-8 must not end the run.
  return all.dump(1, ' ', false, json::error_handler_t::replace) + "\n";
}

std::optional<JournalledWeights> parse_weights(std::string_view text) {
  try {
    const auto all = json::parse(text);
    JournalledWeights weights{states(all.at("base")), states(all.at("aligned")), {}};
    for (const auto& one : all.at("taken_over")) {
      weights.taken_over[one.at("module").get<std::uint64_t>()] = {one.at("base").get<std::string>(),
                                                                   one.at("aligned").get<std::string>()};
    }
    return weights;
  } catch (const json::exception&) {
    return std::nullopt;
  }
}

JournalledWeights weights_of(const Inputs& inputs) {
  JournalledWeights weights;
  for (const auto& shard : inputs.base.shards) weights.base.push_back(shard.state);
  for (const auto& shard : inputs.aligned.shards) weights.aligned.push_back(shard.state);
  return weights;
}

}  // namespace winnow::pipeline
