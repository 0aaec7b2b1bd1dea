#define OMPI_SKIP_MPICXX 1
#define MPICH_SKIP_MPICXX 1
#include <fmt/format.h>
#include <mpi.h>

#include <algorithm>
#include <cstdlib>

#include "winnow/base/error.hpp"
#include "winnow/base/narrow.hpp"
#include "winnow/comm/communicator.hpp"

namespace winnow::comm {
namespace {

using base::Error;
using base::ErrorKind;
using base::narrow;

constexpr int kTagFailure = 1;
constexpr int kTagGather = 2;
/// Counts of MPI are int: longer messages go in pieces.
constexpr std::size_t kPiece = std::size_t{1} << 30;

void check(int code, const char* call) {
  if (code == MPI_SUCCESS) return;
  char text[MPI_MAX_ERROR_STRING];
  int length = 0;
  MPI_Error_string(code, text, &length);
  throw Error(ErrorKind::runtime,
              fmt::format("{} failed: {}", call, std::string(text, narrow<std::size_t>(length, "length"))));
}

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
  explicit MpiCommunicator(MPI_Comm comm) : comm_(comm) {
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

  void barrier() override { check(MPI_Barrier(comm_), "MPI_Barrier"); }

  void broadcast(std::string& bytes, int root) override {
    std::uint64_t size = bytes.size();
    check(MPI_Bcast(&size, 1, MPI_UINT64_T, root, comm_), "MPI_Bcast");
    bytes.resize(size);
    in_pieces(size, [&](std::size_t at, int count) {
      check(MPI_Bcast(bytes.data() + at, count, MPI_BYTE, root, comm_), "MPI_Bcast");
    });
  }

  std::vector<std::string> gather(const std::string& bytes, int root) override {
    if (rank_ != root) {
      const std::uint64_t size = bytes.size();
      check(MPI_Send(&size, 1, MPI_UINT64_T, root, kTagGather, comm_), "MPI_Send");
      in_pieces(size, [&](std::size_t at, int count) {
        check(MPI_Send(bytes.data() + at, count, MPI_BYTE, root, kTagGather, comm_), "MPI_Send");
      });
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
      check(MPI_Recv(&size, 1, MPI_UINT64_T, peer, kTagGather, comm_, MPI_STATUS_IGNORE), "MPI_Recv");
      part.resize(size);
      in_pieces(size, [&](std::size_t at, int count) {
        check(MPI_Recv(part.data() + at, count, MPI_BYTE, peer, kTagGather, comm_, MPI_STATUS_IGNORE), "MPI_Recv");
      });
    }
    return all;
  }

  void sum(std::span<double> values) override { all_reduce(values, MPI_DOUBLE); }
  void sum(std::span<float> values) override { all_reduce(values, MPI_FLOAT); }

  std::int64_t maximum(std::int64_t value) override {
    check(MPI_Allreduce(MPI_IN_PLACE, &value, 1, MPI_INT64_T, MPI_MAX, comm_), "MPI_Allreduce");
    return value;
  }

  std::unique_ptr<Communicator> team(int members) override;

  // The analyser looks for the wait within the function; it is in forget_failures().
  // NOLINTBEGIN(clang-analyzer-optin.mpi.MPI-Checker)
  void notify_failure() override {
    for (int peer = 0; peer < size_; ++peer) {
      if (peer == rank_) continue;
      MPI_Request request = MPI_REQUEST_NULL;
      check(MPI_Isend(nullptr, 0, MPI_BYTE, peer, kTagFailure, comm_, &request), "MPI_Isend");
      sends_.push_back(request);
    }
  }
  // NOLINTEND(clang-analyzer-optin.mpi.MPI-Checker)

  bool peer_failed() override {
    int found = 0;
    check(MPI_Iprobe(MPI_ANY_SOURCE, kTagFailure, comm_, &found, MPI_STATUS_IGNORE), "MPI_Iprobe");
    return found != 0;
  }

  void forget_failures() override {
    // Everyone learns how many notices to expect, so that none is left to confuse the next stage.
    int notices = sends_.empty() ? 0 : 1;
    check(MPI_Allreduce(MPI_IN_PLACE, &notices, 1, MPI_INT, MPI_SUM, comm_), "MPI_Allreduce");
    for (int k = sends_.empty() ? 0 : 1; k < notices; ++k) {
      check(MPI_Recv(nullptr, 0, MPI_BYTE, MPI_ANY_SOURCE, kTagFailure, comm_, MPI_STATUS_IGNORE), "MPI_Recv");
    }
    check(MPI_Waitall(narrow<int>(sends_.size(), "sends"), sends_.data(), MPI_STATUSES_IGNORE), "MPI_Waitall");
    sends_.clear();
  }

  void abort(int exit_code) override {
    MPI_Abort(MPI_COMM_WORLD, exit_code);
    std::_Exit(exit_code);
  }

 protected:
  void cancel_sends() {
    for (auto& request : sends_) {
      MPI_Cancel(&request);
      MPI_Request_free(&request);
    }
    sends_.clear();
  }

 private:
  template <class Real>
  void all_reduce(std::span<Real> values, MPI_Datatype type) {
    constexpr std::size_t kValues = kPiece / sizeof(Real);
    for (std::size_t done = 0; done < values.size(); done += kValues) {
      const auto count = narrow<int>(std::min(kValues, values.size() - done), "message size");
      check(MPI_Allreduce(MPI_IN_PLACE, values.data() + done, count, type, MPI_SUM, comm_), "MPI_Allreduce");
    }
  }

  MPI_Comm comm_;
  int rank_ = 0, size_ = 1, node_rank_ = 0, node_size_ = 1;
  std::vector<MPI_Request> sends_;
};

/// Frees what it was made over.
class Team final : public MpiCommunicator {
 public:
  explicit Team(MPI_Comm comm) : MpiCommunicator(comm), comm_(comm) {}
  ~Team() override {
    cancel_sends();
    MPI_Comm_free(&comm_);
  }

 private:
  MPI_Comm comm_;
};

std::unique_ptr<Communicator> MpiCommunicator::team(int members) {
  MPI_Comm part = MPI_COMM_NULL;
  check(MPI_Comm_split(comm_, team_of(rank_, size_, members), rank_, &part), "MPI_Comm_split");
  return std::make_unique<Team>(part);
}

/// MPI itself, from its start to its end.
class World final : public MpiCommunicator {
 public:
  World(int& argc, char**& argv) : MpiCommunicator(initialised(argc, argv)) {}
  ~World() override {
    cancel_sends();
    MPI_Finalize();
  }

 private:
  static MPI_Comm initialised(int& argc, char**& argv) {
    int provided = MPI_THREAD_SINGLE;
    check(MPI_Init_thread(&argc, &argv, MPI_THREAD_FUNNELED, &provided), "MPI_Init_thread");
    return MPI_COMM_WORLD;
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
