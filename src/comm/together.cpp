#include "winnow/comm/together.hpp"

#include <exception>
#include <new>
#include <optional>
#include <utility>

#include "winnow/base/bytes.hpp"
#include "winnow/base/error.hpp"

namespace winnow::comm {
namespace {

using base::Error;
using base::ErrorKind;

/// Runs `work` and returns what it threw as an Error; std::nullopt if it returned or only followed a failed peer.
std::optional<Error> error_of(const std::function<void()>& work) {
  try {
    work();
  } catch (const Stranded&) {
    throw;
  } catch (const Error& error) {
    return error;
  } catch (const PeerFailed&) {
  } catch (const std::bad_alloc&) {
    return Error(ErrorKind::runtime, "out of memory")
        .advice("use more ranks per node with less memory each, or fewer adapters at once");
  } catch (const std::exception& error) {
    return Error(ErrorKind::runtime, error.what());
  }
  return std::nullopt;
}

/// Thrown if a team has agreed already that one of it has failed.
struct MemberFailed : PeerFailed {};

/// What a member says when its team meets; the largest counts.
enum Vote : std::int64_t { kNo, kYes, kFailed };

}  // namespace

void stop_if_peer_failed(Communicator& world) {
  if (world.notices().peer_failed()) throw PeerFailed{};
}

void run_together(Communicator& world, const std::function<void()>& work) {
  auto error = error_of(work);
  if (world.size() == 1) {
    if (error) throw Agreed(*std::move(error));
    return;
  }
  if (error) world.notices().notify_failure();
  // The lowest failing rank, as a maximum: ranks counted down, 0 for none.
  const std::int64_t vote = world.maximum(error ? world.size() - world.rank() : 0);
  if (vote == 0) return;
  world.notices().forget_failures();
  const bool all_failed = world.maximum(error ? 0 : 1) == 0;
  const int failed = world.size() - static_cast<int>(vote);
  std::string message;
  if (failed == world.rank()) {
    const bool nobody_in_particular = all_failed && error->kind() == ErrorKind::usage;
    base::ByteWriter out;
    (error->rank() < 0 && !nobody_in_particular ? Error(*error).rank(failed) : Error(*error)).serialise(out);
    message = std::move(out).bytes();
  }
  world.broadcast(message, failed);
  base::ByteReader in(message);
  throw Agreed(Error::deserialise(in));
}

void throw_alike(Error error) { throw Agreed(std::move(error)); }

void step_together(Communicator& team, const std::function<void()>& work) {
  any_together(team, [&] {
    work();
    return false;
  });
}

bool any_together(Communicator& team, const std::function<bool()>& work) {
  std::exception_ptr failure;
  std::int64_t vote = kNo;
  try {
    if (work()) vote = kYes;
  } catch (const MemberFailed&) {
    throw;
  } catch (const Stranded&) {
    throw;
  } catch (...) {
    failure = std::current_exception();
    vote = kFailed;
  }
  const auto all = team.maximum(vote);
  if (failure) std::rethrow_exception(failure);
  if (all == kFailed) throw PeerFailed{};
  return all == kYes;
}

void meet(Communicator& team) {
  if (team.maximum(kNo) == kFailed) throw MemberFailed{};
}

std::string from_coordinator(Communicator& world, const std::function<std::string()>& work) {
  std::optional<Error> error;
  base::ByteWriter out;
  if (world.is_coordinator()) {
    std::string result;
    error = error_of([&] { result = work(); });
    if (world.size() == 1) {
      if (error) throw Agreed(*std::move(error));
      return result;
    }
    out.put(error.has_value());
    if (error) {
      error->serialise(out);
    } else {
      out.put(result);
    }
  }
  std::string message = std::move(out).bytes();
  world.broadcast(message, kCoordinator);
  base::ByteReader in(message);
  if (in.get<bool>()) throw Agreed(Error::deserialise(in));
  return in.get_string();
}

}  // namespace winnow::comm
