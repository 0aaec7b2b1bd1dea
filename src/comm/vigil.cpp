#include "vigil.hpp"

#include <fmt/format.h>
#include <sched.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <system_error>
#include <utility>

#include "winnow/base/bytes.hpp"
#include "winnow/base/error.hpp"
#include "winnow/base/narrow.hpp"
#include "winnow/comm/communicator.hpp"

namespace winnow::comm {
namespace {

using std::chrono::milliseconds;

/// Between two signs of life: often enough for several within any time limit.
constexpr milliseconds kLongestInterval{1000}, kShortestInterval{20};
constexpr int kSignsPerTimeout = 10;
/// How long the coordinator may take to speak for one that complains; then that speaks itself.
constexpr std::chrono::seconds kPatience{5};
constexpr milliseconds kRetry{5};  // if the other thread is within MPI
/// Collectives of ranks that are in step take microseconds: sleeping would only make them late.
constexpr milliseconds kSpin{1};
constexpr std::chrono::microseconds kShortestPause{50}, kLongestPause{1000};

std::string processor_name() {
  std::array<char, MPI_MAX_PROCESSOR_NAME> name{};
  int length = 0;
  check(MPI_Get_processor_name(name.data(), &length), "MPI_Get_processor_name");
  return name.data();
}

long long whole_seconds(std::chrono::steady_clock::duration time) {
  return std::chrono::duration_cast<std::chrono::seconds>(time).count();
}

}  // namespace

void check(int code, const char* call) {
  if (code == MPI_SUCCESS) return;
  char text[MPI_MAX_ERROR_STRING];
  int length = 0;
  MPI_Error_string(code, text, &length);
  throw Stranded(
      base::Error(base::ErrorKind::runtime,
                  fmt::format("{} failed: {}", call, std::string(text, base::narrow<std::size_t>(length, "length")))));
}

Vigil::Vigil(MPI_Comm comm, bool serialised) : comm_(comm), serialised_(serialised), host_(processor_name()) {
  check(MPI_Comm_rank(comm_, &rank_), "MPI_Comm_rank");
  check(MPI_Comm_size(comm_, &size_), "MPI_Comm_size");
  next_ = (rank_ + 1) % size_;
  previous_ = (rank_ + size_ - 1) % size_;
  std::array<char, MPI_MAX_PROCESSOR_NAME> mine{}, theirs{};
  host_.copy(mine.data(), mine.size() - 1);
  check(MPI_Sendrecv(mine.data(), static_cast<int>(mine.size()), MPI_CHAR, next_, kTagAlive, theirs.data(),
                     static_cast<int>(theirs.size()), MPI_CHAR, previous_, kTagAlive, comm_, MPI_STATUS_IGNORE),
        "MPI_Sendrecv");
  previous_host_ = theirs.data();
}

Vigil::~Vigil() = default;  // the thread ends first, for it was made last

void Vigil::begin(milliseconds timeout, Lost lost) {
  MPI_Request all_here = MPI_REQUEST_NULL;  // so that none is late because it began earlier
  call("MPI_Ibarrier", [&] { return MPI_Ibarrier(comm_, &all_here); });
  wait(all_here, "MPI_Ibarrier");
  {
    const std::lock_guard lock(mpi_);
    timeout_ = size_ == 1 ? Clock::duration{} : Clock::duration(timeout);
    interval_ = kLongestInterval;
    if (timeout_ > Clock::duration{}) {
      interval_ = std::clamp<Clock::duration>(timeout_ / kSignsPerTimeout, kShortestInterval, kLongestInterval);
    }
    lost_ = std::move(lost);
    looked_ = Clock::now();
    silence_ = idle_ = {};
    progress_.restart(looked_);
    complained_.reset();
    verdict_.reset();
    judged_ = false;
    ++watch_;
  }
  if (keeper_.joinable()) {  // it may sleep for longer than this limit allows
    const std::lock_guard lock(sleep_);
    wake_.notify_all();
  } else if (serialised_ && size_ > 1 && timeout > milliseconds{}) {
    try {
      keeper_ = std::jthread([this](const std::stop_token& stopped) { keep(stopped); });
    } catch (const std::system_error&) {  // no more threads to be had
    }
  }
}

void Vigil::keep_alive() {
  ++signs_;
  if (!keeper_.joinable()) look();
}

/// On its own thread. While the other one waits for ranks it looks as well, and this one finds nothing to do.
void Vigil::keep(const std::stop_token& stopped) {
  auto tried = Clock::now();
  Clock::duration taken{};  // for how long MPI has not been free
  Clock::duration timeout{};
  std::uint64_t watch = 0;
  Lost lost;
  try {
    for (;;) {
      auto pause = kRetry;
      // Of the time between two looks: a process that was stopped itself, as a suspended job is, has waited for nobody.
      taken += std::min<Clock::duration>(Clock::now() - tried, kLongestInterval);
      tried = Clock::now();
      if (std::unique_lock lock(mpi_, std::try_to_lock); lock.owns_lock()) {
        taken = {};
        timeout = timeout_;
        watch = watch_;
        lost = lost_;
        pause = std::chrono::ceil<milliseconds>(interval_);
        lock.unlock();
        look();
      } else if (timeout > Clock::duration{} && taken > timeout + kPatience) {
        // A call that should be short has not come back, and without MPI nobody else can be told.
        return lost(fmt::format("rank {} on host {} has waited within MPI for {} s; a rank that it needs has hung",
                                rank_, host_, whole_seconds(taken)));
      }
      std::unique_lock lock(sleep_);
      wake_.wait_for(lock, stopped, pause, [&] { return watch_ != watch; });
      if (stopped.stop_requested()) return;
    }
  } catch (const base::Error& error) {
    lost(error.what());
  }
}

/// Tells and listens, if it is time to.
void Vigil::look() {
  {
    const std::lock_guard lock(mpi_);
    if (timeout_ == Clock::duration{}) return;
    const auto since = Clock::now() - looked_;
    if (since < interval_) return;
    looked_ += since;
    beat(since);
  }
  give_up();
}

void Vigil::beat(Clock::duration since) {
  // Of the time between two looks: a rank that was stopped itself has neither listened nor been idle.
  const auto counted = std::min(since, 2 * interval_);
  tell();
  silence_ = hear() ? Clock::duration{} : silence_ + counted;
  const auto signs = std::exchange(seen_signs_, signs_.load());
  if (waiting_ || signs != seen_signs_) {
    progress_.restart(looked_);
    idle_ = {};
  } else {
    idle_ = progress_.made(looked_) ? Clock::duration{} : idle_ + counted;
  }
  take_complaints();
  if (judged_ || verdict_) return;
  if (idle_ > timeout_) {
    complain(fmt::format("rank {} on host {} has made no progress for {} s; look after that process and the storage it "
                         "reads from, or raise --peer-timeout",
                         rank_, host_, whole_seconds(idle_)),
             false);
  } else if (silence_ > timeout_ + (previous_ == kCoordinator ? Clock::duration(kPatience) : Clock::duration{})) {
    // The coordinator may have told of another rank just now: from then on it is silent, until all have been ended.
    complain(fmt::format("rank {} on host {} has not answered for {} s; look after that process and its machine, or "
                         "raise --peer-timeout",
                         previous_, previous_host_, whole_seconds(silence_)),
             previous_ == kCoordinator);
  }
}

/// To the coordinator, so that one of all those that may complain at once speaks.
void Vigil::complain(std::string what, bool of_coordinator) {
  if (rank_ == kCoordinator || of_coordinator) {
    verdict_ = std::move(what);
    return;
  }
  if (complained_) {
    if (Clock::now() - *complained_ > kPatience) verdict_ = std::move(what);
    return;
  }
  if (complaining_ != MPI_REQUEST_NULL) {  // of an earlier watch
    int sent = 0;
    check(MPI_Test(&complaining_, &sent, MPI_STATUS_IGNORE), "MPI_Test");
    if (sent == 0) return;
  }
  base::ByteWriter out;
  out.put(watch_.load());
  out.put(what);
  complaint_ = std::move(out).bytes();
  check(MPI_Isend(complaint_.data(), base::narrow<int>(complaint_.size(), "message size"), MPI_BYTE, kCoordinator,
                  kTagComplaint, comm_, &complaining_),
        "MPI_Isend");
  complained_ = Clock::now();
}

void Vigil::take_complaints() {
  if (rank_ != kCoordinator) return;
  for (;;) {
    int found = 0, length = 0;
    MPI_Status status;
    check(MPI_Iprobe(MPI_ANY_SOURCE, kTagComplaint, comm_, &found, &status), "MPI_Iprobe");
    if (found == 0) return;
    check(MPI_Get_count(&status, MPI_BYTE, &length), "MPI_Get_count");
    std::string message(base::narrow<std::size_t>(length, "message size"), '\0');
    check(MPI_Recv(message.data(), length, MPI_BYTE, status.MPI_SOURCE, kTagComplaint, comm_, MPI_STATUS_IGNORE),
          "MPI_Recv");
    base::ByteReader in(message);
    if (in.get<std::uint64_t>() != watch_) continue;  // one that came too late for an earlier watch
    auto what = in.get_string();
    if (!verdict_) verdict_ = std::move(what);
  }
}

/// Without the lock, for ending a process takes MPI.
void Vigil::give_up() {
  std::string what;
  Lost lost;
  {
    const std::lock_guard lock(mpi_);
    if (!verdict_ || judged_) return;
    what = *std::exchange(verdict_, std::nullopt);
    lost = lost_;
    judged_ = true;
  }
  lost(what);
}

bool Vigil::hear() {
  bool heard = false;
  for (;;) {
    int found = 0;
    check(MPI_Iprobe(previous_, kTagAlive, comm_, &found, MPI_STATUS_IGNORE), "MPI_Iprobe");
    if (found == 0) return heard;
    check(MPI_Recv(nullptr, 0, MPI_CHAR, previous_, kTagAlive, comm_, MPI_STATUS_IGNORE), "MPI_Recv");
    heard = true;
  }
}

// NOLINTBEGIN(clang-analyzer-optin.mpi.MPI-Checker): the next call waits for it
void Vigil::tell() {
  int sent = 1;  // one at a time, so that they do not pile up for a rank that does not listen
  if (telling_ != MPI_REQUEST_NULL) check(MPI_Test(&telling_, &sent, MPI_STATUS_IGNORE), "MPI_Test");
  if (sent != 0) check(MPI_Isend(nullptr, 0, MPI_CHAR, next_, kTagAlive, comm_, &telling_), "MPI_Isend");
}
// NOLINTEND(clang-analyzer-optin.mpi.MPI-Checker)

void Vigil::wait(MPI_Request& request, const char* call, bool arrived) {
  const auto start = Clock::now();
  auto pause = kShortestPause;
  ++signs_;
  waiting_ = true;
  for (;;) {
    int done = 0;
    this->call(call, [&] { return MPI_Test(&request, &done, MPI_STATUS_IGNORE); });
    if (done != 0) break;
    if (Clock::now() - start < kSpin) {
      sched_yield();
      continue;
    }
    look();
    if (work_) work_();
    if (arrived) {  // large data moves only while it is asked after
      sched_yield();
      continue;
    }
    std::this_thread::sleep_for(pause);
    pause = std::min(2 * pause, kLongestPause);
  }
  waiting_ = false;
  ++signs_;
}

void Vigil::abort(int exit_code) {
  // A thread that is within MPI is given a moment to come back; if it hangs there, MPI is beyond harm.
  std::unique_lock lock(mpi_, std::defer_lock);
  for (milliseconds waited{}; !lock.try_lock() && waited < kLongestInterval; waited += kRetry) {
    std::this_thread::sleep_for(kRetry);
  }
  MPI_Abort(MPI_COMM_WORLD, exit_code);
  std::_Exit(exit_code);
}

}  // namespace winnow::comm
