// Looks at a run, one after the other, made up.
#include "winnow/watch/tracker.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace winnow::watch {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

SeenFile file(std::int64_t written, bool whole = true) { return {{100, 7, written, 0}, whole}; }
const SeenFile kAbsent{};

/// Times at which weights, configuration and trainer_state.json were written; 0: not there, negative: half.
Seen seen(int weights, int config, int trainer) {
  const auto one = [](int written) { return written == 0 ? kAbsent : file(std::abs(written), written > 0); };
  return {one(weights), one(config), one(trainer)};
}
Place checkpoint(std::uint64_t step, const std::string& below = "") {
  return {step, "checkpoint-" + std::to_string(step) + below};
}

/// "ready checkpoint-10"
std::vector<std::string> look(Tracker& tracker, const Listing& listing) {
  std::vector<std::string> said;
  for (const auto& event : tracker.look(listing)) {
    const auto* kind = event.kind == Event::Kind::ready     ? "ready "
                       : event.kind == Event::Kind::again   ? "again "
                       : event.kind == Event::Kind::stalled ? "stalled "
                                                            : "removed ";
    said.push_back(kind + event.place.name + (event.lack.empty() ? "" : ": " + event.lack));
  }
  return said;
}

TEST(Tracker, WhatTheTrainerHasFinishedIsReadyAtOnceInOrderOfSteps) {
  Tracker tracker;
  EXPECT_THAT(look(tracker, {{checkpoint(100), seen(1, 1, 2)}, {checkpoint(20), seen(1, 1, 1)}}),
              ElementsAre("ready checkpoint-20", "ready checkpoint-100"));
  EXPECT_THAT(look(tracker, {{checkpoint(100), seen(1, 1, 2)}, {checkpoint(20), seen(1, 1, 1)}}), IsEmpty());
  EXPECT_FALSE(tracker.has_unsettled());
}

TEST(Tracker, WhatIsBeingWrittenIsNot) {
  Tracker tracker;
  const auto at = checkpoint(10);
  EXPECT_THAT(look(tracker, {{at, seen(0, 0, 0)}}), IsEmpty());
  EXPECT_THAT(look(tracker, {{at, seen(-1, 0, 0)}}), IsEmpty()) << "half of the weights";
  EXPECT_THAT(look(tracker, {{at, seen(2, 0, 0)}}), IsEmpty());
  EXPECT_THAT(look(tracker, {{at, seen(2, -3, 0)}}), IsEmpty());
  EXPECT_THAT(look(tracker, {{at, seen(2, 3, 0)}}), IsEmpty()) << "complete, but it has just changed";
  EXPECT_TRUE(tracker.has_unsettled());
  EXPECT_THAT(look(tracker, {{at, seen(2, 3, -4)}}), IsEmpty());
  EXPECT_THAT(look(tracker, {{at, seen(2, 3, 5)}}), ElementsAre("ready checkpoint-10"));
}

TEST(Tracker, WithoutATrainerTwoLooksAlikeTell) {
  Tracker tracker;
  const auto at = checkpoint(10);
  EXPECT_THAT(look(tracker, {{at, seen(2, 3, 0)}}), IsEmpty());
  EXPECT_THAT(look(tracker, {{at, seen(4, 3, 0)}}), IsEmpty()) << "bytes come after the file has its length";
  EXPECT_THAT(look(tracker, {{at, seen(4, 3, 0)}}), ElementsAre("ready checkpoint-10"));
  EXPECT_THAT(look(tracker, {{at, seen(4, 3, 9)}}), IsEmpty()) << "what comes after the adapter changes nothing of it";
}

TEST(Tracker, ARestartedRunWritesOverACheckpoint) {
  Tracker tracker;
  const auto at = checkpoint(10);
  EXPECT_THAT(look(tracker, {{at, seen(1, 1, 2)}}), ElementsAre("ready checkpoint-10"));
  EXPECT_THAT(look(tracker, {{at, seen(-5, 1, 2)}}), IsEmpty());
  EXPECT_THAT(look(tracker, {{at, seen(6, 1, 2)}}), IsEmpty()) << "the trainer's file is that of the run before";
  EXPECT_THAT(look(tracker, {{at, seen(6, 7, 2)}}), IsEmpty());
  EXPECT_THAT(look(tracker, {{at, seen(6, 7, 8)}}), ElementsAre("again checkpoint-10"));
}

TEST(Tracker, NamedAdaptersAreReadyEachByItself) {
  Tracker tracker;
  EXPECT_THAT(look(tracker, {{checkpoint(10, "/one"), seen(1, 1, 0)}, {checkpoint(10, "/two"), seen(-1, 1, 0)}}),
              IsEmpty());
  EXPECT_THAT(look(tracker, {{checkpoint(10, "/one"), seen(1, 1, 0)}, {checkpoint(10, "/two"), seen(2, 1, 0)}}),
              ElementsAre("ready checkpoint-10/one"));
  EXPECT_THAT(look(tracker, {{checkpoint(10, "/one"), seen(1, 1, 3)}, {checkpoint(10, "/two"), seen(2, 1, 3)}}),
              ElementsAre("ready checkpoint-10/two"));
}

TEST(Tracker, RemovedBeforeItWasJudgedIsTold) {
  Tracker tracker;
  look(tracker, {{checkpoint(10), seen(1, 1, 2)}, {checkpoint(20), seen(-1, 0, 0)}, {checkpoint(30), seen(3, 3, 0)}});
  EXPECT_THAT(look(tracker, {}), ElementsAre("removed checkpoint-20", "removed checkpoint-30"));
  EXPECT_THAT(look(tracker, {}), IsEmpty());
  EXPECT_THAT(look(tracker, {{checkpoint(10), seen(5, 5, 6)}}), ElementsAre("ready checkpoint-10"));
}

TEST(Tracker, WhatBecomesANamedAdapterIsNotRemoved) {
  Tracker tracker;
  look(tracker, {{checkpoint(10), seen(0, 0, 0)}});  // as long as no adapter is there
  EXPECT_THAT(look(tracker, {{checkpoint(10, "/one"), seen(1, 1, 1)}}), ElementsAre("ready checkpoint-10/one"));
}

TEST(Tracker, WhatStaysIncompleteIsToldOfOnce) {
  Tracker tracker;
  const Listing half{{checkpoint(10), seen(-1, 1, 2)}};
  std::vector<std::string> said;
  for (int k = 0; k < 3 * kLooksUntilStalled; ++k) {
    for (const auto& text : look(tracker, half)) said.push_back(text);
    EXPECT_EQ(said.empty(), k < kLooksUntilStalled);
  }
  EXPECT_THAT(said, ElementsAre("stalled checkpoint-10: adapter_model.safetensors is not whole"));
  EXPECT_THAT(look(tracker, {{checkpoint(10), seen(3, 1, 2)}}), IsEmpty());
  EXPECT_THAT(look(tracker, {{checkpoint(10), seen(3, 1, 4)}}), ElementsAre("ready checkpoint-10"));
}

TEST(Tracker, WhatCouldNotBeReadIsLookedAtAnew) {
  Tracker tracker;
  EXPECT_THAT(look(tracker, {{checkpoint(10), seen(1, 1, 2)}}), ElementsAre("ready checkpoint-10"));
  tracker.forget(checkpoint(10));
  EXPECT_THAT(look(tracker, {{checkpoint(10), seen(3, 1, 2)}}), IsEmpty());
  EXPECT_THAT(look(tracker, {{checkpoint(10), seen(3, 4, 5)}}), ElementsAre("ready checkpoint-10"));
}

TEST(Tracker, SaysWhatWasNotJudged) {
  Tracker tracker;
  look(tracker, {{checkpoint(10), seen(1, 1, 2)}, {checkpoint(20), seen(1, 0, 0)}, {checkpoint(30), seen(1, 1, 0)}});
  const auto left = tracker.unjudged();
  ASSERT_EQ(left.size(), 2U);
  EXPECT_EQ(left[0].lack, "adapter_config.json is not there");
  EXPECT_EQ(left[1].lack, "it was still changing");
}

}  // namespace
}  // namespace winnow::watch
