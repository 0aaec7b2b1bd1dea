#include "winnow/input/unchanged.hpp"

#include <fmt/format.h>

#include <cerrno>
#include <filesystem>
#include <optional>
#include <utility>

#include "winnow/base/error.hpp"
#include "winnow/base/parallel.hpp"

namespace winnow::input {
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

/// What is to be said of a file that is not as it was, or cannot be looked at any more.
std::optional<Error> change_of(ErrorKind kind, const std::string& path, const FileState& before) {
  const auto now = base::state_of_file(path);
  const int error_number = errno;
  if (now == before) return std::nullopt;
  if (now != FileState{} || error_number == ENOENT || error_number == ENOTDIR) return Error(kind, kChanged).file(path);
  return Error(kind, "cannot look at file").file(path).os_error(error_number);
}

/// The first of the adapter's files.
std::optional<Error> change_of(ErrorKind kind, const Inputs& inputs, const adapter::Adapter& adapter) {
  for (const auto* name : kFiles) {
    const auto path = file_of(adapter.path, name);
    const auto before = inputs.adapter_files.find(path);
    if (before == inputs.adapter_files.end()) continue;
    if (auto change = change_of(kind, path, before->second)) return change;
  }
  return std::nullopt;
}

/// Of what concerns all scores.
void require_unchanged(std::optional<Error> change) {
  if (!change) return;
  if (change->os_error() != 0) throw *std::move(change);
  throw std::move(*change).advice("run again once nothing writes to it");
}

}  // namespace

std::map<std::string, FileState> states_of_adapters(const std::vector<std::string>& directories,
                                                    const std::function<void()>& between) {
  std::vector<std::optional<FileState>> found(directories.size() * std::size(kFiles));
  base::parallel_blocks(found.size(), kThreads, [&](std::size_t k, int thread) {
    if (between && thread == 0) between();
    const auto state = base::state_of_file(file_of(directories[k / std::size(kFiles)], kFiles[k % std::size(kFiles)]));
    // One that cannot be looked at just now is opened next, which tells why, or goes well.
    if (state != FileState{} || errno == ENOENT || errno == ENOTDIR) found[k] = state;
  });
  std::map<std::string, FileState> states;
  for (std::size_t k = 0; k < found.size(); ++k) {
    if (!found[k]) continue;
    states.emplace(file_of(directories[k / std::size(kFiles)], kFiles[k % std::size(kFiles)]), *found[k]);
  }
  return states;
}

void quarantine_changed(Inputs& inputs, bool strict, const base::Log& log, const std::function<void()>& between) {
  for (const auto& [what, shard] : inputs.all_shards()) {
    if (between) between();
    require_unchanged(change_of(ErrorKind::runtime, shard->path, shard->state));
  }
  for (const auto& probe : inputs.probes) {
    if (probe.is_direction()) continue;
    if (between) between();
    require_unchanged(change_of(ErrorKind::runtime, inputs, probe.adapter));
  }
  for (auto& adapter : inputs.adapters) {
    if (between) between();
    if (adapter.status != adapter::AdapterStatus::ok) continue;
    auto change = change_of(ErrorKind::invalid_input, inputs, adapter);
    if (!change) continue;
    if (strict) throw std::move(*change).advice("leave out --strict to quarantine the adapter and score the rest");
    adapter.status = adapter::AdapterStatus::quarantined;
    adapter.unjudged.clear();
    adapter.reason = change->what();
    log.warn(fmt::format("adapter {} is quarantined: {}", adapter.name, adapter.reason));
  }
}

}  // namespace winnow::input
