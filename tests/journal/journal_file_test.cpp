// A journal that was torn or changed anywhere gives the records before that place, never a wrong one.
#include "winnow/journal/journal_file.hpp"

#include <gtest/gtest.h>

#include <random>

#include "base/expect_error.hpp"
#include "base/temporary_directory.hpp"

namespace winnow::journal {
namespace {

const std::string kDigest(64, 'a');

/// Random bytes, of lengths that include none at all.
std::vector<std::string> payloads() {
  std::mt19937 engine(1);
  std::vector<std::string> all;
  for (const std::size_t length : {17U, 0U, 200U, 1U, 64U}) {
    std::string payload(length, '\0');
    for (auto& byte : payload) byte = static_cast<char>(engine());
    all.push_back(payload);
  }
  return all;
}

class JournalFile : public ::testing::Test {
 protected:
  JournalFile() {
    JournalWriter writer(path, kDigest);
    for (const auto& payload : payloads()) writer.append(payload);
    writer.sync();
    bytes = test::read_whole(path);
  }

  /// The number of records read, which must be a prefix of those written.
  std::size_t read_changed(const std::string& changed) const {
    const auto content = read_journal(directory.write("changed", changed), kDigest);
    const auto all = payloads();
    EXPECT_LE(content.payloads.size(), all.size());
    for (std::size_t k = 0; k < std::min(content.payloads.size(), all.size()); ++k) {
      EXPECT_EQ(content.payloads[k], all[k]);
    }
    return content.payloads.size();
  }

  /// Records that end within the first `length` bytes.
  std::size_t whole_within(std::size_t length) const {
    std::size_t end = 17 + 64 + 1, count = 0;
    for (const auto& payload : payloads()) {
      end += 8 + 64 + payload.size();
      if (end > length) break;
      ++count;
    }
    return count;
  }

  test::TemporaryDirectory directory;
  std::string path = directory / "rank-0000.journal";
  std::string bytes;
};

TEST_F(JournalFile, GivesBackWhatWasAppended) {
  const auto content = read_journal(path, kDigest);
  EXPECT_EQ(content.payloads, payloads());
  EXPECT_FALSE(content.damaged_at);
}

TEST_F(JournalFile, CutAnywhereGivesTheWholeRecordsBefore) {
  for (std::size_t length = 0; length < bytes.size(); ++length) {
    EXPECT_EQ(read_changed(bytes.substr(0, length)), whole_within(length)) << length;
  }
}

TEST_F(JournalFile, AnyBitFlippedGivesTheRecordsBefore) {
  for (std::size_t at = 0; at < bytes.size(); ++at) {
    for (int bit = 0; bit < 8; ++bit) {
      auto changed = bytes;
      changed[at] = static_cast<char>(changed[at] ^ (1 << bit));
      EXPECT_EQ(read_changed(changed), whole_within(at)) << at << " " << bit;
    }
  }
}

TEST_F(JournalFile, TellsWhereTheDamageIs) {
  EXPECT_EQ(read_journal(directory.write("torn", bytes.substr(0, bytes.size() - 1)), kDigest).damaged_at,
            bytes.size() - 8 - 64 - 64);
  EXPECT_EQ(read_journal(directory.write("empty", ""), kDigest).damaged_at, 0U);
}

TEST_F(JournalFile, ARecordInAnotherPlaceIsNotBelieved) {
  const std::size_t head = 17 + 64 + 1, first = 8 + 64 + payloads()[0].size();
  EXPECT_EQ(read_changed(bytes.substr(0, head) + bytes.substr(head + first)), 0U);
  EXPECT_EQ(read_changed(bytes + bytes.substr(head, first)), payloads().size());
}

TEST_F(JournalFile, ThatOfAnotherRunIsNotBelieved) {
  const auto content = read_journal(path, std::string(64, 'b'));
  EXPECT_TRUE(content.payloads.empty());
  EXPECT_EQ(content.damaged_at, 0U);
}

TEST_F(JournalFile, IsNeverOpenedTwice) {
  test::expect_error(base::ErrorKind::runtime, ::testing::HasSubstr("File exists"),
                     [&] { JournalWriter(path, kDigest); });
}

}  // namespace
}  // namespace winnow::journal
