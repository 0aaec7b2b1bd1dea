#include <fcntl.h>
#include <fmt/format.h>
#include <malloc.h>
#include <sys/resource.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <new>
#include <string_view>
#include <vector>

#include "command_line.hpp"
#include "commands.hpp"
#include "console.hpp"
#include "job_scripts.hpp"
#include "version.hpp"
#include "winnow/base/error.hpp"
#include "winnow/comm/together.hpp"
#include "winnow/methods/table.hpp"

namespace {

using namespace winnow;

struct Command {
  std::string_view name, summary;
  int (*run)(const cli::Arguments&, comm::Communicator&);
};

constexpr std::array<Command, 10> kCommands{{
    {"audit", "score every LoRA layer of adapters against the alignment step of a model", cli::audit_command},
    {"watch", "judge the checkpoints of an adapter while it is trained", cli::watch_command},
    {"prune", "write a pruned copy of an adapter, as a report says, or one repaired by probes", cli::prune_command},
    {"extract", "make an adapter of what was merged into a checkpoint", cli::extract_command},
    {"merge", "make one report of those of several audits", cli::merge_command},
    {"report", "show a report as a table; write it as HTML, CSV, JSON, SARIF or a BOM", cli::report_command},
    {"verify", "compare what a report was computed from with what is there now", cli::verify_command},
    {"plan", "show what an audit would read and compute, and where", cli::plan_command},
    {"methods", "list every method: its datasets, what is worse, what it needs", cli::methods_command},
    {"synth", "write a synthetic model family with planted misaligned layers", cli::synth_command},
}};

std::string help_text() {
  std::string text =
      "winnow audits LoRA adapters for lost safety alignment and prunes what weakens it.\n\n"
      "usage: winnow COMMAND [options]        winnow COMMAND --help lists the options of one\n\n";
  for (const auto& command : kCommands) text += fmt::format("  {:<8}{}\n", command.name, command.summary);
  text += "\nRuns alone, under mpirun, or under srun --mpi=pmix.\n";
  if (const auto jobs = cli::job_scripts(); !jobs.empty()) text += fmt::format("Job scripts for Slurm: {}\n", jobs);
  text +=
      "Exit codes: 0 done, 1 failure, 2 usage, 3 invalid input or nothing left of it, 4 findings\n"
      "(--fail-on-findings, verify), 75 stopped at a signal with work journalled.\n";
  return text;
}

/// A stream the caller has closed would be the number of the next file opened, and messages would end up in a report.
/// Opened for the wrong direction, so that writing results still fails.
void occupy_standard_streams() {
  for (const int stream : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (fcntl(stream, F_GETFD) >= 0 || errno != EBADF) continue;
    if (open("/dev/null", stream == STDIN_FILENO ? O_WRONLY : O_RDONLY) < 0) std::_Exit(1);
  }
}

/// As many open files as the system grants without asking: the soft limit is often 1024, made for select(), and a zoo
/// has more adapters than that.
void raise_file_limit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

/// Memory of large blocks goes back to the system when they are freed. By default glibc keeps them for later once it
/// has seen some, on a heap for each thread, and blocks of many sizes then leave holes: an audit of a hundred adapters
/// grew with its layers.
void return_large_blocks() {
#ifdef __GLIBC__
  mallopt(M_MMAP_THRESHOLD, 1 << 20);
#endif
}

/// What is no error of all ranks: this one's own message and exit code, for its peers wait for it and are ended with
/// it.
int end_all(base::Error error, comm::Communicator* world) {
  if (world == nullptr || world->size() == 1) {
    cli::print_error(error);
    return static_cast<int>(error.kind());
  }
  const auto kind = error.kind();
  cli::print_error(error.rank() < 0 ? std::move(error).rank(world->rank()) : error);
  world->abort(static_cast<int>(kind));
  return static_cast<int>(kind);
}

int run_command(const Command& command, int& argc, char**& argv) {
  std::unique_ptr<comm::Communicator> world;
  try {
    world = comm::make_world(argc, argv);
    cli::watch_peers(*world, cli::kPeerTimeout);  // until the command line has been read
    const cli::Arguments arguments(argv + 2, argv + argc);
    int exit_code = 0;
    try {
      exit_code = command.run(arguments, *world);
    } catch (const cli::HelpRequested& help) {
      if (world->is_coordinator()) cli::print_result(help.text);
    }
    comm::from_coordinator(*world, [] {
      cli::flush_results();
      return std::string();
    });
    return exit_code;
  } catch (const comm::Agreed& error) {
    if (world->is_coordinator()) cli::print_error(error);
    return static_cast<int>(error.kind());
  } catch (const base::Error& error) {
    return end_all(error, world.get());
  } catch (const std::bad_alloc&) {
    return end_all(base::Error(base::ErrorKind::runtime, "out of memory"), world.get());
  } catch (const std::exception& error) {
    return end_all(base::Error(base::ErrorKind::runtime, error.what()), world.get());
  }
}

/// Prints what does not depend on input. Needs no MPI.
int say(const std::string& text) try {
  cli::print_result(text);
  cli::flush_results();
  return 0;
} catch (const base::Error& error) {
  cli::print_error(error);
  return static_cast<int>(error.kind());
}

}  // namespace

int main(int argc, char** argv) {
  occupy_standard_streams();
  raise_file_limit();
  return_large_blocks();
  const std::string_view name = argc > 1 ? argv[1] : "";
  if (name == "--version") return say(cli::version_text());
  if (name == "--help" || name == "-h" || name == "help") return say(help_text());
  for (const auto& command : kCommands) {
    if (command.name == name) return run_command(command, argc, argv);
  }
  std::vector<std::string_view> known;
  for (const auto& command : kCommands) known.push_back(command.name);
  const auto near = name.empty() ? std::string() : methods::nearest(name, known);
  cli::print_error(
      base::Error(base::ErrorKind::usage, name.empty() ? "no command given" : fmt::format("unknown command {}", name))
          .expected("audit, watch, prune, extract, merge, report, verify, plan, methods or synth")
          .advice(near.empty() ? "see winnow --help" : near));
  return 2;
}
