// Calls of MPI over one communicator, begun and then waited for. Private to src/comm.
#pragma once

#include <algorithm>
#include <cstddef>

#include "mpi_call.hpp"
#include "vigil.hpp"
#include "winnow/base/narrow.hpp"

namespace winnow::comm {

/// A call that blocks could neither look after other things nor end, so none here does: the vigil waits.
class MpiChannel {
 public:
  MpiChannel(MPI_Comm comm, Vigil& vigil) : comm_(comm), vigil_(vigil) {}

  MPI_Comm comm() const noexcept { return comm_; }
  Vigil& vigil() const noexcept { return vigil_; }

  template <class Call>
  void call(const char* name, Call mpi) {
    vigil_.call(name, mpi);
  }

  // NOLINTBEGIN(clang-analyzer-optin.mpi.MPI-Checker): the analyser looks for the wait within the function
  void barrier() {
    MPI_Request request = MPI_REQUEST_NULL;
    call("MPI_Ibarrier", [&] { return MPI_Ibarrier(comm_, &request); });
    vigil_.wait(request, "MPI_Ibarrier");
  }

  // `arrived`: the other ranks are known to be there.

  void broadcast(void* data, int count, MPI_Datatype type, int root, bool arrived) {
    MPI_Request request = MPI_REQUEST_NULL;
    call("MPI_Ibcast", [&] { return MPI_Ibcast(data, count, type, root, comm_, &request); });
    vigil_.wait(request, "MPI_Ibcast", arrived);
  }

  void all_reduce(void* values, int count, MPI_Datatype type, MPI_Op operation, bool arrived) {
    MPI_Request request = MPI_REQUEST_NULL;
    call("MPI_Iallreduce",
         [&] { return MPI_Iallreduce(MPI_IN_PLACE, values, count, type, operation, comm_, &request); });
    vigil_.wait(request, "MPI_Iallreduce", arrived);
  }

  void send(const void* data, int count, MPI_Datatype type, int to, int tag) {
    MPI_Request request = begin_send(data, count, type, to, tag);
    vigil_.wait(request, "MPI_Isend");
  }

  MPI_Request begin_send(const void* data, int count, MPI_Datatype type, int to, int tag) {
    MPI_Request request = MPI_REQUEST_NULL;
    call("MPI_Isend", [&] { return MPI_Isend(data, count, type, to, tag, comm_, &request); });
    return request;
  }

  void receive(void* data, int count, MPI_Datatype type, int from, int tag, bool arrived) {
    MPI_Request request = MPI_REQUEST_NULL;
    call("MPI_Irecv", [&] { return MPI_Irecv(data, count, type, from, tag, comm_, &request); });
    vigil_.wait(request, "MPI_Irecv", arrived);
  }
  // NOLINTEND(clang-analyzer-optin.mpi.MPI-Checker)

 private:
  MPI_Comm comm_;
  Vigil& vigil_;
};

/// Counts of MPI are int: longer messages go in pieces.
inline constexpr std::size_t kPiece = std::size_t{1} << 30;

/// Calls piece(offset, count) over `size` values in counts that fit an int, of `most` at once.
template <class Piece>
void in_pieces(std::size_t size, std::size_t most, Piece piece) {
  for (std::size_t done = 0; done < size; done += most) {
    piece(done, base::narrow<int>(std::min(most, size - done), "message size"));
  }
}

}  // namespace winnow::comm
