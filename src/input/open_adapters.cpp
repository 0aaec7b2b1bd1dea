#include "open_adapters.hpp"

#include <algorithm>
#include <utility>

#include "winnow/base/bytes.hpp"
#include "winnow/base/error.hpp"
#include "winnow/base/parallel.hpp"
#include "winnow/comm/together.hpp"

namespace winnow::input {
namespace {

using adapter::AdapterOptions;
using run::Means;
using run::Stopping;

/// Opening an adapter is waiting, for the metadata of a parallel file system above all.
constexpr int kLeastThreads = 8;

/// An adapter and what opening it had to say.
struct Opened {
  adapter::Adapter adapter;
  std::vector<std::pair<base::LogLevel, std::string>> messages;

  void serialise(base::ByteWriter& out) const {
    adapter.serialise(out);
    out.put<std::uint64_t>(messages.size());
    for (const auto& [level, text] : messages) {
      out.put(level);
      out.put(text);
    }
  }
  static Opened deserialise(base::ByteReader& in) {
    Opened opened;
    opened.adapter = adapter::Adapter::deserialise(in);
    for (auto count = in.get<std::uint64_t>(); count > 0; --count) {
      const auto level = in.get<base::LogLevel>();
      opened.messages.emplace_back(level, in.get_string());
    }
    return opened;
  }
};

Opened open(const std::string& directory, const Inputs& inputs, const AdapterOptions& options) {
  Opened opened;
  const base::Log log(
      [&](base::LogLevel level, std::string_view text) { opened.messages.emplace_back(level, std::string(text)); });
  auto adapter_options = options;
  adapter_options.whole_model = inputs.has_checkpoint();  // a probe need not have every layer
  opened.adapter = adapter::open_adapter(directory, inputs.names(), inputs.model, adapter_options, log);
  return opened;
}

/// Of a large zoo all adapters take minutes to read, and nothing of the run is finished yet that would be worth waiting
/// for.
void leave_if_asked_to_stop(const Stopping& stopping) {
  if (!stopping.is_requested()) return;
  throw base::Error(base::ErrorKind::stopped, "stopped at a signal while the adapters were opened")
      .advice("run again with --resume");
}

void pass_on(const Opened& opened, const base::Log& log) {
  for (const auto& [level, text] : opened.messages) {
    if (level == base::LogLevel::warning) {
      log.warn(text);
    } else if (level == base::LogLevel::info) {
      log.info(text);
    } else {
      log.debug(text);
    }
  }
}

}  // namespace

std::vector<adapter::Adapter> open_adapters(const std::vector<std::string>& directories, const Inputs& inputs,
                                            const AdapterOptions& options, const Means& means, const Stopping& stopping,
                                            comm::Communicator& world, const base::Log& log) {
  const auto rank = static_cast<std::size_t>(world.rank()), ranks = static_cast<std::size_t>(world.size());
  std::string bytes;
  comm::run_together(world, [&] {
    const std::size_t count = directories.size() / ranks + (rank < directories.size() % ranks ? 1 : 0);
    std::vector<Opened> mine(count);
    const int threads = means.threads > 0 ? means.threads : base::default_threads(world.node_size());
    base::parallel_blocks(count, std::max(threads, kLeastThreads), [&](std::size_t n, int thread) {
      if (thread == 0) {  // that which MPI knows
        comm::stop_if_peer_failed(world);
        world.peers().keep_alive();
        leave_if_asked_to_stop(stopping);
      }
      mine[n] = open(directories[n * ranks + rank], inputs, options);
    });
    leave_if_asked_to_stop(stopping);  // of few adapters this thread may have had none
    base::ByteWriter out;
    for (const auto& opened : mine) opened.serialise(out);
    bytes = std::move(out).bytes();
  });
  const auto parts = world.gather(bytes, comm::kCoordinator);
  std::vector<adapter::Adapter> adapters;
  comm::from_coordinator(world, [&] {
    std::vector<base::ByteReader> readers(parts.begin(), parts.end());
    for (std::size_t n = 0; n < directories.size(); ++n) {
      auto opened = Opened::deserialise(readers[n % ranks]);
      pass_on(opened, log);
      adapters.push_back(std::move(opened.adapter));
    }
    return std::string();
  });
  return adapters;
}

}  // namespace winnow::input
