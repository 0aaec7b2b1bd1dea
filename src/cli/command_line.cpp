#include "command_line.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <ostream>
#include <sstream>
#include <utility>

#include "console.hpp"
#include "winnow/base/error.hpp"
#include "winnow/base/file.hpp"
#include "winnow/comm/together.hpp"
#include "winnow/methods/table.hpp"

namespace winnow::cli {
namespace {

using base::Error;
using base::ErrorKind;

constexpr std::uint64_t kLongestTimeout = 7 * 24 * 3600;  // of any batch queue
constexpr std::uint64_t kMaxConfigBytes = std::uint64_t{1} << 20;

Error usage_error(const CommandLine& line, std::string what) {
  return Error(ErrorKind::usage, std::move(what)).advice(fmt::format("see winnow {} --help", line.command));
}

std::string help_text(const CommandLine& line) {
  std::ostringstream text;
  text << line.usage << "\n\n" << line.options;
  // Boost leaves a blank where it breaks a line.
  std::string help = text.str();
  for (std::size_t end = 0; (end = help.find(" \n", end)) != std::string::npos;) {
    const auto begin = help.find_last_not_of(' ', end) + 1;
    help.erase(begin, end + 1 - begin);
    end = begin;
  }
  return help;
}

constexpr const char* kExtraWords = "extra words";  // no option can have a name with a blank

po::variables_map parse_words(const CommandLine& line, const std::vector<std::string>& arguments) {
  po::options_description all;
  all.add(line.options).add_options()(kExtraWords, po::value<std::vector<std::string>>());
  po::positional_options_description positional;
  for (const auto& name : line.positional) positional.add(name.c_str(), 1);
  positional.add(line.rest.empty() ? kExtraWords : line.rest.c_str(), -1);
  // No guessing: an abbreviated option would change its meaning when a later version adds a longer one.
  const auto style = po::command_line_style::default_style & ~po::command_line_style::allow_guessing;
  po::variables_map values;
  po::store(po::command_line_parser(arguments).options(all).positional(positional).style(style).run(), values);
  if (values.count(kExtraWords) != 0) {
    auto error = usage_error(
        line, fmt::format("unexpected argument {}", values[kExtraWords].as<std::vector<std::string>>().front()));
    if (values.count("adapter") == 0 || line.options.find_nothrow("zoo", false) == nullptr) {
      throw std::move(error).advice(
          fmt::format("a name with blanks in it goes in quotes; see winnow {} --help", line.command));
    }
    // What a shell makes of --adapter zoo/*
    throw std::move(error)
        .expected("one directory after each --adapter")
        .advice(fmt::format("for all adapters in a directory give --zoo DIR; see winnow {} --help", line.command));
  }
  return values;
}

std::string config_text(const std::string& path) try {
  return base::read_text_file(path, kMaxConfigBytes);
} catch (const Error& error) {
  throw Error(ErrorKind::usage, "cannot read --config: " + std::string(error.what()));
}

/// Adds what the file says to what the command line left open.
void add_config(const CommandLine& line, const std::string& path, po::variables_map& values) {
  std::istringstream text(config_text(path));
  const auto parsed = po::parse_config_file(text, line.options, true);
  for (const auto& option : parsed.options) {
    if (option.unregistered || option.string_key == "config" || option.string_key == "help") {
      throw usage_error(line, fmt::format("unknown option {} in --config", option.string_key)).file(path);
    }
  }
  po::store(parsed, values);
}

void refuse_empty_values(const CommandLine& line, const po::variables_map& values) {
  for (const auto& [name, value] : values) {
    const auto* one = boost::any_cast<std::string>(&value.value());
    const auto* many = boost::any_cast<std::vector<std::string>>(&value.value());
    if ((one != nullptr && one->empty()) ||
        (many != nullptr && std::find(many->begin(), many->end(), "") != many->end())) {
      throw usage_error(line, fmt::format("--{} is empty", name));
    }
  }
}

/// "did you mean --report?"; empty if no option is like it.
std::string nearest_option(const CommandLine& line, const std::string& name) {
  std::vector<std::string> names;
  for (const auto& option : line.options.options()) names.push_back("--" + option->long_name());
  const std::vector<std::string_view> known(names.begin(), names.end());
  return methods::nearest("--" + name.substr(std::min(name.find_first_not_of('-'), name.size())), known);
}

/// Boost's own words, with what it does not say: which values there are.
Error explained(const CommandLine& line, const po::error& error) {
  if (const auto* invalid = dynamic_cast<const po::invalid_option_value*>(&error)) {
    return usage_error(line, invalid->what()).expected("a whole number from 0");
  }
  if (const auto* unknown = dynamic_cast<const po::unknown_option*>(&error)) {
    const auto near = nearest_option(line, unknown->get_option_name());
    if (!near.empty()) return usage_error(line, error.what()).advice(near);
  }
  return usage_error(line, error.what());
}

/// What of a command line need not be the same on all ranks: nodes differ.
constexpr std::array<std::string_view, 4> kOfARank{"threads", "device-memory", "log-level", "config"};

std::string text_of(const boost::any& value) {
  if (const auto* one = boost::any_cast<std::string>(&value)) return *one;
  if (const auto* count = boost::any_cast<Count>(&value)) return fmt::format("{}", count->value);
  if (const auto* flag = boost::any_cast<bool>(&value)) return *flag ? "yes" : "no";
  if (const auto* many = boost::any_cast<std::vector<std::string>>(&value))
    return fmt::format("{}", fmt::join(*many, " "));
  return "";
}

/// The command and every option that has a value, one a line.
std::vector<std::string> effective(const CommandLine& line, const po::variables_map& values) {
  std::vector<std::string> all{"command " + line.command};
  for (const auto& [name, value] : values) {
    if (std::find(kOfARank.begin(), kOfARank.end(), name) != kOfARank.end()) continue;
    all.push_back(fmt::format("--{} {}", name, text_of(value.value())));
  }
  return all;
}

/// Ranks that were asked for different things would wait for each other in different places, for ever.
void require_alike(const std::vector<std::string>& mine, comm::Communicator& world) {
  const auto first = comm::from_coordinator(world, [&] { return fmt::format("{}", fmt::join(mine, "\n")); });
  comm::run_together(world, [&] {
    std::istringstream lines(first);
    std::vector<std::string> theirs;
    for (std::string text; std::getline(lines, text);) theirs.push_back(text);
    const auto words = fmt::format("{}", fmt::join(mine, "\n"));
    if (words == first) return;
    const auto [here, there] = std::mismatch(mine.begin(), mine.end(), theirs.begin(), theirs.end());
    throw Error(ErrorKind::usage, "the ranks were started with different commands or options")
        .expected(fmt::format("{} as on rank 0, found {}", there == theirs.end() ? "no further option" : *there,
                              here == mine.end() ? "none" : *here));
  });
}

/// What the command line says itself.
po::variables_map said(const CommandLine& line, const std::vector<std::string>& arguments) {
  po::variables_map values;
  try {
    values = parse_words(line, arguments);
  } catch (const po::error& error) {
    throw explained(line, error);
  }
  if (values.count("help") != 0) throw HelpRequested{help_text(line)};
  peer_timeout(values);
  return values;
}

/// With what --config adds.
void complete(const CommandLine& line, po::variables_map& values) {
  if (const auto config = given(values, "config"); config && !config->empty()) {
    try {
      add_config(line, *config, values);
    } catch (const po::error& error) {
      throw explained(line, error).file(*config);
    }
  }
  refuse_empty_values(line, values);
  log_level(values);
  peer_timeout(values);
}

}  // namespace

void validate(boost::any& value, const std::vector<std::string>& words, Count*, int) {
  po::validators::check_first_occurrence(value);
  const auto& word = po::validators::get_single_string(words);
  Count count;
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), count.value);
  if (error != std::errc() || end != word.data() + word.size()) throw po::invalid_option_value(word);
  value = count;
}

std::ostream& operator<<(std::ostream& out, const Count& count) { return out << count.value; }

po::typed_value<std::string>* text_value(const char* name) { return po::value<std::string>()->value_name(name); }
po::typed_value<std::string>* text_value(const char* name, const char* fallback) {
  return text_value(name)->default_value(fallback);
}
po::typed_value<Count>* count_value() { return po::value<Count>()->value_name("N"); }
po::typed_value<Count>* count_value(std::uint64_t fallback) { return count_value()->default_value(Count{fallback}); }

po::variables_map parse(const CommandLine& line, const std::vector<std::string>& arguments, comm::Communicator& world) {
  std::string help;
  auto values = comm::result_together(world, [&] {
    try {
      return said(line, arguments);
    } catch (const HelpRequested& asked) {
      help = asked.text;
      return po::variables_map{};
    }
  });
  // A rank may hang already when it reads --config.
  watch_peers(world, help.empty() ? std::chrono::seconds(peer_timeout(values)) : kPeerTimeout);
  comm::run_together(world, [&] {
    if (help.empty()) complete(line, values);
  });
  auto all = effective(line, values);
  if (!help.empty()) all.emplace_back("--help");
  require_alike(all, world);
  if (!help.empty()) throw HelpRequested{help};
  watch_peers(world, std::chrono::seconds(peer_timeout(values)));
  return values;
}

void watch_peers(comm::Communicator& world, std::chrono::seconds timeout) {
  world.peers().begin(timeout, [&world](const std::string& what) {
    print_error(Error(ErrorKind::runtime, what));
    world.abort(static_cast<int>(ErrorKind::runtime));
  });
}

void add_common_options(po::options_description& options) {
  options.add_options()  //
      ("peer-timeout", count_value(kPeerTimeout.count()),
       "seconds after which a rank that hangs or does not answer ends the run; 0: never")        //
      ("log-level", text_value("LEVEL", "warning"), "error, warning, info or debug")             //
      ("config", text_value("FILE"), "read further options from this file: name = value lines")  //
      ("help,h", "show this text");
}

base::LogLevel log_level(const po::variables_map& values) {
  const auto& text = values["log-level"].as<std::string>();
  if (text == "error") return base::LogLevel::error;
  if (text == "warning") return base::LogLevel::warning;
  if (text == "info") return base::LogLevel::info;
  if (text == "debug") return base::LogLevel::debug;
  throw Error(ErrorKind::usage, fmt::format("unknown --log-level {}", text)).expected("error, warning, info or debug");
}

std::uint64_t peer_timeout(const po::variables_map& values) {
  const auto seconds = count(values, "peer-timeout");
  if (seconds <= kLongestTimeout) return seconds;
  throw Error(ErrorKind::usage, fmt::format("--peer-timeout {} is too long", seconds))
      .expected(fmt::format("seconds, 0 to {}", kLongestTimeout));
}

std::uint64_t count(const po::variables_map& values, const char* option) { return values[option].as<Count>().value; }

std::optional<std::string> given(const po::variables_map& values, const char* option) {
  if (values.count(option) == 0) return std::nullopt;
  return values[option].as<std::string>();
}

std::string required(const po::variables_map& values, const std::string& command, const std::string& option) {
  if (values.count(option) == 0) {
    throw Error(ErrorKind::usage, fmt::format("--{} is missing", option))
        .advice(fmt::format("see winnow {} --help", command));
  }
  return values[option].as<std::string>();
}

}  // namespace winnow::cli
