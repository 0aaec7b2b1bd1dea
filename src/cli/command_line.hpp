// Parsing shared by the subcommands: Boost.Program_options with our errors, `--config FILE`, options of later versions.
#pragma once

#include <boost/program_options.hpp>
#include <cstdint>
#include <iosfwd>
#include <optional>
#include <string>
#include <vector>

#include "winnow/base/log.hpp"

namespace winnow::cli {

namespace po = boost::program_options;

/// A whole number from 0: "-1" is refused, where an unsigned type would take it for 18446744073709551615.
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

/// Thrown where `--help` was asked for; `text` goes to stdout.
struct HelpRequested {
  std::string text;
};

struct CommandLine {
  std::string command;                                       ///< e.g. "audit"
  std::string usage;                                         ///< first lines of the help text
  po::options_description options{"Options", kHelpColumns};  ///< shown in the help text
  std::vector<std::string> positional;                       ///< options that may be given without their name, in order
  std::string rest;                                          ///< option that takes all further words; empty for none
  std::vector<std::string> later;  ///< options of the contract that this version does not have: refused by name
};

/// Parses `arguments` (those after the subcommand). `--config FILE` adds options from a file of `name = value` lines;
/// the command line wins. A value that is given but empty is refused. Throws Error(usage), HelpRequested.
po::variables_map parse(const CommandLine& line, const std::vector<std::string>& arguments);

/// The options every subcommand has: --help, --log-level, --config.
void add_common_options(po::options_description& options);
base::LogLevel log_level(const po::variables_map& values);

std::uint64_t count(const po::variables_map& values, const char* option);
std::optional<std::string> given(const po::variables_map& values, const char* option);

/// The value of a mandatory option. Throws Error(usage) where it is missing.
std::string required(const po::variables_map& values, const std::string& command, const std::string& option);

}  // namespace winnow::cli
