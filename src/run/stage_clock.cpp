#include "winnow/run/stage_clock.hpp"

#include <sys/resource.h>

#include <algorithm>

namespace winnow::run {

std::uint64_t peak_memory_bytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<std::uint64_t>(usage.ru_maxrss) * 1024;  // Linux counts in KiB
}

report::StageRow& StageClock::row_of(const std::string& stage) {
  const auto row = std::find_if(rows_.begin(), rows_.end(), [&](const auto& known) { return known.stage == stage; });
  if (row != rows_.end()) return *row;
  auto& added = rows_.emplace_back();
  added.stage = stage;
  return added;
}

void StageClock::add(const std::string& stage, double seconds, std::uint64_t bytes_read) {
  auto& row = row_of(stage);
  row.seconds += seconds;
  row.bytes_read += bytes_read;
  row.peak_memory_bytes = peak_memory_bytes();
}

void StageClock::add_reading(std::uint64_t bytes_read, const slab::ReadShape& shape) {
  add("read", 0, bytes_read);
  auto& row = row_of("read");
  if (shape.bytes_per_second <= row.bytes_per_second) return;
  row.readers = static_cast<std::uint64_t>(shape.readers);
  row.bytes_of_a_read = shape.read_bytes;
  row.bytes_per_second = shape.bytes_per_second;
}

std::vector<report::StageRow> StageClock::rows(int rank) const {
  auto rows = rows_;
  for (auto& row : rows) row.rank = rank;
  return rows;
}

void serialise(const std::vector<report::StageRow>& rows, base::ByteWriter& out) {
  out.put<std::uint64_t>(rows.size());
  for (const auto& row : rows) {
    out.put(row.rank);
    out.put(row.stage);
    out.put(row.seconds);
    out.put(row.bytes_read);
    out.put(row.peak_memory_bytes);
    out.put(row.readers);
    out.put(row.bytes_of_a_read);
    out.put(row.bytes_per_second);
  }
}

void append_rows(base::ByteReader& in, std::vector<report::StageRow>& rows) {
  const auto count = in.get<std::uint64_t>();
  for (std::uint64_t k = 0; k < count; ++k) {
    report::StageRow row;
    row.rank = in.get<std::int64_t>();
    row.stage = in.get_string();
    row.seconds = in.get<double>();
    row.bytes_read = in.get<std::uint64_t>();
    row.peak_memory_bytes = in.get<std::uint64_t>();
    row.readers = in.get<std::uint64_t>();
    row.bytes_of_a_read = in.get<std::uint64_t>();
    row.bytes_per_second = in.get<double>();
    rows.push_back(std::move(row));
  }
}

}  // namespace winnow::run
