#include "vigil.hpp"

#include <fmt/format.h>
#include <sched.h>

#include <algorithm>
#include <array>
#include <thread>

#include "winnow/base/error.hpp"
#include "winnow/base/narrow.hpp"
#include "winnow/comm/communicator.hpp"

namespace winnow::comm {
namespace {

constexpr std::chrono::seconds kInterval{1};  // between two signs of life
/// What of the time between two looks counts as listening: a rank that was busy or stopped itself has not listened.
constexpr std::chrono::seconds kLongestLook{5};
/// Collectives of ranks that are in step take microseconds: sleeping would only make them late.
constexpr std::chrono::milliseconds kSpin{1};
constexpr std::chrono::microseconds kShortestPause{50}, kLongestPause{1000};

}  // namespace

void check(int code, const char* call) {
  if (code == MPI_SUCCESS) return;
  char text[MPI_MAX_ERROR_STRING];
  int length = 0;
  MPI_Error_string(code, text, &length);
  throw base::Error(base::ErrorKind::runtime,
                    fmt::format("{} failed: {}", call, std::string(text, base::narrow<std::size_t>(length, "length"))));
}

Vigil::Vigil(MPI_Comm comm) : comm_(comm) {
  int rank = 0, size = 1;
  check(MPI_Comm_rank(comm_, &rank), "MPI_Comm_rank");
  check(MPI_Comm_size(comm_, &size), "MPI_Comm_size");
  next_ = (rank + 1) % size;
  previous_ = (rank + size - 1) % size;
  std::array<char, MPI_MAX_PROCESSOR_NAME> mine{}, theirs{};
  int length = 0;
  check(MPI_Get_processor_name(mine.data(), &length), "MPI_Get_processor_name");
  check(MPI_Sendrecv(mine.data(), static_cast<int>(mine.size()), MPI_CHAR, next_, kTagAlive, theirs.data(),
                     static_cast<int>(theirs.size()), MPI_CHAR, previous_, kTagAlive, comm_, MPI_STATUS_IGNORE),
        "MPI_Sendrecv");
  previous_host_ = theirs.data();
}

void Vigil::watch(std::chrono::seconds timeout) {
  timeout_ = next_ == previous_ && next_ == 0 ? Clock::duration{} : Clock::duration(timeout);
  looked_ = Clock::now();
  silence_ = {};
}

void Vigil::look() {
  if (timeout_ == Clock::duration{}) return;
  const auto now = Clock::now();
  if (now - looked_ < kInterval) return;
  silence_ += std::min<Clock::duration>(now - looked_, kLongestLook);
  looked_ = now;
  tell();
  listen();
  if (silence_ <= timeout_) return;
  throw PeerLost(
      fmt::format("rank {} on host {} has not answered for {} s; expected a sign of life every second; look after that "
                  "process and the storage it reads from, or raise --peer-timeout",
                  previous_, previous_host_, std::chrono::duration_cast<std::chrono::seconds>(silence_).count()));
}

void Vigil::listen() {
  for (int found = 1; found != 0;) {
    check(MPI_Iprobe(previous_, kTagAlive, comm_, &found, MPI_STATUS_IGNORE), "MPI_Iprobe");
    if (found == 0) break;
    check(MPI_Recv(nullptr, 0, MPI_CHAR, previous_, kTagAlive, comm_, MPI_STATUS_IGNORE), "MPI_Recv");
    silence_ = {};
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
  for (;;) {
    int done = 0;
    check(MPI_Test(&request, &done, MPI_STATUS_IGNORE), call);
    if (done != 0) return;
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
}

}  // namespace winnow::comm
