// One rank's part of a journal: records in the order they were made, each with a checksum.
//
//     winnow journal 3\n                      17 bytes
//     digest of the run's description\n       64 hexadecimal digits and a line feed
//     per record  length of the payload       8 bytes, little-endian
//                 SHA-256                     64 hexadecimal digits, of digest, place of the record and payload
//                 payload
//
// The checksum holds digest and place, so a record is valid nowhere but where it was written.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "winnow/base/file.hpp"

namespace winnow::journal {

/// Appends records to a file of its own.
class JournalWriter {
 public:
  /// Makes the file; `digest`: 64 hexadecimal digits. Throws Error(runtime), also if something is there already.
  JournalWriter(const std::string& path, std::string digest);

  /// In one write: if it throws Error(runtime) (a full disk), at most the start of this record is in the file, which
  /// reading drops. Nothing may be appended after that.
  void append(std::string_view payload);
  void sync();  ///< to the device; nothing if that has been done since the last record

 private:
  base::File file_;
  std::string digest_;
  std::uint64_t records_ = 0;
  bool synced_ = true;
};

struct JournalContent {
  std::vector<std::string> payloads;
  std::optional<std::uint64_t> damaged_at;  ///< offset of the first byte that is not used: a record torn or changed
};

/// What can be trusted: the records up to the first that is torn or changed. None if the file is of another run.
/// Throws Error(runtime) if the file cannot be read.
JournalContent read_journal(const std::string& path, std::string_view digest);

}  // namespace winnow::journal
