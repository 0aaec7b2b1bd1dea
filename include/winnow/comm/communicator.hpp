// A small communicator: what an audit needs of its ranks. Backends: self (one process) and mpi. What is not collective
// has interfaces of its own: notices between two collectives, and the watch over ranks that hang.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "winnow/base/error.hpp"
#include "winnow/comm/notices.hpp"
#include "winnow/comm/peer_watch.hpp"

namespace winnow::comm {

/// The rank that reads headers, selects and writes the report.
inline constexpr int kCoordinator = 0;

/// This rank cannot agree with the others any more: MPI failed, or it has no memory for what they send. Who catches
/// this reports it and calls abort().
class Stranded : public base::Error {
 public:
  explicit Stranded(base::Error error) : base::Error(std::move(error)) {}
};

/// Collective calls must be made by all ranks in the same order. Code that can throw between two of them belongs in
/// run_together() (comm/together.hpp), or the peers of a rank that throws would wait for ever.
class Communicator {
 public:
  virtual ~Communicator() = default;

  virtual int rank() const noexcept = 0;
  virtual int size() const noexcept = 0;
  virtual int node_rank() const noexcept = 0;   ///< among the ranks of this machine
  virtual int node_size() const noexcept = 0;   ///< ranks of this machine
  virtual std::string description() const = 0;  ///< backend and library version, for reports

  bool is_coordinator() const noexcept { return rank() == kCoordinator; }

  // Collectives. Throw Stranded with the library's own reason. A rank that waits in one does not keep a core
  // busy.
  virtual void barrier() = 0;
  virtual void broadcast(std::string& bytes, int root) = 0;                         ///< of any length
  virtual std::vector<std::string> gather(const std::string& bytes, int root) = 0;  ///< by rank; empty but at root
  virtual std::int64_t maximum(std::int64_t value) = 0;                             ///< all-reduce
  /// All-reduce, element by element. Of many values: where the ranks have just met, for who waits in it moves data and
  /// keeps a core busy.
  virtual void sum(std::span<double> values) = 0;
  virtual void sum(std::span<float> values) = 0;

  /// Splits the ranks into teams of `members` consecutive ranks and returns this rank's; the last team takes those that
  /// are left over. The team must not outlive this communicator.
  virtual std::unique_ptr<Communicator> team(int members) = 0;

  virtual Notices& notices() = 0;  ///< of this communicator
  virtual PeerWatch& peers() = 0;  ///< of this process

  /// Ends all ranks at once; for what cannot be agreed on, such as a broken MPI.
  [[noreturn]] virtual void abort(int exit_code) = 0;
};

/// How many teams of `members` ranks there are, and which of them a rank belongs to.
constexpr int teams_of(int ranks, int members) { return ranks / members > 0 ? ranks / members : 1; }
constexpr int team_of(int rank, int ranks, int members) {
  const int teams = teams_of(ranks, members);
  return rank / members < teams ? rank / members : teams - 1;
}

/// One process, no library: everything runs without mpirun.
std::unique_ptr<Communicator> make_self();

/// MPI_COMM_WORLD. Initialises MPI; the destructor finalises it. At most one at a time.
std::unique_ptr<Communicator> make_mpi(int& argc, char**& argv);

/// mpi if a launcher (mpirun, srun --mpi=pmix, Hydra) started this process, self otherwise. Throws Error(usage)
/// if Slurm started several tasks but MPI sees one: that would be as many silent copies of the same work.
std::unique_ptr<Communicator> make_world(int& argc, char**& argv);

}  // namespace winnow::comm
