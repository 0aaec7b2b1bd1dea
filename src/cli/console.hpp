// What a person sees on stderr: messages, errors, progress. stdout carries results only.
#pragma once

#include <chrono>
#include <string>
#include <string_view>

#include "winnow/base/error.hpp"
#include "winnow/base/log.hpp"
#include "winnow/run/options.hpp"

namespace winnow::cli {

/// A log that prints messages of `level` and worse, with the rank if it is not the coordinator.
base::Log console_log(base::LogLevel level, int rank);

void print_error(const base::Error& error);

void print_result(const std::string& text);  ///< to stdout. Throws Error(runtime), as flush_results() does

/// Throws Error(runtime) if results printed to stdout did not arrive: a full disk must not pass for success.
void flush_results();

/// Progress of this rank's share of an audit: a bar on a terminal, else a line every 30 s without control characters.
class ProgressMeter {
 public:
  enum class Style { none, lines, bar };
  /// "auto" is a bar if stderr is a terminal. Throws Error(usage).
  static Style parse_style(std::string_view text);

  ProgressMeter(Style style, int ranks) : style_(style), ranks_(ranks) {}
  ~ProgressMeter() { finish(); }  ///< an error gets a line of its own
  ProgressMeter(const ProgressMeter&) = delete;
  ProgressMeter& operator=(const ProgressMeter&) = delete;
  void update(const run::Progress& progress);
  void finish();  ///< ends the bar's line

 private:
  using Clock = std::chrono::steady_clock;
  Style style_;
  int ranks_;
  Clock::time_point start_ = Clock::now(), last_ = start_;
  bool drawn_ = false;
};

}  // namespace winnow::cli
