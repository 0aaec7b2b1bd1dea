#include "read_heads.hpp"

#include <fmt/format.h>

#include <variant>

#include "../schema.hpp"
#include "column_reader.hpp"

namespace winnow::report {

void read_heads(const Source& source, Report& report) {
  if (!source.has_group("heads")) return;
  const auto group = source.group("heads");
  Heads heads;
  const auto attributes = source.attributes(group.get());
  const auto number = [&](const char* name) {
    const auto found = attributes.find(name);
    const auto* value = found == attributes.end() ? nullptr : std::get_if<std::int64_t>(&found->second);
    if (value == nullptr || *value < 1) {
      throw source.error(fmt::format("/heads has no attribute {}", name))
          .expected("a number from 1")
          .advice(kReportAdvice);
    }
    return static_cast<std::uint64_t>(*value);
  };
  heads.query = number(schema::kQueryHeads);
  heads.key_value = number(schema::kKeyHeads);
  heads.width = number(schema::kHeadWidth);
  heads.attention.resize(source.length(group, std::string(schema::kAttentionScale)));
  const ColumnReader<AttentionRow> columns(source, group, heads.attention);
  columns.text(schema::kAttentionScale.data(), &AttentionRow::name);
  columns.number("layer", &AttentionRow::layer);
  heads.dots = source.numbers<double>(
      group, "dot", {{report.probes.size(), report.adapters.size(), heads.attention.size(), heads.query}});
  if (has(source.members(group, "heads"), "headless_module")) {
    heads.headless.resize(source.length(group, "headless_module"));
    const ColumnReader<HeadlessRow> modules(source, group, heads.headless);
    modules.text("headless_module", &HeadlessRow::module);
    modules.text("headless_reason", &HeadlessRow::reason);
  }
  report.heads = std::move(heads);
}

}  // namespace winnow::report
