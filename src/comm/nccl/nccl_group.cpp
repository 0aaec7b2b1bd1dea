#include <fmt/format.h>

#include <algorithm>
#include <thread>
#include <utility>

#include "winnow/base/error.hpp"
#include "winnow/comm/nccl.hpp"
#include "winnow/comm/together.hpp"

namespace winnow::comm {

using base::Error;
using base::ErrorKind;
using Clock = std::chrono::steady_clock;

namespace {

/// Polls are cheap, but not free: short at first, for reductions of microseconds.
constexpr auto kShortestPause = std::chrono::microseconds(5), kLongestPause = std::chrono::microseconds(1000);

/// For an orderly end, which peers that are gone may not give.
constexpr auto kFarewell = std::chrono::seconds(10);

}  // namespace

NcclGroup::NcclGroup(const NcclApi& api, Communicator& team, Options options)
    : api_(api), options_(std::move(options)) {
  NcclUniqueId id{};
  try {
    step_together(team, [&] {
      if (team.rank() != 0) return;
      if (const int result = api_.get_unique_id(&id); result != NcclApi::kSuccess) {
        fail("making a unique id", text_of(result));
      }
    });
    std::string bytes(id.begin(), id.end());
    team.broadcast(bytes, 0);
    step_together(team, [&] {
      std::copy(bytes.begin(), bytes.end(), id.begin());
      const int result = api_.init_rank(&comm_, team.size(), id, team.rank());
      if (result != NcclApi::kSuccess && result != NcclApi::kInProgress) fail("initialisation", text_of(result));
      wait("initialisation", [] { return true; });
    });
  } catch (...) {
    abort();
    throw;
  }
}

NcclGroup::~NcclGroup() {
  if (comm_ == nullptr) return;
  try {
    options_.between = {};
    options_.patience = kFarewell;
    const int result = api_.finalize(comm_);
    if (result != NcclApi::kSuccess && result != NcclApi::kInProgress) fail("ending", text_of(result));
    wait("ending", [] { return true; });
    api_.destroy(comm_);
  } catch (...) {  // wait() and fail() have aborted it; there is nothing left to save
  }
}

void NcclGroup::sum(void* values, std::uint64_t count, bool is_double, void* stream,
                    const std::function<bool()>& finished) {
  const std::string what = "all-reduce";
  if (comm_ == nullptr) fail(what, "the communicator was aborted before");
  const int result = api_.all_reduce(values, count, is_double, comm_, stream);
  if (result != NcclApi::kSuccess && result != NcclApi::kInProgress) fail(what, text_of(result));
  wait(what, finished);
}

/// Until NCCL has accepted what it was given and `done`.
void NcclGroup::wait(const std::string& what, const std::function<bool()>& done) {
  const auto deadline = Clock::now() + options_.patience;
  auto pause = kShortestPause;
  try {
    for (;;) {
      int state = NcclApi::kSuccess;
      if (const int result = api_.async_error(comm_, &state); result != NcclApi::kSuccess) fail(what, text_of(result));
      if (state != NcclApi::kSuccess && state != NcclApi::kInProgress) fail(what, text_of(state));
      if (state == NcclApi::kSuccess && done()) return;
      if (options_.between) options_.between();
      if (Clock::now() >= deadline) {
        fail(what, fmt::format("no answer from its peers for {} s",
                               std::chrono::duration<double>(options_.patience).count()));
      }
      std::this_thread::sleep_for(pause);
      pause = std::min(2 * pause, kLongestPause);
    }
  } catch (...) {
    abort();  // peers that wait for this rank see it, and the stream comes to its end
    throw;
  }
}

void NcclGroup::fail(const std::string& what, const std::string& reason) {
  abort();
  throw Error(ErrorKind::runtime, fmt::format("NCCL {} failed on {}: {}", what, options_.device, reason))
      .rank(options_.rank)
      .advice("NCCL_DEBUG=INFO tells more; without --team ranks need no NCCL");
}

/// The kind of error, and what NCCL noted when it happened.
std::string NcclGroup::text_of(int result) const {
  const auto details = api_.last_error(comm_);
  return details.empty() ? api_.error_string(result) : fmt::format("{} ({})", api_.error_string(result), details);
}

void NcclGroup::abort() noexcept {
  if (void* comm = std::exchange(comm_, nullptr)) api_.abort(comm);
}

}  // namespace winnow::comm
