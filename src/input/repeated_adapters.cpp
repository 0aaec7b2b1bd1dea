#include "winnow/input/repeated_adapters.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <numeric>
#include <string>
#include <utility>

#include "winnow/base/training_checkpoint.hpp"

namespace winnow::input {
namespace {

namespace fs = std::filesystem;

/// Without a slash at its end.
fs::path normal(const std::string& path) {
  const auto all = fs::path(path).lexically_normal();
  return all.has_filename() ? all : all.parent_path();
}

bool is_checkpoint(const std::string& path) {
  return base::checkpoint_number(normal(path).filename().string()).has_value();
}

}  // namespace

bool are_separate_checkpoints(const std::string& path, const std::string& other) {
  std::error_code ignored;
  return is_checkpoint(path) && is_checkpoint(other) &&
         fs::weakly_canonical(path, ignored) != fs::weakly_canonical(other, ignored);
}

bool are_one_path(const std::string& path, const std::string& other) { return normal(path) == normal(other); }

std::vector<Copy> drop_repeated(std::vector<adapter::Adapter>& adapters, const base::Log& log) {
  std::map<std::string, std::vector<std::size_t>> kept;  // by digest
  std::vector<std::size_t> judged_as(adapters.size());   // itself, or one that may be dropped later for a checkpoint
  std::iota(judged_as.begin(), judged_as.end(), std::size_t{0});
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
    judged_as[repeated] = *same;
    if (count++ == 0) example = fmt::format("{} as {}", adapters[repeated].path, adapters[*same].path);
  }
  if (count == 0) return {};
  log.warn(fmt::format("{} adapter{} the content of another and {} judged once with it: {}{}", count,
                       count == 1 ? " has" : "s have", count == 1 ? "is" : "are", example,
                       count == 1 ? "" : ", for example"));
  std::vector<std::size_t> place(adapters.size());  // of those that are kept
  for (std::size_t n = 0, next = 0; n < adapters.size(); ++n) {
    if (judged_as[n] == n) place[n] = next++;
  }
  std::vector<Copy> copies;
  for (std::size_t n = 0; n < adapters.size(); ++n) {
    auto last = n;
    while (judged_as[last] != last) last = judged_as[last];
    if (last != n && !are_one_path(adapters[n].path, adapters[last].path)) {
      copies.push_back({adapters[n].path, place[last]});
    }
  }
  std::size_t n = 0;
  std::erase_if(adapters, [&](const adapter::Adapter&) {
    const auto at = n++;
    return judged_as[at] != at;
  });
  return copies;
}

}  // namespace winnow::input
