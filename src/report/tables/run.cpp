#include "run.hpp"

#include <algorithm>

namespace winnow::report {

Table stages_table(const Report& report) {
  auto rows = stages(report);
  double longest = 0;
  for (const auto& row : rows) longest = std::max(longest, row.seconds);
  return TableOf<StageSummary>("stage", std::move(rows))
      .add({.name = "stage", .title = "stage", .head = true}, &StageSummary::stage)
      .add({.name = "seconds", .title = "seconds, slowest rank", .format = Format::number},
           [longest](const StageSummary& row) {
             Cell cell(row.seconds);
             cell.meter = longest > 0 ? row.seconds / longest : 0;
             return cell;
           })
      .add({.name = "bytes_read", .title = "read", .format = Format::bytes},
           [](const StageSummary& row) { return row.bytes_read == 0 ? Cell() : row.bytes_read; })
      .add({.name = "rate", .title = "GB/s", .format = Format::number},
           [](const StageSummary& row) {
             if (row.bytes_read == 0 || row.seconds <= 0) return Cell();
             return Cell(static_cast<double>(row.bytes_read) / row.seconds / 1e9);
           })
      .add({.name = "peak_memory_bytes", .title = "peak memory of a rank", .format = Format::bytes},
           &StageSummary::peak_memory_bytes)
      .add({.name = "ranks", .title = "ranks", .format = Format::number}, &StageSummary::ranks)
      .take();
}

Table run_table(const Report& report) {
  return TableOf<StageRow>("record", report.run)
      .add({.name = "rank"}, &StageRow::rank)
      .add({.name = "stage"}, &StageRow::stage)
      .add({.name = "seconds"}, &StageRow::seconds)
      .add({.name = "bytes_read"}, &StageRow::bytes_read)
      .add({.name = "peak_memory_bytes"}, &StageRow::peak_memory_bytes)
      .add({.name = "part"}, &StageRow::part)
      .take();
}

Table shards_table(const Report& report) {
  return TableOf<ShardRow>("shard", report.shards)
      .add({.name = "checkpoint"}, &ShardRow::checkpoint)
      .add({.name = "path"}, &ShardRow::path)
      .add({.name = "bytes"}, &ShardRow::bytes)
      .add({.name = "inode"}, &ShardRow::inode)
      .add({.name = "changed"}, &ShardRow::changed)
      .take();
}

}  // namespace winnow::report
