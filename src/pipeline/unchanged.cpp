#include "unchanged.hpp"

#include <fmt/format.h>
#include <sys/stat.h>

#include "winnow/base/error.hpp"

namespace winnow::pipeline {
namespace {

using base::Error;
using base::ErrorKind;

constexpr const char* kChanged = "file was changed while it was read";

}  // namespace

FileStates::State FileStates::state_of(const std::string& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) return {};  // gone: unlike any file
  return {static_cast<std::uint64_t>(status.st_dev), static_cast<std::uint64_t>(status.st_ino),
          static_cast<std::uint64_t>(status.st_size), status.st_mtim.tv_sec, status.st_mtim.tv_nsec};
}

FileStates::FileStates(const Inputs& inputs) {
  for (const auto* catalogue : {&inputs.base, &inputs.aligned}) {
    for (const auto& shard : catalogue->shards) shards_.push_back(state_of(shard.path));
  }
  for (const auto& adapter : inputs.adapters) {
    const bool ok = adapter.status == adapter::AdapterStatus::ok;
    adapters_.push_back(ok ? state_of(adapter.weights_file) : State{});
  }
}

void FileStates::quarantine_changed(Inputs& inputs, bool strict, const base::Log& log) const {
  auto before = shards_.begin();
  for (const auto* catalogue : {&inputs.base, &inputs.aligned}) {
    for (const auto& shard : catalogue->shards) {
      if (*before++ == state_of(shard.path)) continue;
      throw Error(ErrorKind::runtime, kChanged).file(shard.path).advice("run again once nothing writes to it");
    }
  }
  for (std::size_t n = 0; n < inputs.adapters.size(); ++n) {
    auto& adapter = inputs.adapters[n];
    if (adapter.status != adapter::AdapterStatus::ok || adapters_[n] == state_of(adapter.weights_file)) continue;
    if (strict) {
      throw Error(ErrorKind::invalid_input, kChanged)
          .file(adapter.weights_file)
          .advice("leave out --strict to quarantine the adapter and score the rest");
    }
    adapter.status = adapter::AdapterStatus::quarantined;
    adapter.unjudged.clear();
    adapter.reason = fmt::format("{}: {}", kChanged, adapter.weights_file);
    log.warn(fmt::format("adapter {} is quarantined: {}", adapter.name, adapter.reason));
  }
}

}  // namespace winnow::pipeline
