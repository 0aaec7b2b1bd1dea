#include "merge_heads.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>
#include <string>

#include "winnow/checkpoint/attention_heads.hpp"
#include "winnow/judge/heads.hpp"
#include "winnow/methods/layer.hpp"

namespace winnow::pipeline {
namespace {

std::string text_of(const std::optional<report::Heads>& heads) {
  return heads ? to_text(checkpoint::AttentionHeads{heads->query, heads->key_value, heads->width}) : "none";
}

}  // namespace

void require_same_heads(const ReportPart& first, const ReportPart& other) {
  const auto expected = text_of(first.report.heads), found = text_of(other.report.heads);
  if (expected == found) return;
  throw base::Error(base::ErrorKind::invalid_input, "the reports are not parts of one audit")
      .file(other.path)
      .expected(fmt::format("heads {} as in {}, found {}", expected, first.path, found))
      .advice("audit that part again with the options of the others");
}

void merge_heads(const std::vector<ReportPart>& parts, const std::vector<PartAdapter>& adapters,
                 report::Report& merged) {
  if (!parts.front().report.heads) return;
  auto& all = merged.heads.emplace();
  all = {parts.front().report.heads->query,
         parts.front().report.heads->key_value,
         parts.front().report.heads->width,
         {},
         {},
         {}};
  for (const auto& part : parts) {
    const auto& heads = *part.report.heads;
    all.attention.insert(all.attention.end(), heads.attention.begin(), heads.attention.end());
    all.headless.insert(all.headless.end(), heads.headless.begin(), heads.headless.end());
  }
  judge::sort_rows(all);
  std::map<std::string, std::size_t> place;
  for (std::size_t l = 0; l < all.attention.size(); ++l) place[all.attention[l].name] = l;
  const auto probes = merged.probes.size(), layers = all.attention.size();
  all.dots.assign(probes * adapters.size() * layers * all.query, methods::kUndefined);
  for (std::size_t k = 0; k < probes; ++k) {
    for (std::size_t n = 0; n < adapters.size(); ++n) {
      const auto& [p, row] = adapters[n];
      const auto& part = *parts[p].report.heads;
      for (std::size_t l = 0; l < part.attention.size(); ++l) {
        const auto from = ((k * parts[p].report.adapters.size() + row) * part.attention.size() + l) * all.query;
        const auto to = ((k * adapters.size() + n) * layers + place.at(part.attention[l].name)) * all.query;
        std::copy_n(part.dots.begin() + static_cast<std::ptrdiff_t>(from), all.query,
                    all.dots.begin() + static_cast<std::ptrdiff_t>(to));
      }
    }
  }
}

}  // namespace winnow::pipeline
