#include "winnow/comm/communicator.hpp"

#include <algorithm>
#include <numeric>
#include <thread>

#include "mpi/mpi_main.hpp"
#include "winnow/base/error.hpp"
#include "winnow/comm/together.hpp"

namespace winnow::comm {
namespace {

using base::Error;
using base::ErrorKind;
using test::world;

TEST(Communicator, RanksAreDistinctAndCounted) {
  std::vector<double> seen(static_cast<std::size_t>(world().size()), 0.0);
  seen[static_cast<std::size_t>(world().rank())] = 1;
  world().sum(seen);
  EXPECT_THAT(seen, ::testing::Each(1.0));
  EXPECT_LT(world().node_rank(), world().node_size());
  EXPECT_EQ(world().node_size(), world().size()) << "all ranks of this test are on one machine";
}

TEST(Communicator, BroadcastCarriesAnyLengthFromAnyRank) {
  for (int root = 0; root < world().size(); ++root) {
    for (const std::size_t length : {std::size_t{0}, std::size_t{1}, std::size_t{100'003}}) {
      std::string bytes;
      if (world().rank() == root) bytes.assign(length, static_cast<char>('a' + root));
      world().broadcast(bytes, root);
      EXPECT_EQ(bytes, std::string(length, static_cast<char>('a' + root)));
    }
  }
}

TEST(Communicator, GatherKeepsTheOrderOfRanks) {
  const int root = world().size() - 1;
  const auto all = world().gather(std::string(static_cast<std::size_t>(world().rank()), 'x'), root);
  if (world().rank() != root) {
    EXPECT_TRUE(all.empty());
    return;
  }
  ASSERT_EQ(all.size(), static_cast<std::size_t>(world().size()));
  for (std::size_t r = 0; r < all.size(); ++r) EXPECT_EQ(all[r], std::string(r, 'x'));
}

TEST(Communicator, SumAddsElementByElementOnEveryRank) {
  std::vector<double> values(1000);
  std::iota(values.begin(), values.end(), world().rank());
  world().sum(values);
  const double ranks = world().size();
  for (std::size_t k = 0; k < values.size(); ++k) {
    EXPECT_EQ(values[k], ranks * static_cast<double>(k) + ranks * (ranks - 1) / 2);
  }
}

TEST(Communicator, MaximumIsThatOfAllRanks) { EXPECT_EQ(world().maximum(-world().rank()), 0); }

TEST(Communicator, SumsFloatsToo) {
  std::vector<float> values(1000);
  std::iota(values.begin(), values.end(), static_cast<float>(world().rank()));
  world().sum(values);
  const auto ranks = static_cast<float>(world().size());
  for (std::size_t k = 0; k < values.size(); ++k) {
    EXPECT_EQ(values[k], ranks * static_cast<float>(k) + ranks * (ranks - 1) / 2);
  }
}

TEST(Communicator, TeamsAreConsecutiveRanksTheLastTakingTheRest) {
  for (const int members : {1, 2, 3, 100}) {
    const auto team = world().team(members);
    const int teams = teams_of(world().size(), members);
    const int mine = team_of(world().rank(), world().size(), members);
    EXPECT_EQ(teams, std::max(1, world().size() / members));
    const int first = mine * members;
    const int count = mine == teams - 1 ? world().size() - first : members;
    EXPECT_EQ(team->size(), count);
    EXPECT_EQ(team->rank(), world().rank() - first);
    std::vector<double> ranks{static_cast<double>(world().rank())};
    team->sum(ranks);
    EXPECT_EQ(ranks[0], count * first + count * (count - 1) / 2);
  }
}

TEST(Together, AStepOfATeamFailsForAllOfItAndTheErrorReachesEveryRank) {
  const auto team = world().team(2);
  for (int failing = 0; failing < world().size(); ++failing) {
    int later = 0;
    try {
      run_together(world(), [&] {
        step_together(*team, [] {});
        step_together(*team, [&] {
          if (world().rank() == failing) throw Error(ErrorKind::runtime, "lost").file("shard");
        });
        ++later;
        for (int step = 0; step < 100; ++step) step_together(*team, [&] { stop_if_peer_failed(world()); });
      });
      ADD_FAILURE() << "nothing thrown";
    } catch (const Error& error) {
      EXPECT_EQ(error.file(), "shard");
    }
    const bool in_team = team_of(world().rank(), world().size(), 2) == team_of(failing, world().size(), 2);
    EXPECT_EQ(later, in_team ? 0 : 1);
  }
  run_together(world(), [&] { step_together(*team, [] {}); });  // and nothing is left behind
}

// What a pass does to add up: several sums in one step, with copies between them that may fail.
TEST(Together, AMemberThatFailsBetweenTwoSumsIsNotWaitedFor) {
  constexpr int kSums = 3;
  for (const int members : {2, 3}) {
    const auto team = world().team(members);
    for (int failing = 0; failing < world().size(); ++failing) {
      for (int point = 0; point <= kSums; ++point) {
        const auto fail_at = [&](int here) {
          if (world().rank() == failing && here == point) throw Error(ErrorKind::runtime, "copy failed");
        };
        try {
          run_together(world(), [&] {
            step_together(*team, [&] {
              for (int sum = 0; sum < kSums; ++sum) {
                fail_at(sum);
                meet(*team);
                double one = 1;
                team->sum(std::span(&one, 1));
                EXPECT_EQ(one, team->size());
              }
              fail_at(kSums);
            });
            step_together(*team, [&] { stop_if_peer_failed(world()); });
          });
          ADD_FAILURE() << "nothing thrown";
        } catch (const Agreed& error) {
          EXPECT_EQ(error.summary(), "copy failed");
        }
      }
    }
    run_together(world(), [&] { step_together(*team, [&] { meet(*team); }); });  // and nothing is left behind
  }
}

TEST(Together, AResultIsEachRanksOwn) {
  EXPECT_EQ(result_together(world(), [] { return world().rank(); }), world().rank());
}

TEST(Together, WhatAllRanksRefuseIsNoFaultOfOne) {
  for (const auto kind : {ErrorKind::usage, ErrorKind::runtime}) {
    try {
      run_together(world(), [&] { throw Error(kind, "no"); });
      ADD_FAILURE() << "nothing thrown";
    } catch (const Agreed& error) {
      EXPECT_EQ(error.rank(), kind == ErrorKind::usage || world().size() == 1 ? -1 : 0);
    }
  }
}

TEST(Together, ANoticeOfFailureIsGivenOnce) {
  EXPECT_THROW(run_together(world(),
                            [] {
                              world().notices().notify_failure();
                              world().notices().notify_failure();
                              throw Error(ErrorKind::runtime, "no");
                            }),
               Agreed);
  world().barrier();
  EXPECT_FALSE(world().notices().peer_failed());
}

TEST(Together, PassesWhereAllSucceed) {
  int done = 0;
  run_together(world(), [&] { ++done; });
  EXPECT_EQ(done, 1);
}

TEST(Together, ThrowsTheSameErrorOnEveryRankWhicheverFailed) {
  for (int failing = 0; failing < world().size(); ++failing) {
    try {
      run_together(world(), [&] {
        if (world().rank() == failing) {
          throw Error(ErrorKind::invalid_input, "bad shard").file("f").tensor("t").advice("mend it");
        }
      });
      ADD_FAILURE() << "nothing thrown";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::invalid_input);
      const auto rank = world().size() > 1 ? ", rank " + std::to_string(failing) : "";
      EXPECT_EQ(error.what(), "bad shard: f, tensor t" + rank + "; mend it");
    }
  }
}

TEST(Together, TheLowestFailingRankSpeaks) {
  try {
    run_together(world(), [] { throw Error(ErrorKind::runtime, "rank " + std::to_string(world().rank())); });
    ADD_FAILURE() << "nothing thrown";
  } catch (const Error& error) {
    EXPECT_EQ(error.summary(), "rank 0");
  }
}

TEST(Together, StopsPeersThatAskBeforeTheyFinish) {
  if (world().size() == 1) GTEST_SKIP() << "needs a peer";
  const int failing = world().size() - 1;
  bool stopped = false;
  EXPECT_THROW(run_together(world(),
                            [&] {
                              if (world().rank() == failing) throw Error(ErrorKind::runtime, "no");
                              // Endless, unless the notice comes through: a hang here is the failure.
                              try {
                                while (true) stop_if_peer_failed(world());
                              } catch (const PeerFailed&) {
                                stopped = true;
                                throw;
                              }
                            }),
               Error);
  EXPECT_EQ(stopped, world().rank() != failing);
}

TEST(Together, NoNoticeIsLeftForTheNextStage) {
  for (int round = 0; round < 20; ++round) {
    EXPECT_THROW(run_together(world(), [] { throw Error(ErrorKind::runtime, "all fail"); }), Error);
    world().barrier();
    EXPECT_FALSE(world().notices().peer_failed());
    run_together(world(), [] {});
  }
}

TEST(Together, OrdinaryExceptionsBecomeErrors) {
  const auto kind_of = [](const std::function<void()>& work) {
    try {
      run_together(world(), work);
    } catch (const Error& error) {
      return error.kind();
    }
    return ErrorKind::usage;
  };
  EXPECT_EQ(kind_of([] { throw std::bad_alloc(); }), ErrorKind::runtime);
  EXPECT_EQ(kind_of([] { throw std::runtime_error("x"); }), ErrorKind::runtime);
}

TEST(Together, TheCoordinatorsResultReachesEveryRank) {
  int calls = 0;
  const auto result = from_coordinator(world(), [&] {
    ++calls;
    return std::string("header\0bytes", 12);
  });
  EXPECT_EQ(result, std::string("header\0bytes", 12));
  EXPECT_EQ(calls, world().is_coordinator() ? 1 : 0);
}

TEST(Together, TheCoordinatorsErrorReachesEveryRank) {
  try {
    from_coordinator(world(), []() -> std::string { throw Error(ErrorKind::invalid_input, "no such checkpoint"); });
    ADD_FAILURE() << "nothing thrown";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::invalid_input);
    EXPECT_STREQ(error.what(), "no such checkpoint");
  }
}

TEST(Communicator, ARequestToStopReachesEveryRankFromAny) {
  for (int asked = 0; asked < world().size(); ++asked) {
    EXPECT_FALSE(world().notices().stop_requested());
    world().barrier();  // nobody asks before all have looked
    if (world().rank() == asked) {
      world().notices().request_stop();
      world().notices().request_stop();
    }
    while (!world().notices().stop_requested()) {
    }
    EXPECT_TRUE(world().notices().forget_stop());
    EXPECT_FALSE(world().notices().stop_requested());
    EXPECT_FALSE(world().notices().forget_stop());
    world().barrier();
  }
}

TEST(Communicator, AllRanksMayAskToStopAtOnce) {
  world().notices().request_stop();
  EXPECT_TRUE(world().notices().stop_requested());
  EXPECT_TRUE(world().notices().forget_stop());
  world().barrier();
  EXPECT_FALSE(world().notices().stop_requested());
  world().barrier();
}

TEST(Communicator, ARequestThatNobodyHasSeenIsForgottenAsWell) {
  if (world().rank() == world().size() - 1) world().notices().request_stop();
  EXPECT_TRUE(world().notices().forget_stop());
  world().barrier();
  EXPECT_FALSE(world().notices().stop_requested());
  world().barrier();
}

TEST(Communicator, ARankThatWaitsPassesARequestOn) {
  if (world().size() == 1) return;
  // The coordinator learns of it while it waits in a collective, and so does everybody else through it.
  world().peers().while_waiting([] { world().notices().stop_requested(); });
  if (world().rank() == world().size() - 1) {
    world().notices().request_stop();
  } else if (world().rank() > 0) {
    while (!world().notices().stop_requested()) {
    }
  }
  world().barrier();
  world().peers().while_waiting({});
  EXPECT_TRUE(world().notices().forget_stop());
}

}  // namespace
}  // namespace winnow::comm
