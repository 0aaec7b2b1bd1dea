#include "adapter_files.hpp"

#include <algorithm>
#include <filesystem>
#include <utility>

#include "refusal.hpp"
#include "winnow/base/directory.hpp"
#include "winnow/checkpoint/holds_checkpoint.hpp"
#include "written_files.hpp"

namespace winnow::adapter {
namespace {

namespace fs = std::filesystem;
using base::Error;
using base::ErrorKind;

constexpr const char* kExpected = "a directory with adapter_config.json and adapter_model.safetensors";

bool has_adapters_in_it(const fs::path& directory) {
  std::error_code ignored;
  const auto entries = base::entries_of(directory, ignored);
  return std::any_of(entries.begin(), entries.end(),
                     [&](const auto& entry) { return fs::exists(entry.path() / kConfigFile, ignored); });
}

/// What `path` is, links followed. Throws if that cannot be found out: what cannot be looked at is not missing.
fs::file_type type_of(const fs::path& path) {
  std::error_code error;
  const auto type = fs::status(path, error).type();
  if (type != fs::file_type::none) return type;
  throw Error(ErrorKind::runtime, "cannot look at adapter").file(path.string()).os_error(error.value());
}

}  // namespace

AdapterFiles find_files(const std::string& path) {
  const fs::path directory(path);
  const auto type = type_of(directory);
  if (type == fs::file_type::not_found) {
    throw bad_adapter("no such adapter directory").file(path).expected(kExpected).advice("check the path");
  }
  if (type != fs::file_type::directory) {
    throw bad_adapter("an adapter is a directory, not a file")
        .file(path)
        .expected(kExpected)
        .advice("give the directory that holds the file; many adapters in one directory, or a list of them: --zoo");
  }
  const auto config = directory / kConfigFile, weights = directory / kWeightsFile;
  if (type_of(config) == fs::file_type::not_found && checkpoint::holds_checkpoint(path)) {
    throw bad_adapter("it is shaped like a checkpoint, not an adapter").file(path).expected(kExpected);
  }
  if (type_of(config) == fs::file_type::not_found) {
    auto error = bad_adapter("adapter_config.json is missing").file(path).expected(kExpected);
    if (!has_adapters_in_it(directory)) throw std::move(error);
    throw std::move(error).advice("there are adapters in it: give one of them, or all of them as --zoo");
  }
  std::error_code ignored;
  if (const auto pickle = directory / "adapter_model.bin";
      type_of(weights) == fs::file_type::not_found && fs::exists(pickle, ignored)) {
    throw bad_adapter("adapter_model.bin is a pickle, which can run any code when opened")
        .file(pickle.string())
        .expected("adapter_model.safetensors")
        .advice("convert it with PEFT's save_pretrained");
  }
  if (type_of(weights) == fs::file_type::not_found) {
    throw bad_adapter("adapter_model.safetensors is missing").file(path);
  }
  return {config.string(), weights.string()};
}

}  // namespace winnow::adapter
