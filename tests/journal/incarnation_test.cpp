#include "winnow/journal/incarnation.hpp"

#include <gtest/gtest.h>

#include <filesystem>

#include "base/expect_error.hpp"
#include "base/temporary_directory.hpp"

namespace winnow::journal {
namespace {

namespace fs = std::filesystem;
using base::ErrorKind;
using ::testing::AllOf;
using ::testing::HasSubstr;

class Incarnations : public ::testing::Test {
 protected:
  test::TemporaryDirectory directory;
  std::string journal = directory / "deep/journal";
};

TEST_F(Incarnations, AreCountedFromOne) {
  EXPECT_TRUE(find_incarnations(journal).empty());
  const auto first = begin_incarnation(journal, false, "then\n");
  EXPECT_EQ(first.number, 1);
  EXPECT_EQ(first.directory, journal + "/incarnation-0001");
  EXPECT_EQ(first.rank_file(12), journal + "/incarnation-0001/rank-0012.journal");
  EXPECT_EQ(read_description(first), "then\n");
  EXPECT_EQ(begin_incarnation(journal, true, "now\n").number, 2);
  ASSERT_EQ(find_incarnations(journal).size(), 2U);
  EXPECT_EQ(read_description(find_incarnations(journal)[1]), "now\n");
}

TEST_F(Incarnations, ResumingNothingBeginsAnew) { EXPECT_EQ(begin_incarnation(journal, true, "").number, 1); }

TEST_F(Incarnations, AJournalIsBegunOnce) {
  begin_incarnation(journal, false, "");
  const auto refusal = AllOf(HasSubstr("holds a journal already: " + journal), HasSubstr("add --resume"));
  test::expect_error(ErrorKind::usage, refusal, [&] { begin_incarnation(journal, false, ""); });
  test::expect_error(ErrorKind::usage, refusal, [&] { check_journal(journal, false); });
  check_journal(journal, true);
  EXPECT_EQ(find_incarnations(journal).size(), 1U);
}

TEST_F(Incarnations, AreOrderedByNumberAndOtherNamesAreNotTheirs) {
  for (const char* name : {"incarnation-9999", "incarnation-0003", "incarnation-10000", "incarnation-", "incarnation-x",
                           "incarnation-0", "notes"}) {
    fs::create_directories(journal + "/" + name);
  }
  std::vector<int> numbers;
  for (const auto& incarnation : find_incarnations(journal)) numbers.push_back(incarnation.number);
  EXPECT_EQ(numbers, (std::vector<int>{3, 9999, 10000}));
  EXPECT_EQ(begin_incarnation(journal, true, "").number, 10001);
}

TEST_F(Incarnations, ListTheirRanks) {
  const auto incarnation = begin_incarnation(journal, false, "");
  directory.write("deep/journal/incarnation-0001/rank-0002.journal", "");
  directory.write("deep/journal/incarnation-0001/rank-0000.journal", "");
  EXPECT_EQ(rank_files(incarnation), (std::vector<std::string>{incarnation.rank_file(0), incarnation.rank_file(2)}));
}

TEST_F(Incarnations, OneThatEndedBeforeItsDescriptionHasNone) {
  fs::create_directories(journal + "/incarnation-0001");
  EXPECT_FALSE(read_description(find_incarnations(journal).at(0)));
}

TEST_F(Incarnations, OnlyTheLatestMayWrite) {
  const auto first = begin_incarnation(journal, false, "");
  require_latest(journal, first);
  const auto second = begin_incarnation(journal, true, "");
  require_latest(journal, second);
  test::expect_error(ErrorKind::runtime,
                     AllOf(HasSubstr("taken over: " + second.directory), HasSubstr("writes nothing")),
                     [&] { require_latest(journal, first); });
}

TEST_F(Incarnations, AFileIsNoPlaceForAJournal) {
  directory.write("file", "");
  for (const auto& place : {directory / "file", directory / "file/below"}) {
    test::expect_error(ErrorKind::usage, HasSubstr("is or is below what is not a directory"),
                       [&] { check_journal(place, false); });
  }
}

}  // namespace
}  // namespace winnow::journal
