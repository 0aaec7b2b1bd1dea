#include "winnow/input/repeated_adapters.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
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

}  // namespace

bool is_checkpoint(const std::string& path) {
  return base::checkpoint_number(normal(path).filename().string()).has_value();
}

bool are_separate_checkpoints(const std::string& path, const std::string& other) {
  std::error_code ignored;
  return is_checkpoint(path) && is_checkpoint(other) &&
         fs::weakly_canonical(path, ignored) != fs::weakly_canonical(other, ignored);
}

bool are_one_path(const std::string& path, const std::string& other) { return normal(path) == normal(other); }

std::string content_of(const std::string& digest, const std::string& path, const std::string& sha256) {
  return digest.empty() ? fmt::format("{} {}", normal(path).string(), sha256) : digest;
}

std::vector<std::size_t> judged_as(std::span<const Held> adapters) {
  std::map<std::string_view, std::vector<std::size_t>> alike;  // by content
  for (std::size_t n = 0; n < adapters.size(); ++n) alike[adapters[n].content].push_back(n);
  std::vector<std::size_t> judged(adapters.size());
  for (const auto& [content, these] : alike) {
    std::vector<std::size_t> kept;
    for (const auto n : these) {
      if (!is_checkpoint(adapters[n].path)) continue;
      const auto same = std::find_if(kept.begin(), kept.end(), [&](std::size_t k) {
        return !are_separate_checkpoints(adapters[k].path, adapters[n].path);
      });
      judged[n] = same == kept.end() ? n : *same;
      if (same == kept.end()) kept.push_back(n);
    }
    const auto first = kept.empty() ? these.front() : kept.front();
    for (const auto n : these) {
      if (!is_checkpoint(adapters[n].path)) judged[n] = first;
    }
  }
  return judged;
}

void put_in_order(std::vector<Copy>& copies) {
  const auto key = [](const Copy& copy) { return std::pair(copy.of, normal(copy.path)); };
  std::stable_sort(copies.begin(), copies.end(), [&](const Copy& a, const Copy& b) { return key(a) < key(b); });
  const auto same = [&](const Copy& a, const Copy& b) { return key(a) == key(b); };
  copies.erase(std::unique(copies.begin(), copies.end(), same), copies.end());
}

std::vector<Copy> drop_repeated(std::vector<adapter::Adapter>& adapters, const base::Log& log) {
  std::vector<Held> held;
  for (const auto& adapter : adapters) {
    held.push_back({adapter.path, content_of(adapter.digest, adapter.path, adapter.sha256)});
  }
  const auto judged = judged_as(held);
  std::size_t count = 0;
  std::string example;
  for (std::size_t n = 0; n < adapters.size(); ++n) {
    if (judged[n] == n || count++ != 0) continue;
    example = fmt::format("{} as {}", adapters[n].path, adapters[judged[n]].path);
  }
  if (count == 0) return {};
  log.warn(fmt::format("{} adapter{} the content of another and {} judged once with it: {}{}", count,
                       count == 1 ? " has" : "s have", count == 1 ? "is" : "are", example,
                       count == 1 ? "" : ", for example"));
  std::vector<std::size_t> place(adapters.size());  // of those that are kept
  for (std::size_t n = 0, next = 0; n < adapters.size(); ++n) {
    if (judged[n] == n) place[n] = next++;
  }
  std::vector<Copy> copies;
  for (std::size_t n = 0; n < adapters.size(); ++n) {
    if (judged[n] != n && !are_one_path(adapters[n].path, adapters[judged[n]].path)) {
      copies.push_back({adapters[n].path, place[judged[n]]});
    }
  }
  put_in_order(copies);
  std::size_t n = 0;
  std::erase_if(adapters, [&](const adapter::Adapter&) {
    const auto at = n++;
    return judged[at] != at;
  });
  return copies;
}

}  // namespace winnow::input
