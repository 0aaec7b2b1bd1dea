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

using Messages = std::vector<std::pair<base::LogLevel, std::string>>;

/// Adapters and what opening each had to say.
struct Opened {
  std::vector<adapter::Adapter> adapters;
  std::vector<Messages> messages;  // [adapters]

  explicit Opened(std::size_t count = 0) : adapters(count), messages(count) {}

  void open(std::size_t n, const std::string& directory, const Inputs& inputs, const AdapterOptions& options,
            adapter::AdapterPool& pool) {
    const base::Log log(
        [&](base::LogLevel level, std::string_view text) { messages[n].emplace_back(level, std::string(text)); });
    auto adapter_options = options;
    adapter_options.whole_model = inputs.has_checkpoint();  // a probe need not have every layer
    if (inputs.has_checkpoint()) adapter_options.aligned = &inputs.aligned;
    adapters[n] = adapter::open_adapter(directory, inputs.names(), inputs.model, adapter_options, log);
    pool.share(adapters[n]);
  }

  std::string serialise() const {
    base::ByteWriter out;
    adapter::serialise(adapters, out);
    for (const auto& of_adapter : messages) {
      out.put<std::uint64_t>(of_adapter.size());
      for (const auto& [level, text] : of_adapter) {
        out.put(level);
        out.put(text);
      }
    }
    return std::move(out).bytes();
  }
  static Opened deserialise(const std::string& bytes) {
    Opened opened;
    base::ByteReader in(bytes);
    opened.adapters = adapter::deserialise_adapters(in);
    opened.messages.resize(opened.adapters.size());
    for (auto& of_adapter : opened.messages) {
      for (auto count = in.get<std::uint64_t>(); count > 0; --count) {
        const auto level = in.get<base::LogLevel>();
        of_adapter.emplace_back(level, in.get_string());
      }
    }
    return opened;
  }
};

/// Of a large zoo all adapters take minutes to read, and nothing of the run is finished yet that would be worth waiting
/// for.
void leave_if_asked_to_stop(const Stopping& stopping) {
  if (!stopping.is_requested()) return;
  throw base::Error(base::ErrorKind::stopped, "stopped at a signal while the adapters were opened")
      .advice("run again with --resume");
}

void pass_on(const Messages& messages, const base::Log& log) {
  for (const auto& [level, text] : messages) {
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
    Opened mine(count);
    adapter::AdapterPool pool;
    const int threads = means.threads > 0 ? means.threads : base::default_threads(world.node_size());
    base::parallel_blocks(count, std::max(threads, kLeastThreads), [&](std::size_t n, int thread) {
      if (thread == 0) {  // that which MPI knows
        comm::stop_if_peer_failed(world);
        world.peers().keep_alive();
        leave_if_asked_to_stop(stopping);
      }
      mine.open(n, directories[n * ranks + rank], inputs, options, pool);
    });
    leave_if_asked_to_stop(stopping);  // of few adapters this thread may have had none
    bytes = mine.serialise();
  });
  const auto parts = world.gather(bytes, comm::kCoordinator);
  std::vector<adapter::Adapter> adapters;
  comm::from_coordinator(world, [&] {
    std::vector<Opened> opened;
    for (const auto& part : parts) opened.push_back(Opened::deserialise(part));
    adapter::AdapterPool pool;  // what adapters of different ranks have in common
    for (std::size_t n = 0; n < directories.size(); ++n) {
      auto& part = opened[n % ranks];
      pass_on(part.messages[n / ranks], log);
      adapters.push_back(std::move(part.adapters[n / ranks]));
      pool.share(adapters.back());
    }
    return std::string();
  });
  return adapters;
}

}  // namespace winnow::input
