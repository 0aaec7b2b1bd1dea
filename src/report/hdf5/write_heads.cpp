// /heads: products with probes by attention head.
#include <string>
#include <vector>

#include "../schema.hpp"
#include "column_writer.hpp"
#include "parts.hpp"

namespace winnow::report {

void write_heads(const Image& image, const Report& report, const Handle& adapters) {
  if (!report.heads) return;
  const auto& heads = *report.heads;
  const auto group = image.group("heads");
  image.attribute(group.get(), schema::kQueryHeads, static_cast<std::int64_t>(heads.query));
  image.attribute(group.get(), schema::kKeyHeads, static_cast<std::int64_t>(heads.key_value));
  image.attribute(group.get(), schema::kHeadWidth, static_cast<std::int64_t>(heads.width));
  image.link(group.get(), schema::kAdapterScale);
  const auto probes =
      numbered_scale(image, group, std::string(schema::kProbeScale), report.probes.size(), "one probe of /probes");
  const std::string name(schema::kAttentionScale);
  const auto attention = image.scale(image.strings(group.get(), name, heads.attention, &AttentionRow::name,
                                                   "attention: its modules' name without q_proj, o_proj, ...", {}),
                                     name);
  const auto numbers =
      numbered_scale(image, group, std::string(schema::kHeadScale), heads.query, "attention head, from 0");
  const ColumnWriter<AttentionRow> columns(image, group, heads.attention, attention);
  columns.number("layer", &AttentionRow::layer, "1", "layer number, -1 where the name has none");
  const auto dot = image.numbers<double>(
      group.get(), "dot", {report.probes.size(), report.adapters.size(), heads.attention.size(), heads.query},
      heads.dots, "1",
      "<D, dW> of the head: over the rows of q, k and v that make it and the columns of o that read it; of k and v an "
      "equal part of what all heads share that read them",
      {&probes, &adapters, &attention, &numbers});
  image.attribute(dot.get(), schema::kCoordinates, "layer");
  if (heads.headless.empty()) return;
  const auto without = numbered_scale(image, group, std::string(schema::kHeadlessScale), heads.headless.size(),
                                      "one module of attention that is in no head");
  const ColumnWriter<HeadlessRow> modules(image, group, heads.headless, without);
  modules.text("headless_module", &HeadlessRow::module, "module of attention that is in no head");
  modules.text("headless_reason", &HeadlessRow::reason, "why");
}

}  // namespace winnow::report
