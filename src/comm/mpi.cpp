#include <fmt/format.h>

#include <cstdlib>

#include "mpi_channel.hpp"
#include "mpi_notices.hpp"
#include "vigil.hpp"
#include "winnow/base/error.hpp"
#include "winnow/base/narrow.hpp"
#include "winnow/comm/communicator.hpp"

namespace winnow::comm {
namespace {

using base::Error;
using base::ErrorKind;
using base::narrow;

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
  MpiCommunicator(MPI_Comm comm, Vigil& vigil)
      : channel_(comm, vigil), place_(place_in(channel_)), notices_(channel_, place_.rank, place_.size) {}

  int rank() const noexcept override { return place_.rank; }
  int size() const noexcept override { return place_.size; }
  int node_rank() const noexcept override { return place_.node_rank; }
  int node_size() const noexcept override { return place_.node_size; }

  std::string description() const override {
    char version[MPI_MAX_LIBRARY_VERSION_STRING];
    int length = 0;
    MPI_Get_library_version(version, &length);
    const std::string_view text(version, narrow<std::size_t>(length, "length"));
    return std::string(text.substr(0, text.find(',')));
  }

  void barrier() override { channel_.barrier(); }

  void broadcast(std::string& bytes, int root) override {
    std::uint64_t size = bytes.size();
    channel_.broadcast(&size, 1, MPI_UINT64_T, root, false);
    make_room(bytes, size);
    in_pieces(size, kPiece,
              [&](std::size_t at, int count) { channel_.broadcast(bytes.data() + at, count, MPI_BYTE, root, true); });
  }

  std::vector<std::string> gather(const std::string& bytes, int root) override {
    if (rank() != root) {
      const std::uint64_t size = bytes.size();
      channel_.send(&size, 1, MPI_UINT64_T, root, kTagGather);
      in_pieces(size, kPiece, [&](std::size_t at, int count) {
        channel_.send(bytes.data() + at, count, MPI_BYTE, root, kTagGather);
      });
      return {};
    }
    // One peer at a time: the root never holds more than what it was sent.
    std::vector<std::string> all(narrow<std::size_t>(size(), "ranks"));
    for (int peer = 0; peer < size(); ++peer) {
      auto& part = all[static_cast<std::size_t>(peer)];
      if (peer == root) {
        part = bytes;
        continue;
      }
      std::uint64_t size = 0;
      channel_.receive(&size, 1, MPI_UINT64_T, peer, kTagGather, false);
      make_room(part, size);
      in_pieces(size, kPiece, [&](std::size_t at, int count) {
        channel_.receive(part.data() + at, count, MPI_BYTE, peer, kTagGather, true);
      });
    }
    return all;
  }

  void sum(std::span<double> values) override { sum_all(values, MPI_DOUBLE); }
  void sum(std::span<float> values) override { sum_all(values, MPI_FLOAT); }

  std::int64_t maximum(std::int64_t value) override {
    channel_.all_reduce(&value, 1, MPI_INT64_T, MPI_MAX, false);
    return value;
  }

  std::unique_ptr<Communicator> team(int members) override;

  Notices& notices() override { return notices_; }
  PeerWatch& peers() override { return channel_.vigil(); }
  void abort(int exit_code) override { channel_.vigil().abort(exit_code); }

 protected:
  MpiNotices& own_notices() { return notices_; }

 private:
  struct Place {
    int rank = 0, size = 1, node_rank = 0, node_size = 1;
  };

  static Place place_in(MpiChannel channel) {
    Place place;
    const MPI_Comm comm = channel.comm();
    // Without this the default handler ends the process before any of our checks sees the code.
    channel.call("MPI_Comm_set_errhandler", [&] { return MPI_Comm_set_errhandler(comm, MPI_ERRORS_RETURN); });
    channel.call("MPI_Comm_rank", [&] { return MPI_Comm_rank(comm, &place.rank); });
    channel.call("MPI_Comm_size", [&] { return MPI_Comm_size(comm, &place.size); });
    // Not from SLURM_LOCALID: that is 0 for every rank that mpirun starts inside a job.
    MPI_Comm node = MPI_COMM_NULL;
    channel.call("MPI_Comm_split_type",
                 [&] { return MPI_Comm_split_type(comm, MPI_COMM_TYPE_SHARED, place.rank, MPI_INFO_NULL, &node); });
    channel.call("MPI_Comm_rank", [&] { return MPI_Comm_rank(node, &place.node_rank); });
    channel.call("MPI_Comm_size", [&] { return MPI_Comm_size(node, &place.node_size); });
    channel.call("MPI_Comm_free", [&] { return MPI_Comm_free(&node); });
    return place;
  }

  template <class Real>
  void sum_all(std::span<Real> values, MPI_Datatype type) {
    // 4 KiB at most: such a message is sent at once, and moves without its receiver.
    constexpr std::size_t kFew = 512;
    in_pieces(values.size(), kPiece / sizeof(Real), [&](std::size_t at, int count) {
      channel_.all_reduce(values.data() + at, count, type, MPI_SUM, values.size() > kFew);
    });
  }

  MpiChannel channel_;
  Place place_;
  MpiNotices notices_;
};

/// Frees what it was made over.
class Team final : public MpiCommunicator {
 public:
  Team(MPI_Comm comm, Vigil& vigil) : MpiCommunicator(comm, vigil), comm_(comm), vigil_(vigil) {}
  ~Team() override {
    own_notices().cancel();
    vigil_.call("MPI_Comm_free", [&] {
      MPI_Comm_free(&comm_);
      return MPI_SUCCESS;
    });
  }

 private:
  MPI_Comm comm_;
  Vigil& vigil_;
};

std::unique_ptr<Communicator> MpiCommunicator::team(int members) {
  MPI_Comm part = MPI_COMM_NULL;
  barrier();  // making a communicator blocks
  channel_.call("MPI_Comm_split",
                [&] { return MPI_Comm_split(channel_.comm(), team_of(rank(), size(), members), rank(), &part); });
  return std::make_unique<Team>(part, channel_.vigil());
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
    own_notices().cancel();
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
