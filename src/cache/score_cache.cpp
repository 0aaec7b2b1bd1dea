#include "winnow/cache/score_cache.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <system_error>
#include <utility>

#include "winnow/base/bytes.hpp"
#include "winnow/base/directory.hpp"
#include "winnow/base/error.hpp"
#include "winnow/base/file_type.hpp"
#include "winnow/base/sha256.hpp"
#include "winnow/comm/together.hpp"
#include "winnow/journal/run_description.hpp"
#include "winnow/run/arithmetic.hpp"

namespace winnow::cache {
namespace {

namespace fs = std::filesystem;
using base::Error;
using base::ErrorKind;
using input::Inputs;
using journal::WeightRef;
using run::AuditOptions;
using score::LayerScore;
using score::ModuleScore;
using score::Scores;

constexpr std::size_t kNameDigits = 16;

/// A run's description without what differs from night to night: the adapters and the modules that they touch.
std::string settings_of(const Inputs& inputs, const AuditOptions& options, const division::MemoryBudget& budget,
                        const std::string& arithmetic, int team) {
  Inputs bare;
  bare.base.fingerprint = inputs.base.fingerprint;
  bare.aligned.fingerprint = inputs.aligned.fingerprint;
  bare.model.heads = inputs.model.heads;
  bare.probes = inputs.probes;
  return journal::describe_run(bare, options.read, options.measure, options.write.facts, budget, arithmetic, team);
}

std::string name_of(const Inputs& inputs, const slab::ModuleTask& task) {
  return fmt::format("{} {}", task.source, inputs.is_of_checkpoint(task) ? task.weight : task.name);
}

/// What a file of weights is, wherever it lies: the catalogues of one model number their shards alike.
std::vector<std::string> file_names(const Inputs& inputs) {
  std::vector<std::string> names;
  std::map<std::string, int> count;
  for (const auto& [what, shard] : inputs.all_shards()) names.push_back(fmt::format("{} {}", what, count[what]++));
  return names;
}

/// What cannot be used of the cache is computed again: it must not end a run.
std::optional<PackReader> open_pack(const std::string& path, const std::string& settings, const base::Log& log) {
  try {
    auto pack = PackReader::open(path, settings);
    if (!pack) log.warn(fmt::format("a file of the cache is damaged and not used; it may be deleted: {}", path));
    return pack;
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::runtime) throw;
    log.warn(fmt::format("a file of the cache is not used: {}", error.what()));
    return std::nullopt;
  }
}

std::vector<LayerScore> layers_of(const PackReader& pack, const std::string& key, const base::Log& log) {
  try {
    return pack.layers_of(key);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::runtime) throw;
    log.warn(fmt::format("scores of the cache are not used: {}", error.what()));
    return {};
  }
}

}  // namespace

void check_cache(const std::string& directory) { base::require_directory_or_nothing(directory, "--cache"); }

ScoreCache::ScoreCache(const Inputs& inputs, const AuditOptions& options, const run::ComputePlace& where, int team,
                       comm::Communicator& world, const base::Log& log) {
  is_known_.resize(inputs.tasks.size());
  for (std::size_t m = 0; m < inputs.tasks.size(); ++m) {
    is_known_[m].resize(inputs.layers[m].size());
  }
  if (options.journal.cache.empty()) return;
  const auto arithmetic = run::arithmetic_of_all(options.seams, where, world);
  const division::MemoryBudget budget(where.memory_budget, where.device_memory);
  std::vector<WeightRef> doubts;
  const auto asked = comm::from_coordinator(world, [&] {
    const auto settings = settings_of(inputs, options, budget, arithmetic, team);
    settings_ = base::sha256_hex(settings);
    directory_ = (fs::path(options.journal.cache) / settings_.substr(0, kNameDigits)).string();
    return begin(inputs, settings, log);
  });
  for (base::ByteReader in(asked); !in.at_end();) doubts.push_back(in.get<WeightRef>());
  const auto digests = journal::digests_of_weights(doubts, inputs, where.threads, options.seams, options.stop, world);
  const auto known = comm::from_coordinator(world, [&] {
    for (std::size_t k = 0; k < doubts.size(); ++k) weights_[doubts[k].module].at(doubts[k].operand).now = digests[k];
    verified_ = !doubts.empty();
    find_known(inputs, log);
    base::ByteWriter out;
    for (const auto& layers : is_known_) {
      for (const bool layer : layers) out.put(layer);
    }
    return std::move(out).bytes();
  });
  base::ByteReader in(known);
  std::size_t count = 0;
  for (auto& layers : is_known_) {
    count += layers.size();
    for (std::size_t k = 0; k < layers.size(); ++k) {
      layers[k] = in.get<bool>();
      known_count_ += layers[k] ? 1 : 0;
    }
  }
  log.info(fmt::format("{} of {} layers are known from the cache", known_count_, count));
}

/// On the coordinator: reads what there is. Returns the weights that have to be read again.
std::string ScoreCache::begin(const Inputs& inputs, const std::string& settings, const base::Log& log) {
  std::error_code error;
  fs::create_directories(directory_, error);
  if (error) {
    throw Error(ErrorKind::runtime, "cannot make a folder in --cache").file(directory_).os_error(error.value());
  }
  const auto note = (fs::path(directory_) / "settings.json").string();
  if (base::type_of(note) == fs::file_type::not_found) base::atomic_write_file(note, settings);
  open_packs(inputs, log);
  believe_states();
  const auto doubts = doubtful(inputs);
  if (!doubts.empty()) {
    log.info(
        fmt::format("files of weights are not as the cache has seen them: {} weights are read again", doubts.size()));
  }
  base::ByteWriter out;
  for (const auto& weight : doubts) out.put(weight);
  return std::move(out).bytes();
}

void ScoreCache::open_packs(const Inputs& inputs, const base::Log& log) {
  for (const auto& adapter : inputs.adapters) {
    const bool scored = adapter.status == adapter::AdapterStatus::ok;
    keys_.push_back(scored ? base::sha256_hex(adapter.digest + journal::layers_digest(adapter)) : "");
  }
  const auto names = file_names(inputs);
  for (std::size_t k = 0; k < names.size(); ++k) files_[names[k]] = inputs.all_shards()[k].second->state;
  std::map<std::string, std::size_t> by_name;
  for (std::size_t m = 0; m < inputs.tasks.size(); ++m) {
    const auto& task = inputs.tasks[m];
    by_name[name_of(inputs, task)] = m;
    auto& weights = weights_.emplace_back();
    for (const auto operand : inputs.operands_of(task)) {
      weights[operand].file = names.at(inputs.shard_number(task, operand));
    }
  }
  for (const auto& path : find_packs(directory_)) {
    auto reader = open_pack(path, settings_, log);
    if (!reader) continue;
    auto& pack = packs_.emplace_back(OpenPack{*std::move(reader), {}});
    for (const auto& task : pack.reader.tasks()) {
      const auto found = by_name.find(task.name);
      const bool is_known =
          found != by_name.end() && inputs.tasks[found->second].further.size() == task.score.further.size();
      pack.task.push_back(is_known ? std::optional(found->second) : std::nullopt);
    }
  }
}

/// A file that is as a pack saw it holds what the pack saw.
void ScoreCache::believe_states() {
  for (const auto& [pack, tasks] : packs_) {
    for (std::size_t t = 0; t < tasks.size(); ++t) {
      if (!tasks[t]) continue;
      for (auto& [operand, weight] : weights_[*tasks[t]]) {
        const auto then = pack.weight_files().find(weight.file);
        if (then == pack.weight_files().end() || then->second != files_.at(weight.file)) continue;
        const auto& digest = pack.tasks()[t].score.digest(operand);
        weight.contradicts |= weight.now && *weight.now != digest;
        weight.now = digest;
      }
    }
  }
}

/// The weights that have to be read, for there are scores that hold if they are as they were.
std::vector<WeightRef> ScoreCache::doubtful(const Inputs& inputs) const {
  std::vector<bool> used(inputs.tasks.size());
  for (const auto& [pack, tasks] : packs_) {
    const auto knows = [&, &reader = pack](const std::string& key) { return reader.knows(key); };
    if (std::none_of(keys_.begin(), keys_.end(), knows)) continue;
    for (const auto& task : tasks) {
      if (task) used[*task] = true;
    }
  }
  std::vector<WeightRef> all;
  for (std::size_t m = 0; m < used.size(); ++m) {
    if (!used[m]) continue;
    for (const auto& [operand, weight] : weights_[m]) {
      if (!weight.now || weight.contradicts) all.push_back({m, operand});
    }
  }
  return all;
}

/// Whether what a pack has of a task was computed from the weights there are now.
bool ScoreCache::matches(std::size_t task, const ModuleScore& score) const {
  return std::all_of(weights_[task].begin(), weights_[task].end(), [&](const auto& weight) {
    return weight.second.now && *weight.second.now == score.digest(weight.first);
  });
}

void ScoreCache::find_known(const Inputs& inputs, const base::Log& log) {
  for (const auto& [pack, tasks] : packs_) {
    std::vector<bool> usable(tasks.size());
    for (std::size_t t = 0; t < usable.size(); ++t) usable[t] = tasks[t] && matches(*tasks[t], pack.tasks()[t].score);
    for (std::uint32_t n = 0; n < keys_.size(); ++n) {
      if (keys_[n].empty()) continue;
      for (auto& layer : layers_of(pack, keys_[n], log)) {
        if (!usable[layer.module]) continue;
        const auto m = *tasks[layer.module];
        const auto& layers = inputs.layers[m];
        const auto place = std::lower_bound(layers.begin(), layers.end(), n,
                                            [](const auto& one, std::uint32_t other) { return one.adapter < other; });
        const auto k = static_cast<std::size_t>(place - layers.begin());
        if (place == layers.end() || place->adapter != n || is_known_[m][k]) continue;
        is_known_[m][k] = true;
        if (const auto [known, is_new] = known_tasks_.emplace(m, pack.tasks()[layer.module].score); is_new) {
          known->second.module = m;
        }
        layer.module = m;
        layer.adapter = n;
        known_.layers.push_back(std::move(layer));
      }
    }
  }
}

void ScoreCache::leave_out_known(Inputs& inputs) {
  all_layers_ = inputs.layers;
  for (std::size_t m = 0; m < inputs.tasks.size(); ++m) {
    all_columns_.push_back(inputs.tasks[m].stacked_columns);
    std::vector<input::LayerRef> left;
    for (std::size_t k = 0; k < inputs.layers[m].size(); ++k) {
      const auto& layer = inputs.layers[m][k];
      if (is_known_[m][k]) {
        if (!inputs.is_dense(inputs.tasks[m])) inputs.tasks[m].stacked_columns -= inputs.lora(layer).rank;
      } else {
        left.push_back(layer);
      }
    }
    inputs.layers[m] = std::move(left);
  }
}

void ScoreCache::complete(Inputs& inputs, Scores& scores) {
  for (std::size_t m = 0; m < inputs.tasks.size(); ++m) inputs.tasks[m].stacked_columns = all_columns_[m];
  inputs.layers = std::move(all_layers_);
  if (directory_.empty()) return;
  require_same_weights(inputs, scores.modules);
  for (const auto& score : scores.modules) known_tasks_.erase(score.module);
  for (auto& [m, score] : known_tasks_) scores.modules.push_back(std::move(score));
  scores.append(std::move(known_));
  const auto before = [](const auto& one, const auto& other) { return one.module < other.module; };
  std::stable_sort(scores.modules.begin(), scores.modules.end(), before);
  std::stable_sort(scores.layers.begin(), scores.layers.end(), [](const auto& one, const auto& other) {
    return std::pair(one.module, one.adapter) < std::pair(other.module, other.adapter);
  });
}

void ScoreCache::require_same_weights(const Inputs& inputs, const std::vector<ModuleScore>& scored) const {
  for (const auto& score : scored) {
    const auto known = known_tasks_.find(score.module);
    if (known == known_tasks_.end()) continue;
    for (const auto& [operand, weight] : weights_[score.module]) {
      const auto &then = known->second.digest(operand), &now = score.digest(operand);
      if (now == then) continue;
      throw journal::error_of_weight(ErrorKind::runtime,
                                     "the cache saw other weights in this file, which looks the same",
                                     {score.module, operand}, inputs)
          .expected(fmt::format("digest {}, found {}", then.text(), now.text()))
          .advice(fmt::format("delete {} and run again", directory_));
    }
  }
}

bool ScoreCache::is_known(const Inputs& inputs, std::uint64_t task, std::uint32_t adapter) const {
  const auto& layers = inputs.layers[task];
  const auto place = std::ranges::lower_bound(layers, adapter, {}, &input::LayerRef::adapter);
  return is_known_[task][static_cast<std::size_t>(place - layers.begin())];
}

void ScoreCache::keep(const Inputs& inputs, const Scores& scores) const {
  if (directory_.empty()) return;
  ScorePack pack{settings_, files_, {}, {}};
  std::map<std::uint64_t, std::uint64_t> place;  // of tonight's tasks in the pack
  for (const auto& score : scores.modules) {
    place[score.module] = pack.tasks.size();
    pack.tasks.push_back({name_of(inputs, inputs.tasks[score.module]), score});
  }
  std::map<std::uint32_t, PackedAdapter> news;
  for (const auto& layer : scores.layers) {
    // What is wrong with an adapter is found anew: it is told with a path.
    const bool sound = inputs.adapters[layer.adapter].status == adapter::AdapterStatus::ok && layer.fault.empty();
    if (!sound || is_known(inputs, layer.module, layer.adapter)) continue;
    auto& adapter = news[layer.adapter];
    adapter.key = keys_[layer.adapter];
    adapter.layers.push_back(layer);
    adapter.layers.back().module = place.at(layer.module);
  }
  for (auto& [n, adapter] : news) pack.adapters.push_back(std::move(adapter));
  if (!pack.adapters.empty() || verified_) write_pack(pack, directory_);
}

}  // namespace winnow::cache
