#include "heads.hpp"

#include <fmt/format.h>

#include <vector>

#include "../head_shares.hpp"
#include "json.hpp"

namespace winnow::report {
namespace {

Json attention_json(const Heads& heads) {
  auto out = Json::array();
  for (const auto& row : heads.attention) out.push_back({{"name", row.name}, {"layer", row.layer}});
  return out;
}

Json headless_json(const Heads& heads) {
  auto out = Json::array();
  for (const auto& row : heads.headless) out.push_back({{"module", row.module}, {"reason", row.reason}});
  return out;
}

/// Of one adapter; null if there is nothing to share out.
Json largest_json(const Report& report, const AdapterView* adapter) {
  const auto shares = adapter == nullptr ? std::nullopt : head_shares(report, *adapter);
  if (!shares) return {};
  auto out = Json::array();
  for (const auto& head : shares->largest) {
    if (out.size() == kLargestHeads) break;
    const auto& row = report.heads->attention[head.attention];
    out.push_back({{"attention", row.name}, {"layer", row.layer}, {"head", head.head}, {"share", head.share}});
  }
  return out;
}

/// [attention][head] of one probe and adapter.
Json products_json(const Heads& heads, std::size_t first) {
  auto out = Json::array();
  for (std::size_t l = 0; l < heads.attention.size(); ++l) {
    const auto from = heads.dots.begin() + static_cast<std::ptrdiff_t>(first + l * heads.query);
    out.push_back(std::vector<double>(from, from + static_cast<std::ptrdiff_t>(heads.query)));
  }
  return out;
}

}  // namespace

void write_json_heads(const Analysis& analysis, const Sink& sink) {
  const auto& report = analysis.report();
  const auto& heads = *report.heads;
  sink(fmt::format(",\n\"heads\": {{\"num_attention_heads\": {}, \"num_key_value_heads\": {}, \"head_dim\": {},\n",
                   heads.query, heads.key_value, heads.width));
  sink(fmt::format("\"attention\": {},\n\"headless\": {},\n\"largest\": [", dump(attention_json(heads)),
                   dump(headless_json(heads))));
  std::vector<const AdapterView*> views(report.adapters.size());
  for (const auto& view : analysis.adapters()) views[view.index] = &view;
  for (std::size_t n = 0; n < views.size(); ++n) {
    sink((n == 0 ? "\n" : ",\n") + dump(largest_json(report, views[n])));
  }
  sink("],\n\"dot\": [");
  const auto cells = heads.attention.size() * heads.query;
  for (std::size_t k = 0; k < report.probes.size(); ++k) {
    sink(k == 0 ? "[" : "],\n[");
    for (std::size_t n = 0; n < views.size(); ++n) {
      sink((n == 0 ? "\n" : ",\n") + dump(products_json(heads, (k * views.size() + n) * cells)));
    }
  }
  sink(report.probes.empty() ? "]}" : "]]}");
}

}  // namespace winnow::report
