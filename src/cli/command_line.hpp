// Parsing shared by the subcommands: Boost.Program_options with our errors, `--config FILE`.
#pragma once

#include <boost/program_options.hpp>
#include <chrono>
#include <cstdint>
#include <iosfwd>
#include <optional>
#include <string>
#include <vector>

#include "winnow/base/log.hpp"
#include "winnow/comm/communicator.hpp"

namespace winnow::cli {

namespace po = boost::program_options;

/// A whole number from 0: "-1" is refused, which an unsigned type would take for 18446744073709551615.
struct Count {
  std::uint64_t value = 0;
};
void validate(boost::any& value, const std::vector<std::string>& words, Count*, int);
std::ostream& operator<<(std::ostream& out, const Count& count);

/// Values of options, named as they are in the help text. A default shows there.
po::typed_value<std::string>* text_value(const char* name);
po::typed_value<std::string>* text_value(const char* name, const char* fallback);
po::typed_value<Count>* count_value();
po::typed_value<Count>* count_value(std::uint64_t fallback);

/// Columns of help texts.
inline constexpr unsigned kHelpColumns = 100;

/// Thrown if `--help` was asked for; `text` goes to stdout.
struct HelpRequested {
  std::string text;
};

struct CommandLine {
  std::string command;                                       ///< e.g. "audit"
  std::string usage;                                         ///< first lines of the help text
  po::options_description options{"Options", kHelpColumns};  ///< shown in the help text
  std::vector<std::string> positional;                       ///< options that may be given without their name, in order
  std::string rest;                                          ///< option that takes all further words; empty for none
};

/// Seconds that a rank may be silent, if nothing else is said.
inline constexpr std::chrono::seconds kPeerTimeout{600};

/// Collective. Parses `arguments` (those after the subcommand) on every rank, which must be the same for all but for
/// what nodes may differ in, and watches the ranks from then on as --peer-timeout says. `--config FILE` adds options
/// from a file of `name = value` lines; the command line wins. A value that is given but empty is refused. Throws
/// Agreed(usage), HelpRequested.
po::variables_map parse(const CommandLine& line, const std::vector<std::string>& arguments, comm::Communicator& world);

/// Collective. From now on a rank that is silent for `timeout` ends all, with an error that names it.
void watch_peers(comm::Communicator& world, std::chrono::seconds timeout);

/// The options every subcommand has: --help, --log-level, --config, --peer-timeout.
void add_common_options(po::options_description& options);
base::LogLevel log_level(const po::variables_map& values);
std::uint64_t peer_timeout(const po::variables_map& values);  ///< seconds; throws Error(usage)

std::uint64_t count(const po::variables_map& values, const char* option);
std::optional<std::string> given(const po::variables_map& values, const char* option);

/// The value of a mandatory option. Throws Error(usage) if it is missing.
std::string required(const po::variables_map& values, const std::string& command, const std::string& option);

}  // namespace winnow::cli
