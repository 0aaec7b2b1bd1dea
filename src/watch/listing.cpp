#include "winnow/watch/listing.hpp"

#include <fmt/format.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <system_error>
#include <tuple>
#include <utility>
#include <vector>

#include "winnow/adapter/adapter.hpp"
#include "winnow/base/error.hpp"
#include "winnow/base/file.hpp"
#include "winnow/base/training_checkpoint.hpp"
#include "winnow/checkpoint/safetensors_header.hpp"

namespace winnow::watch {
namespace {

namespace fs = std::filesystem;
using base::Error;
using base::ErrorKind;
using base::FileState;

/// A log of a long run; a larger one is not looked into.
constexpr std::uint64_t kMaxStateBytes = std::uint64_t{64} << 20;

bool is_json(const std::string& path) try {
  return nlohmann::json::accept(base::read_text_file(path, kMaxStateBytes));
} catch (const Error&) {
  return false;  // removed meanwhile, or not readable: scoring tells if it stays so
}

bool has_header(const std::string& path) try {
  checkpoint::read_safetensors_file(path);
  return true;
} catch (const Error&) {
  return false;
}

bool is_older(const FileState& one, const FileState& other) {
  return std::tie(one.seconds, one.nanoseconds) < std::tie(other.seconds, other.nanoseconds);
}

std::string lack_of(const char* name, const SeenFile& file) {
  return std::string(name) + (file.state == FileState{} ? " is not there" : " is not whole");
}

}  // namespace

bool Seen::is_finished() const {
  return is_complete() && trainer.whole && !is_older(trainer.state, weights.state) &&
         !is_older(trainer.state, config.state);
}

std::string Seen::lack() const {
  if (!config.whole) return lack_of("adapter_config.json", config);
  if (!weights.whole) return lack_of("adapter_model.safetensors", weights);
  return {};
}

SeenFile Directory::seen(const std::string& path, bool (*whole)(const std::string& path)) {
  SeenFile file{base::state_of_file(path), false};
  if (const auto before = known_.find(path); before != known_.end() && before->second.state == file.state) {
    file = before->second;
  } else if (file.state != FileState{}) {
    file.whole = whole(path);
  }
  return now_[path] = file;
}

void Directory::add_checkpoint(const std::string& name, std::uint64_t step, Listing& listing) {
  const auto checkpoint = fs::path(path_) / name;
  std::vector<std::string> directories;
  try {
    directories = adapter::find_adapters(checkpoint.string(), false, base::Log());
  } catch (const Error& error) {
    if (error.os_error() != 0) return;  // removed meanwhile, or not readable just now
    directories.push_back(checkpoint.string());
  }
  const auto trainer = seen((checkpoint / "trainer_state.json").string(), is_json);
  for (const auto& directory : directories) {
    const auto below = fs::path(directory).lexically_relative(checkpoint).string();
    listing[{step, below == "." ? name : fmt::format("{}/{}", name, below)}] = {
        seen((fs::path(directory) / "adapter_model.safetensors").string(), has_header),
        seen((fs::path(directory) / "adapter_config.json").string(), is_json), trainer};
  }
}

std::optional<Listing> Directory::look(const base::Log& log) {
  std::error_code error;
  std::map<std::string, std::uint64_t> checkpoints;
  for (fs::directory_iterator entry(path_, error), end; !error && entry != end; entry.increment(error)) {
    const auto name = entry->path().filename().string();
    const auto step = base::checkpoint_number(name);
    std::error_code ignored;
    if (step && entry->is_directory(ignored)) checkpoints.emplace(name, *step);
  }
  if (error == std::errc::not_a_directory) {
    throw Error(ErrorKind::usage, "the run to watch is not a directory")
        .file(path_)
        .expected("the directory below which checkpoint-N appear");
  }
  if (error) {
    if (error != std::errc::no_such_file_or_directory && std::exchange(told_, error.message()) != error.message()) {
      log.warn(Error(ErrorKind::runtime, "cannot read the run's directory, trying again")
                   .file(path_)
                   .os_error(error.value())
                   .what());
    }
    return std::nullopt;
  }
  told_.clear();
  Listing listing;
  now_.clear();
  for (const auto& [name, step] : checkpoints) add_checkpoint(name, step, listing);
  known_.swap(now_);
  return listing;
}

}  // namespace winnow::watch
