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

/// Room for what is received. Who has none cannot take part, and the others wait for it.
void make_room(std::string& bytes, std::uint64_t size) {
  try {
    bytes.resize(size);
  } catch (const std::exception&) {
    throw Stranded(Error(ErrorKind::runtime, fmt::format("out of memory: {} bytes from other ranks", size))
                       .advice("use fewer adapters at once, or more memory"));
  }
}

/// Over any MPI communicator; who makes that frees it.
class MpiCommunicator : public Communicator {
 public:
  MpiCommunicator(MPI_Comm comm, Vigil& vigil) : comm_(comm), vigil_(vigil) {
    // Without this the default handler ends the process before any of our checks sees the code.
    call("MPI_Comm_set_errhandler", [&] { return MPI_Comm_set_errhandler(comm_, MPI_ERRORS_RETURN); });
    call("MPI_Comm_rank", [&] { return MPI_Comm_rank(comm_, &rank_); });
    call("MPI_Comm_size", [&] { return MPI_Comm_size(comm_, &size_); });
    // Not from SLURM_LOCALID: that is 0 for every rank that mpirun starts inside a job.
    MPI_Comm node = MPI_COMM_NULL;
    call("MPI_Comm_split_type",
         [&] { return MPI_Comm_split_type(comm_, MPI_COMM_TYPE_SHARED, rank_, MPI_INFO_NULL, &node); });
    call("MPI_Comm_rank", [&] { return MPI_Comm_rank(node, &node_rank_); });
    call("MPI_Comm_size", [&] { return MPI_Comm_size(node, &node_size_); });
    call("MPI_Comm_free", [&] { return MPI_Comm_free(&node); });
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
    call("MPI_Ibarrier", [&] { return MPI_Ibarrier(comm_, &request); });
    vigil_.wait(request, "MPI_Ibarrier");
  }

  void broadcast(std::string& bytes, int root) override {
    std::uint64_t size = bytes.size();
    MPI_Request request = MPI_REQUEST_NULL;
    call("MPI_Ibcast", [&] { return MPI_Ibcast(&size, 1, MPI_UINT64_T, root, comm_, &request); });
    vigil_.wait(request, "MPI_Ibcast");
    make_room(bytes, size);
    in_pieces(size, [&](std::size_t at, int count) {
      call("MPI_Ibcast", [&] { return MPI_Ibcast(bytes.data() + at, count, MPI_BYTE, root, comm_, &request); });
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
      make_room(part, size);
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
    if (!failure_notices_.empty()) return;
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
  void watch_peers(std::chrono::seconds timeout, std::function<void(const std::string&)> lost) override {
    barrier();  // none is late because it began earlier
    vigil_.watch(timeout, std::move(lost));
  }
  void keep_alive() override { vigil_.keep_alive(); }

  void abort(int exit_code) override { vigil_.abort(exit_code); }

 protected:
  void cancel_notices() {
    for (auto* notices : {&failure_notices_, &stop_notices_}) {
      for (auto& request : *notices) {
        vigil_.call("MPI_Cancel", [&] {
          MPI_Cancel(&request);
          MPI_Request_free(&request);
          return MPI_SUCCESS;  // it is over anyway
        });
      }
      notices->clear();
    }
  }

 private:
  template <class Call>
  void call(const char* name, Call mpi) {
    vigil_.call(name, mpi);
  }

  void send(const void* data, int count, MPI_Datatype type, int to) {
    MPI_Request request = MPI_REQUEST_NULL;
    call("MPI_Isend", [&] { return MPI_Isend(data, count, type, to, kTagGather, comm_, &request); });
    vigil_.wait(request, "MPI_Isend");
  }

  void receive(void* data, int count, MPI_Datatype type, int from, int tag, bool arrived = false) {
    MPI_Request request = MPI_REQUEST_NULL;
    call("MPI_Irecv", [&] { return MPI_Irecv(data, count, type, from, tag, comm_, &request); });
    vigil_.wait(request, "MPI_Irecv", arrived);
  }

  void all_reduce(void* values, int count, MPI_Datatype type, MPI_Op operation, bool arrived) {
    MPI_Request request = MPI_REQUEST_NULL;
    call("MPI_Iallreduce",
         [&] { return MPI_Iallreduce(MPI_IN_PLACE, values, count, type, operation, comm_, &request); });
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
    call("MPI_Isend", [&] { return MPI_Isend(nullptr, 0, MPI_BYTE, peer, tag, comm_, &request); });
    sent.push_back(request);
  }
  // NOLINTEND(clang-analyzer-optin.mpi.MPI-Checker)

  bool noticed(int tag) {
    int found = 0;
    call("MPI_Iprobe", [&] { return MPI_Iprobe(MPI_ANY_SOURCE, tag, comm_, &found, MPI_STATUS_IGNORE); });
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
  Team(MPI_Comm comm, Vigil& vigil) : MpiCommunicator(comm, vigil), comm_(comm), vigil_(vigil) {}
  ~Team() override {
    cancel_notices();
    vigil_.call("MPI_Comm_free", [&] {
      MPI_Comm_free(&comm_);
      return MPI_SUCCESS;
    });
  }
  void watch_peers(std::chrono::seconds, std::function<void(const std::string&)>) override {}  // that is the world's

 private:
  MPI_Comm comm_;
  Vigil& vigil_;
};

std::unique_ptr<Communicator> MpiCommunicator::team(int members) {
  MPI_Comm part = MPI_COMM_NULL;
  barrier();  // making a communicator blocks
  call("MPI_Comm_split", [&] { return MPI_Comm_split(comm_, team_of(rank_, size_, members), rank_, &part); });
  return std::make_unique<Team>(part, vigil_);
}

/// MPI itself, from its start to its end.
class Library {
 public:
  Library(int& argc, char**& argv) {
    int provided = MPI_THREAD_SINGLE;
    check(MPI_Init_thread(&argc, &argv, MPI_THREAD_SERIALIZED, &provided), "MPI_Init_thread");
    serialised = provided >= MPI_THREAD_SERIALIZED;
    check(MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
  }
  ~Library() { MPI_Finalize(); }
  Library(const Library&) = delete;
  Library& operator=(const Library&) = delete;

  bool serialised = false;  ///< several threads may call it, one at a time
};

struct WorldParts {
  Library library;
  Vigil vigil;
  WorldParts(int& argc, char**& argv) : library(argc, argv), vigil(MPI_COMM_WORLD, library.serialised) {}
};

class World final : private WorldParts, public MpiCommunicator {
 public:
  World(int& argc, char**& argv) : WorldParts(argc, argv), MpiCommunicator(MPI_COMM_WORLD, vigil) {}
  ~World() override {
    cancel_notices();
    try {
      barrier();  // MPI's end waits for all ranks as well, but for ever
    } catch (...) {
      abort(1);
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
