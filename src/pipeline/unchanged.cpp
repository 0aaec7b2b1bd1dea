#include "unchanged.hpp"

#include <fmt/format.h>

#include <filesystem>

#include "winnow/base/error.hpp"
#include "winnow/base/parallel.hpp"

namespace winnow::pipeline {
namespace {

namespace fs = std::filesystem;
using base::Error;
using base::ErrorKind;
using base::FileState;

constexpr const char* kChanged = "file was changed while it was read";
constexpr const char* kFiles[] = {"adapter_model.safetensors", "adapter_config.json"};

/// To ask a parallel file system is waiting.
constexpr int kThreads = 8;

std::string file_of(const std::string& directory, const char* name) { return (fs::path(directory) / name).string(); }

/// A file of the adapter that is not as it was; empty for none.
std::string changed_file(const Inputs& inputs, const adapter::Adapter& adapter) {
  for (const auto* name : kFiles) {
    const auto path = file_of(adapter.path, name);
    const auto before = inputs.adapter_files.find(path);
    if (before != inputs.adapter_files.end() && before->second != base::state_of_file(path)) return path;
  }
  return "";
}

}  // namespace

std::map<std::string, FileState> states_of_adapters(const std::vector<std::string>& directories) {
  std::vector<FileState> found(directories.size() * std::size(kFiles));
  base::parallel_blocks(found.size(), kThreads, [&](std::size_t k, int) {
    found[k] = base::state_of_file(file_of(directories[k / std::size(kFiles)], kFiles[k % std::size(kFiles)]));
  });
  std::map<std::string, FileState> states;
  for (std::size_t k = 0; k < found.size(); ++k) {
    states.emplace(file_of(directories[k / std::size(kFiles)], kFiles[k % std::size(kFiles)]), found[k]);
  }
  return states;
}

void quarantine_changed(Inputs& inputs, bool strict, const base::Log& log) {
  for (const auto* catalogue : {&inputs.base, &inputs.aligned}) {
    for (const auto& shard : catalogue->shards) {
      if (shard.state == base::state_of_file(shard.path)) continue;
      throw Error(ErrorKind::runtime, kChanged).file(shard.path).advice("run again once nothing writes to it");
    }
  }
  for (auto& adapter : inputs.adapters) {
    if (adapter.status != adapter::AdapterStatus::ok) continue;
    const auto changed = changed_file(inputs, adapter);
    if (changed.empty()) continue;
    if (strict) {
      throw Error(ErrorKind::invalid_input, kChanged)
          .file(changed)
          .advice("leave out --strict to quarantine the adapter and score the rest");
    }
    adapter.status = adapter::AdapterStatus::quarantined;
    adapter.unjudged.clear();
    adapter.reason = fmt::format("{}: {}", kChanged, changed);
    log.warn(fmt::format("adapter {} is quarantined: {}", adapter.name, adapter.reason));
  }
}

}  // namespace winnow::pipeline
