#include "winnow/checkpoint/holds_checkpoint.hpp"

#include <filesystem>

namespace winnow::checkpoint {

namespace fs = std::filesystem;

bool holds_checkpoint(const std::string& directory) {
  std::error_code ignored;
  return fs::exists(fs::path(directory) / "model.safetensors", ignored) ||
         fs::exists(fs::path(directory) / "model.safetensors.index.json", ignored);
}

}  // namespace winnow::checkpoint
