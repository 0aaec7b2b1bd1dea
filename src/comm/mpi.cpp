#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <optional>

#include "mpi_call.hpp"
#include "vigil.hpp"
#include "winnow/base/error.hpp"
#include "winnow/base/narrow.hpp"
#include "winnow/comm/communicator.hpp"

namespace winnow::comm {
namespace {

using base::Error;
using base::ErrorKind;
using base::narrow;

/// Counts of MPI are int: longer messages go in pieces.
constexpr std::size_t kPiece = std::size_t{1} << 30;

/// Calls piece(offset, count) over `bytes` in counts that fit an int.
template <class Piece>
void in_pieces(std::size_t bytes, Piece piece) {
  for (std::size_t done = 0; done < bytes; done += kPiece) {
    piece(done, narrow<int>(std::min(kPiece, bytes - done), "message size"));
  }
}

/// Over any MPI communicator; who makes that frees it.
class MpiCommunicator : public Communicator {
 public:
  MpiCommunicator(MPI_Comm comm, Vigil& vigil) : comm_(comm), vigil_(vigil) {
    // Without this the default handler ends the process before any of our checks sees the code.
    check(MPI_Comm_set_errhandler(comm_, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
    check(MPI_Comm_rank(comm_, &rank_), "MPI_Comm_rank");
    check(MPI_Comm_size(comm_, &size_), "MPI_Comm_size");
    // Not from SLURM_LOCALID: that is 0 for every rank that mpirun starts inside a job.
    MPI_Comm node = MPI_COMM_NULL;
    check(MPI_Comm_split_type(comm_, MPI_COMM_TYPE_SHARED, rank_, MPI_INFO_NULL, &node), "MPI_Comm_split_type");
    check(MPI_Comm_rank(node, &node_rank_), "MPI_Comm_rank");
    check(MPI_Comm_size(node, &node_size_), "MPI_Comm_size");
    check(MPI_Comm_free(&node), "MPI_Comm_free");
  }

  int rank() const noexcept override { return rank_; }
  int size() const noexcept override { return size_; }
  int node_rank() const noexcept override { return node_rank_; }
  int node_size() const noexcept override { return node_size_; }

  std::string description() const override {
    char version[MPI_MAX_LIBRARY_VERSION_STRING];
    int length = 0;
    MPI_Get_library_version(version, &length);
    const std::string_view text(version, narrow<std::size_t>(length, "length"));
    return std::string(text.substr(0, text.find(',')));
  }

  // Collectives are begun and then waited for: a call that blocks could neither look after other things nor end.
  // NOLINTBEGIN(clang-analyzer-optin.mpi.MPI-Checker): the analyser looks for the wait within the function
  void barrier() override {
    MPI_Request request = MPI_REQUEST_NULL;
    check(MPI_Ibarrier(comm_, &request), "MPI_Ibarrier");
    vigil_.wait(request, "MPI_Ibarrier");
  }

  void broadcast(std::string& bytes, int root) override {
    std::uint64_t size = bytes.size();
    MPI_Request request = MPI_REQUEST_NULL;
    check(MPI_Ibcast(&size, 1, MPI_UINT64_T, root, comm_, &request), "MPI_Ibcast");
    vigil_.wait(request, "MPI_Ibcast");
    bytes.resize(size);
    in_pieces(size, [&](std::size_t at, int count) {
      check(MPI_Ibcast(bytes.data() + at, count, MPI_BYTE, root, comm_, &request), "MPI_Ibcast");
      vigil_.wait(request, "MPI_Ibcast", true);
    });
  }

  std::vector<std::string> gather(const std::string& bytes, int root) override {
    if (rank_ != root) {
      const std::uint64_t size = bytes.size();
      send(&size, 1, MPI_UINT64_T, root);
      in_pieces(size, [&](std::size_t at, int count) { send(bytes.data() + at, count, MPI_BYTE, root); });
      return {};
    }
    // One peer at a time: the root never holds more than what it was sent.
    std::vector<std::string> all(narrow<std::size_t>(size_, "ranks"));
    for (int peer = 0; peer < size_; ++peer) {
      auto& part = all[static_cast<std::size_t>(peer)];
      if (peer == root) {
        part = bytes;
        continue;
      }
      std::uint64_t size = 0;
      receive(&size, 1, MPI_UINT64_T, peer, kTagGather);
      part.resize(size);
      in_pieces(size,
                [&](std::size_t at, int count) { receive(part.data() + at, count, MPI_BYTE, peer, kTagGather, true); });
    }
    return all;
  }

  void sum(std::span<double> values) override { sum_all(values, MPI_DOUBLE); }
  void sum(std::span<float> values) override { sum_all(values, MPI_FLOAT); }

  std::int64_t maximum(std::int64_t value) override {
    all_reduce(&value, 1, MPI_INT64_T, MPI_MAX, false);
    return value;
  }

  std::unique_ptr<Communicator> team(int members) override;

  void notify_failure() override {
    for (int peer = 0; peer < size_; ++peer) {
      if (peer != rank_) notify(peer, kTagFailure, failure_notices_);
    }
  }

  bool peer_failed() override { return noticed(kTagFailure); }

  void forget_failures() override {
    // Everyone learns how many notices to expect, so that none is left to confuse the next stage.
    int notices = failure_notices_.empty() ? 0 : 1;
    const int own = notices;
    all_reduce(&notices, 1, MPI_INT, MPI_SUM, false);
    take_notices(notices - own, kTagFailure, failure_notices_);
  }

  void request_stop() override {
    if (std::exchange(asked_, true)) return;
    if (is_coordinator()) {
      relay_stop();
    } else {
      notify(kCoordinator, kTagStop, stop_notices_);
    }
  }

  bool stop_requested() override {
    if (asked_ || told_) return true;  // and the coordinator has passed it on
    told_ = noticed(kTagStop);
    if (told_ && is_coordinator()) relay_stop();
    return told_;
  }

  bool forget_stop() override {
    std::array<int, 3> counts{asked_ ? 1 : 0, asked_ && !is_coordinator() ? 1 : 0, relayed_ ? 1 : 0};
    all_reduce(counts.data(), static_cast<int>(counts.size()), MPI_INT, MPI_SUM, false);
    const auto [asked, to_coordinator, to_others] = counts;
    take_notices(is_coordinator() ? to_coordinator : to_others, kTagStop, stop_notices_);
    asked_ = told_ = relayed_ = false;
    return asked > 0;
  }

  void while_waiting(std::function<void()> work) override { vigil_.while_waiting(std::move(work)); }
  void watch_peers(std::chrono::seconds timeout) override {
    barrier();  // none is late because it began earlier
    vigil_.watch(timeout);
  }
  void keep_alive() override { vigil_.look(); }

  void abort(int exit_code) override {
    MPI_Abort(MPI_COMM_WORLD, exit_code);
    std::_Exit(exit_code);
  }

 protected:
  void cancel_notices() {
    for (auto* notices : {&failure_notices_, &stop_notices_}) {
      for (auto& request : *notices) {
        MPI_Cancel(&request);
        MPI_Request_free(&request);
      }
      notices->clear();
    }
  }

 private:
  void send(const void* data, int count, MPI_Datatype type, int to) {
    MPI_Request request = MPI_REQUEST_NULL;
    check(MPI_Isend(data, count, type, to, kTagGather, comm_, &request), "MPI_Isend");
    vigil_.wait(request, "MPI_Isend");
  }

  void receive(void* data, int count, MPI_Datatype type, int from, int tag, bool arrived = false) {
    MPI_Request request = MPI_REQUEST_NULL;
    check(MPI_Irecv(data, count, type, from, tag, comm_, &request), "MPI_Irecv");
    vigil_.wait(request, "MPI_Irecv", arrived);
  }

  void all_reduce(void* values, int count, MPI_Datatype type, MPI_Op operation, bool arrived) {
    MPI_Request request = MPI_REQUEST_NULL;
    check(MPI_Iallreduce(MPI_IN_PLACE, values, count, type, operation, comm_, &request), "MPI_Iallreduce");
    vigil_.wait(request, "MPI_Iallreduce", arrived);
  }

  template <class Real>
  void sum_all(std::span<Real> values, MPI_Datatype type) {
    constexpr std::size_t kValues = kPiece / sizeof(Real);
    barrier();  // waits for the slowest without burning its core; from here on it is a matter of moving data
    for (std::size_t done = 0; done < values.size(); done += kValues) {
      const auto count = narrow<int>(std::min(kValues, values.size() - done), "message size");
      all_reduce(values.data() + done, count, type, MPI_SUM, true);
    }
  }

  /// An empty message that is taken in one of the collectives that forget.
  void notify(int peer, int tag, std::vector<MPI_Request>& sent) {
    MPI_Request request = MPI_REQUEST_NULL;
    check(MPI_Isend(nullptr, 0, MPI_BYTE, peer, tag, comm_, &request), "MPI_Isend");
    sent.push_back(request);
  }
  // NOLINTEND(clang-analyzer-optin.mpi.MPI-Checker)

  bool noticed(int tag) {
    int found = 0;
    check(MPI_Iprobe(MPI_ANY_SOURCE, tag, comm_, &found, MPI_STATUS_IGNORE), "MPI_Iprobe");
    return found != 0;
  }

  void take_notices(int expected, int tag, std::vector<MPI_Request>& sent) {
    for (int k = 0; k < expected; ++k) receive(nullptr, 0, MPI_BYTE, MPI_ANY_SOURCE, tag);
    for (auto& request : sent) vigil_.wait(request, "MPI_Isend");
    sent.clear();
  }

  /// From every rank to one and from there to all: as many messages as ranks, even where all are asked at once.
  void relay_stop() {
    relayed_ = true;
    for (int peer = 0; peer < size_; ++peer) {
      if (peer != rank_) notify(peer, kTagStop, stop_notices_);
    }
  }

  MPI_Comm comm_;
  Vigil& vigil_;
  int rank_ = 0, size_ = 1, node_rank_ = 0, node_size_ = 1;
  std::vector<MPI_Request> failure_notices_, stop_notices_;
  bool asked_ = false, told_ = false, relayed_ = false;  // to stop: by this rank, by another; passed on
};

/// Frees what it was made over.
class Team final : public MpiCommunicator {
 public:
  Team(MPI_Comm comm, Vigil& vigil) : MpiCommunicator(comm, vigil), comm_(comm) {}
  ~Team() override {
    cancel_notices();
    MPI_Comm_free(&comm_);
  }
  void watch_peers(std::chrono::seconds) override {}  // the ring is of the world

 private:
  MPI_Comm comm_;
};

std::unique_ptr<Communicator> MpiCommunicator::team(int members) {
  MPI_Comm part = MPI_COMM_NULL;
  barrier();  // making a communicator blocks
  check(MPI_Comm_split(comm_, team_of(rank_, size_, members), rank_, &part), "MPI_Comm_split");
  return std::make_unique<Team>(part, vigil_);
}

/// MPI itself, from its start to its end.
class Library {
 public:
  Library(int& argc, char**& argv) {
    int provided = MPI_THREAD_SINGLE;
    check(MPI_Init_thread(&argc, &argv, MPI_THREAD_FUNNELED, &provided), "MPI_Init_thread");
    check(MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
  }
  ~Library() { MPI_Finalize(); }
  Library(const Library&) = delete;
  Library& operator=(const Library&) = delete;
};

struct WorldParts {
  Library library;
  Vigil vigil;
  WorldParts(int& argc, char**& argv) : library(argc, argv), vigil(MPI_COMM_WORLD) {}
};

class World final : private WorldParts, public MpiCommunicator {
 public:
  World(int& argc, char**& argv) : WorldParts(argc, argv), MpiCommunicator(MPI_COMM_WORLD, vigil) {}
  ~World() override {
    cancel_notices();
    try {
      barrier();  // MPI's end waits for all ranks as well, but for ever
    } catch (...) {
      MPI_Abort(MPI_COMM_WORLD, 1);
    }
  }
};

bool started_by_launcher() {
  for (const char* name : {"OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "PMI_RANK", "PMI_ID", "MPI_LOCALRANKID"}) {
    if (std::getenv(name) != nullptr) return true;
  }
  return false;
}

/// Tasks of the Slurm step this process was started in; 1 outside of one.
int slurm_step_tasks() {
  const char* text = std::getenv("SLURM_STEP_NUM_TASKS");
  return text == nullptr ? 1 : std::atoi(text);
}

}  // namespace

std::unique_ptr<Communicator> make_mpi(int& argc, char**& argv) { return std::make_unique<World>(argc, argv); }

std::unique_ptr<Communicator> make_world(int& argc, char**& argv) {
  const int tasks = slurm_step_tasks();
  auto world = started_by_launcher() ? make_mpi(argc, argv) : make_self();
  // mpirun -n 1 inside a job inherits the step's variables and is a legitimate single rank.
  if (tasks > 1 && world->size() == 1 && std::getenv("OMPI_COMM_WORLD_SIZE") == nullptr) {
    throw Error(ErrorKind::usage, fmt::format("Slurm started {} tasks but MPI sees only one rank", tasks))
        .expected("one MPI job over all tasks")
        .advice("start with srun --mpi=pmix, or with -n 1");
  }
  return world;
}

}  // namespace winnow::comm
