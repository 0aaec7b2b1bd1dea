#include "journalled_weights.hpp"

#include <nlohmann/json.hpp>

namespace winnow::journal {
namespace {

using input::Inputs;
using json = nlohmann::ordered_json;

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
  json all{{"shards", json::array()}, {"taken_over", json::array()}};
  const auto shards = inputs.all_shards();
  for (std::size_t k = 0; k < weights.shards.size(); ++k) {
    const auto& state = weights.shards[k];
    all["shards"].push_back({{"path", shards.at(k).second->path},
                             {"bytes", state.bytes},
                             {"inode", state.inode},
                             {"seconds", state.seconds},
                             {"nanoseconds", state.nanoseconds}});
  }
  for (const auto& [module, digests] : weights.taken_over) {
    all["taken_over"].push_back({{"module", module}, {"base", digests.base}, {"aligned", digests.aligned}});
    if (!digests.further.empty()) all["taken_over"].back()["further"] = digests.further;
  }
  // A path that is not UTF-8 must not end the run.
  return all.dump(1, ' ', false, json::error_handler_t::replace) + "\n";
}

std::optional<JournalledWeights> parse_weights(std::string_view text) {
  try {
    const auto all = json::parse(text);
    JournalledWeights weights{states(all.at("shards")), {}};
    for (const auto& one : all.at("taken_over")) {
      weights.taken_over[one.at("module").get<std::uint64_t>()] = {one.at("base").get<std::string>(),
                                                                   one.at("aligned").get<std::string>(),
                                                                   one.value("further", std::vector<std::string>())};
    }
    return weights;
  } catch (const json::exception&) {
    return std::nullopt;
  }
}

JournalledWeights weights_of(const Inputs& inputs) {
  JournalledWeights weights;
  for (const auto& [what, shard] : inputs.all_shards()) weights.shards.push_back(shard->state);
  return weights;
}

}  // namespace winnow::journal
