#include "winnow/input/repeated_adapters.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <string>
#include <utility>

#include "winnow/base/training_checkpoint.hpp"

namespace winnow::input {
namespace {

namespace fs = std::filesystem;

bool is_checkpoint(const std::string& path) {
  const auto normal = fs::path(path).lexically_normal();
  const auto name = normal.has_filename() ? normal.filename() : normal.parent_path().filename();
  return base::checkpoint_number(name.string()).has_value();
}

}  // namespace

bool are_separate_checkpoints(const std::string& path, const std::string& other) {
  std::error_code ignored;
  return is_checkpoint(path) && is_checkpoint(other) &&
         fs::weakly_canonical(path, ignored) != fs::weakly_canonical(other, ignored);
}

void drop_repeated(std::vector<adapter::Adapter>& adapters, const base::Log& log) {
  std::map<std::string, std::vector<std::size_t>> kept;  // by digest
  std::vector<bool> dropped(adapters.size(), false);
  std::size_t count = 0;
  std::string example;
  for (std::size_t n = 0; n < adapters.size(); ++n) {
    if (adapters[n].digest.empty()) continue;  // each that is quarantined has its own reason
    auto& known = kept[adapters[n].digest];
    const auto same = std::find_if(known.begin(), known.end(), [&](std::size_t k) {
      return !are_separate_checkpoints(adapters[k].path, adapters[n].path);
    });
    if (same == known.end()) {
      known.push_back(n);
      continue;
    }
    auto repeated = n;
    if (is_checkpoint(adapters[n].path) && !is_checkpoint(adapters[*same].path)) std::swap(*same, repeated);
    dropped[repeated] = true;
    if (count++ == 0) example = fmt::format("{} as {}", adapters[repeated].path, adapters[*same].path);
  }
  if (count == 0) return;
  log.warn(fmt::format("{} adapter{} the content of another and {} judged once with it: {}{}", count,
                       count == 1 ? " has" : "s have", count == 1 ? "is" : "are", example,
                       count == 1 ? "" : ", for example"));
  std::size_t n = 0;
  std::erase_if(adapters, [&](const adapter::Adapter&) { return dropped[n++]; });
}

}  // namespace winnow::input
