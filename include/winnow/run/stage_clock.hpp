// What a rank spends in each stage of a run.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "winnow/base/bytes.hpp"
#include "winnow/report/report.hpp"
#include "winnow/slab/read_shape.hpp"

namespace winnow::run {

std::uint64_t peak_memory_bytes();  ///< largest resident size of this process so far

/// Adds up seconds and bytes per stage, in the order stages first appear.
class StageClock {
 public:
  /// Seconds from its making to its end go to a stage.
  class Timer {
   public:
    Timer(StageClock& clock, std::string stage)
        : clock_(clock), stage_(std::move(stage)), start_(std::chrono::steady_clock::now()) {}
    ~Timer() {
      clock_.add(stage_, std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count(), 0);
    }
    Timer(const Timer&) = delete;
    Timer& operator=(const Timer&) = delete;

   private:
    StageClock& clock_;
    std::string stage_;
    std::chrono::steady_clock::time_point start_;
  };

  Timer time(std::string stage) { return {*this, std::move(stage)}; }
  void add(const std::string& stage, double seconds, std::uint64_t bytes_read);
  /// To stage "read", with the shape in which storage gave most.
  void add_reading(std::uint64_t bytes_read, const slab::ReadShape& shape);
  std::vector<report::StageRow> rows(int rank) const;

 private:
  report::StageRow& row_of(const std::string& stage);
  std::vector<report::StageRow> rows_;
};

void serialise(const std::vector<report::StageRow>& rows, base::ByteWriter& out);
void append_rows(base::ByteReader& in, std::vector<report::StageRow>& rows);

}  // namespace winnow::run
