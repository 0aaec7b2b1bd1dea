#include <algorithm>

#include "tables.hpp"

namespace winnow::report {

using enum Format;

Table stages_table(const Report& report) {
  using Stage = const StageSummary&;
  auto rows = stages(report);
  double longest = 0;
  for (const auto& row : rows) longest = std::max(longest, row.seconds);
  TableOf<StageSummary> t("stage", "stage", std::move(rows));
  t.add({"stage", "stage"}, &StageSummary::stage);
  t.add({"seconds", "seconds, slowest rank", "", number}, [longest](Stage row) {
    Cell cell(row.seconds);
    cell.meter = longest > 0 ? row.seconds / longest : 0;
    return cell;
  });
  t.add({"bytes_read", "read", "", bytes}, [](Stage row) { return row.bytes_read == 0 ? Cell() : row.bytes_read; });
  t.add({"rate", "GB/s", "", number}, [](Stage row) {
    if (row.bytes_read == 0 || row.seconds <= 0) return Cell();
    return Cell(static_cast<double>(row.bytes_read) / row.seconds / 1e9);
  });
  t.add({"reading", "read best by", "", word}, &StageSummary::reading);
  t.add({"peak_memory_bytes", "peak memory of a rank", "", bytes}, &StageSummary::peak_memory_bytes);
  t.add({"ranks", "ranks", "", number}, &StageSummary::ranks);
  return std::move(t.table);
}

Table run_table(const Report& report) {
  TableOf<StageRow> t("record", "stage", report.run);
  t.add({"rank"}, &StageRow::rank);
  t.add({"stage"}, &StageRow::stage);
  t.add({"seconds"}, &StageRow::seconds);
  t.add({"bytes_read"}, &StageRow::bytes_read);
  t.add({"peak_memory_bytes"}, &StageRow::peak_memory_bytes);
  t.add({"readers"}, &StageRow::readers);
  t.add({"bytes_of_a_read"}, &StageRow::bytes_of_a_read);
  t.add({"bytes_per_second"}, &StageRow::bytes_per_second);
  t.add({"part"}, &StageRow::part);
  return std::move(t.table);
}

Table shards_table(const Report& report) {
  TableOf<ShardRow> t("shard", "path", report.shards);
  t.add({"checkpoint"}, &ShardRow::checkpoint);
  t.add({"path"}, &ShardRow::path);
  t.add({"bytes"}, &ShardRow::bytes);
  t.add({"inode"}, &ShardRow::inode);
  t.add({"changed"}, &ShardRow::changed);
  return std::move(t.table);
}

}  // namespace winnow::report
