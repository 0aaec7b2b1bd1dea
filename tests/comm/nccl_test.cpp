// The communicator of GPUs without one: a table of functions that does what NCCL's would.
#include "winnow/comm/nccl.hpp"

#include <dlfcn.h>

#include <cstdlib>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "mpi/mpi_main.hpp"
#include "winnow/base/error.hpp"
#include "winnow/comm/together.hpp"

namespace winnow::comm {
namespace {

using base::Error;
using base::ErrorKind;
using test::world;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr int kSystemError = 2, kRemoteError = 6;

/// NCCL as far as a rank sees it: says "in progress" a few times before it says anything else.
struct FakeNccl {
  int comm = 0;  // its address is the handle
  int polls = 0, inits = 0, finalized = 0, destroyed = 0, aborted = 0;
  int init_result = NcclApi::kInProgress, unique_id_result = NcclApi::kSuccess;
  int init_state = NcclApi::kSuccess, sum_state = NcclApi::kSuccess, end_state = NcclApi::kSuccess;
  int reduce_result = NcclApi::kInProgress;
  int state_after_polls = NcclApi::kSuccess;
  bool never_ready = false;
  std::vector<NcclUniqueId> ids;
  struct Reduction {
    void* values;
    std::uint64_t count;
    bool is_double;
    void* stream;
    bool operator==(const Reduction&) const = default;
  };
  std::vector<Reduction> reductions;

  void begin(int final_state) {
    polls = 0;
    state_after_polls = final_state;
  }

  NcclApi api() {
    NcclApi table;
    table.get_version = [](int* version) {
      *version = 22809;
      return NcclApi::kSuccess;
    };
    table.get_unique_id = [this](NcclUniqueId* id) {
      id->fill('i');
      return unique_id_result;
    };
    table.init_rank = [this](void** made, int ranks, const NcclUniqueId& id, int rank) {
      EXPECT_EQ(ranks, world().size());
      EXPECT_EQ(rank, world().rank());
      ++inits;
      ids.push_back(id);
      *made = &comm;
      begin(init_state);
      return init_result;
    };
    table.async_error = [this](void* handle, int* state) {
      EXPECT_EQ(handle, &comm);
      EXPECT_EQ(aborted, 0) << "an aborted communicator must not be touched";
      *state = never_ready || ++polls < 4 ? NcclApi::kInProgress : state_after_polls;
      return NcclApi::kSuccess;
    };
    table.all_reduce = [this](void* values, std::uint64_t count, bool is_double, void* handle, void* stream) {
      EXPECT_EQ(handle, &comm);
      reductions.push_back({values, count, is_double, stream});
      begin(sum_state);
      return reduce_result;
    };
    table.finalize = [this](void*) {
      ++finalized;
      begin(end_state);
      return NcclApi::kInProgress;
    };
    table.destroy = [this](void*) {
      ++destroyed;
      return NcclApi::kSuccess;
    };
    table.abort = [this](void* handle) {
      EXPECT_EQ(handle, &comm);
      ++aborted;
      return NcclApi::kSuccess;
    };
    table.error_string = [](int result) {
      return std::string(result == kSystemError ? "unhandled system error" : "remote process exited");
    };
    table.last_error = [](void*) { return std::string("socket closed"); };
    return table;
  }
};

NcclGroup::Options options() {
  return {"CUDA device 3 (Test)", world().rank(), std::chrono::milliseconds(20'000), [] {}};
}

/// The error that all ranks see, as run_together() tells them.
std::optional<Error> error_of(const std::function<void()>& work) {
  try {
    run_together(world(), work);
  } catch (const Error& error) {
    return error;
  }
  return std::nullopt;
}

TEST(NcclGroup, InitialisesSumsAndEndsInOrder) {
  FakeNccl nccl;
  const auto api = nccl.api();
  std::vector<float> values(3);
  double square = 0;
  int stream = 0;
  {
    NcclGroup group(api, world(), options());
    EXPECT_EQ(nccl.inits, 1);
    EXPECT_EQ(nccl.ids.at(0)[127], 'i') << "the first rank's id reaches all, whole";
    EXPECT_GE(nccl.polls, 4);
    int asked = 0;
    group.sum(values.data(), 3, false, &stream, [&] { return ++asked == 5; });
    EXPECT_EQ(asked, 5) << "done is what the stream says, not what NCCL has accepted";
    group.sum(&square, 1, true, &stream, [] { return true; });
    const std::vector<FakeNccl::Reduction> expected{{values.data(), 3, false, &stream}, {&square, 1, true, &stream}};
    EXPECT_EQ(nccl.reductions, expected);
    EXPECT_EQ(nccl.finalized, 0);
  }
  EXPECT_EQ(nccl.finalized, 1);
  EXPECT_EQ(nccl.destroyed, 1);
  EXPECT_EQ(nccl.aborted, 0);
}

TEST(NcclGroup, AFailedInitialisationIsTheSameErrorOnAllRanks) {
  for (const bool later : {false, true}) {  // at once, or found by polling
    FakeNccl nccl;
    if (world().rank() == world().size() - 1) (later ? nccl.init_state : nccl.init_result) = kSystemError;
    const auto api = nccl.api();
    const auto error = error_of([&] { NcclGroup group(api, world(), options()); });
    ASSERT_TRUE(error);
    EXPECT_EQ(error->kind(), ErrorKind::runtime);
    EXPECT_EQ(error->rank(), world().size() - 1);
    EXPECT_THAT(error->what(), AllOf(HasSubstr("NCCL initialisation failed on CUDA device 3 (Test)"),
                                     HasSubstr("unhandled system error (socket closed)"),
                                     HasSubstr("rank " + std::to_string(world().size() - 1)), Not(HasSubstr("\n"))));
    EXPECT_EQ(nccl.aborted, 1) << "peers that came through must not wait for ever";
    EXPECT_EQ(nccl.destroyed, 0);
  }
}

TEST(NcclGroup, WithoutAUniqueIdNobodyInitialises) {
  FakeNccl nccl;
  nccl.unique_id_result = kSystemError;
  const auto api = nccl.api();
  const auto error = error_of([&] { NcclGroup group(api, world(), options()); });
  ASSERT_TRUE(error);
  EXPECT_THAT(error->what(), HasSubstr("making a unique id failed"));
  EXPECT_EQ(error->rank(), 0);
  EXPECT_EQ(nccl.inits, 0);
  EXPECT_EQ(nccl.aborted, 0);
}

TEST(NcclGroup, AnErrorWhileSummingAbortsAndIsNamed) {
  for (const bool later : {false, true}) {
    FakeNccl nccl;
    (later ? nccl.sum_state : nccl.reduce_result) = kRemoteError;
    const auto api = nccl.api();
    NcclGroup group(api, world(), options());
    float value = 0;
    const auto sum = [&] { group.sum(&value, 1, false, nullptr, [] { return true; }); };
    try {
      sum();
      FAIL() << "nothing thrown";
    } catch (const Error& error) {
      EXPECT_EQ(error.rank(), world().rank());
      EXPECT_THAT(error.what(), AllOf(HasSubstr("NCCL all-reduce failed on CUDA device 3 (Test)"),
                                      HasSubstr("remote process exited (socket closed)")));
    }
    EXPECT_EQ(nccl.aborted, 1);
    try {
      sum();
      FAIL() << "nothing thrown";
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), HasSubstr("was aborted before"));
    }
    EXPECT_EQ(nccl.aborted, 1);
  }
}

TEST(NcclGroup, PeersThatDoNotAnswerEndTheWait) {
  FakeNccl nccl;
  const auto api = nccl.api();
  auto impatient = options();
  impatient.patience = std::chrono::milliseconds(30);
  for (const bool stuck_stream : {false, true}) {
    nccl = FakeNccl();
    NcclGroup group(api, world(), impatient);
    nccl.never_ready = !stuck_stream;
    float value = 0;
    try {
      group.sum(&value, 1, false, nullptr, [&] { return !stuck_stream; });
      FAIL() << "nothing thrown";
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), HasSubstr("no answer from its peers for 0.03 s"));
    }
    EXPECT_EQ(nccl.aborted, 1);
  }
}

TEST(NcclGroup, StopsWhereAPeerHasFailedOtherwise) {
  FakeNccl nccl;
  nccl.never_ready = true;
  const auto api = nccl.api();
  int asked = 0;
  auto watchful = options();
  watchful.between = [&] {
    if (++asked == 3) throw PeerFailed{};
  };
  EXPECT_THROW(NcclGroup(api, world(), watchful), PeerFailed);
  EXPECT_EQ(nccl.aborted, 1);
}

TEST(NcclGroup, AnEndThatFailsIsAborted) {
  FakeNccl nccl;
  nccl.end_state = kRemoteError;
  const auto api = nccl.api();
  { NcclGroup group(api, world(), options()); }
  EXPECT_EQ(nccl.finalized, 1);
  EXPECT_EQ(nccl.destroyed, 0);
  EXPECT_EQ(nccl.aborted, 1);
}

TEST(Nccl, RanksThatShareAGpuAreSeen) {
  EXPECT_TRUE(all_different(world(), gpu_identity("gpu " + std::to_string(world().rank()))));
  EXPECT_EQ(all_different(world(), gpu_identity("gpu " + std::to_string(world().rank() / 2))), world().size() == 1);
  const auto same = gpu_identity("gpu");
  setenv("NCCL_HOSTID", std::to_string(world().rank()).c_str(), 1);
  EXPECT_TRUE(all_different(world(), gpu_identity("gpu"))) << "as NCCL sees it, on different hosts";
  unsetenv("NCCL_HOSTID");
  EXPECT_EQ(gpu_identity("gpu"), same);
}

TEST(Nccl, TellsItsVersionAndEnvironment) {
  FakeNccl nccl;
  EXPECT_EQ(nccl_version(nccl.api()), "2.28.9");
  setenv("NCCL_TEST_OF_WINNOW", "a=b", 1);
  EXPECT_EQ(nccl_environment().at("NCCL_TEST_OF_WINNOW"), "a=b");
  unsetenv("NCCL_TEST_OF_WINNOW");
  EXPECT_EQ(nccl_environment().count("NCCL_TEST_OF_WINNOW"), 0U);
}

TEST(Nccl, TheLibraryIsLoadedOrSaidToBeMissing) {
  const bool installed = dlopen("libnccl.so.2", RTLD_NOW | RTLD_LOCAL) != nullptr;
  try {
    const auto version = nccl_version(nccl_library());
    EXPECT_TRUE(installed);
    EXPECT_THAT(version, ::testing::StartsWith("2."));
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::usage) {
      EXPECT_THAT(error.what(), HasSubstr("built without CUDA"));
    } else {
      EXPECT_FALSE(installed);
      EXPECT_THAT(error.what(), AllOf(HasSubstr("cannot load NCCL"), HasSubstr("LD_LIBRARY_PATH")));
    }
  }
}

}  // namespace
}  // namespace winnow::comm
