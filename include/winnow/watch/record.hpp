// What is known of one adapter of a checkpoint: a line of the log of a watch, JSON.
#pragma once

#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "winnow/base/log.hpp"
#include "winnow/watch/listing.hpp"

namespace winnow::watch {

/// As the log has them; what is not known is null there.
struct Record {
  static constexpr double kUnknown = std::numeric_limits<double>::quiet_NaN();
  Place place;              ///< "step", "checkpoint"
  std::string run;          ///< "run": the directory that is watched
  std::string time;         ///< "time": of the judgement, UTC
  std::string content;      ///< "content": SHA-256 of the adapter's two files
  std::string compared;     ///< "compared": SHA-256 of what it was compared with, and how
  std::string score_name;   ///< "metric": bank_deviation, probe_pull
  double score = kUnknown;  ///< "score": that of /adapters/score of an audit
  double p = kUnknown;      ///< "bank_p"
  std::string verdict;      ///< "verdict": as an audit has it, empty without a bank; incomplete for what has no score
  std::string reason;       ///< "reason": of the verdict
  double threshold = kUnknown;  ///< "threshold": what the score was held against
  bool is_above = false;        ///< "above"
  double slope = kUnknown;      ///< "trend": of the score by step
  double reaches = kUnknown;    ///< "reaches": step at which the trend is at the threshold
  bool is_heading = false;      ///< "heading": the trend's warning
};

/// One line, with its end.
std::string to_line(const Record& record);

/// Nothing for a line that is no record.
std::optional<Record> from_line(std::string_view line);

/// The log of earlier watches, to which is appended.
class RecordFile {
 public:
  /// Without a path it remembers nothing. Lines that are no records are told of and left as they are; a file that does
  /// not begin with one is refused: Error(usage).
  RecordFile(std::string path, const base::Log& log);

  /// The last one of each place, of this run and compared alike.
  std::map<Place, Record> records(const std::string& run, const std::string& compared) const;
  /// At once and in one piece: whoever follows the file sees whole lines. Throws Error(runtime).
  void append(const Record& record) const;

 private:
  std::string path_;
  std::vector<Record> earlier_;
};

}  // namespace winnow::watch
