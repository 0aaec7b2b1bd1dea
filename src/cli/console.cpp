#include "console.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <utility>

#include "winnow/base/text.hpp"

namespace winnow::cli {
namespace {

constexpr std::chrono::seconds kLineInterval{30};
constexpr std::chrono::milliseconds kBarInterval{100};

std::string_view label(base::LogLevel level) {
  switch (level) {
    case base::LogLevel::error:
      return "error: ";
    case base::LogLevel::warning:
      return "warning: ";
    default:
      return "";
  }
}

/// One call a line, so that lines of different ranks do not mix. If stderr is gone, there is nobody left to tell.
void put(const std::string& text) {
  std::fwrite(text.data(), 1, text.size(), stderr);
  std::fflush(stderr);
}

base::Error cannot_write(int error_number) {
  return base::Error(base::ErrorKind::runtime, "cannot write to standard output").os_error(error_number);  // 0: none
}

}  // namespace

base::Log console_log(base::LogLevel level, int rank) {
  return base::Log([level, rank](base::LogLevel of, std::string_view message) {
    if (of > level) return;
    put(rank == 0 ? fmt::format("winnow: {}{}\n", label(of), base::printable(message))
                  : fmt::format("winnow: {}{} (rank {})\n", label(of), base::printable(message), rank));
  });
}

void print_error(const base::Error& error) {
  const bool wanted = error.kind() == base::ErrorKind::stopped;
  put(fmt::format("winnow: {}{}\n", wanted ? "" : "error: ", base::printable(error.what())));
}

void print_result(const std::string& text) {
  errno = 0;
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size()) throw cannot_write(errno);
}

void flush_results() {
  errno = 0;
  const bool flushed = std::fflush(stdout) == 0;
  const int error_number = errno;
  if (!flushed || std::ferror(stdout) != 0) throw cannot_write(error_number);
}

ProgressMeter::Style ProgressMeter::parse_style(std::string_view text) {
  if (text == "auto") return isatty(STDERR_FILENO) != 0 ? Style::bar : Style::lines;
  if (text == "bar") return Style::bar;
  if (text == "lines") return Style::lines;
  if (text == "none") return Style::none;
  throw base::Error(base::ErrorKind::usage, fmt::format("unknown --progress {}", text))
      .expected("auto, bar, lines or none");
}

void ProgressMeter::update(const run::Progress& progress) {
  if (style_ == Style::none || progress.modules == 0) return;
  const auto now = Clock::now();
  const bool last = progress.modules_done == progress.modules;
  if (style_ == Style::lines && now - last_ < kLineInterval) return;
  if (style_ == Style::bar && !last && now - last_ < kBarInterval) return;
  last_ = now;
  const double seconds = std::chrono::duration<double>(now - start_).count();
  const double done = static_cast<double>(progress.bytes_done);
  const double rate = seconds > 0 ? done / seconds : 0;
  const double left = rate > 0 ? static_cast<double>(progress.bytes - progress.bytes_done) / rate : 0;
  const std::string share = ranks_ > 1 ? fmt::format(" (share of rank 0 of {})", ranks_) : "";
  const std::string facts =
      fmt::format("{}/{} modules, {:.2f} of {:.2f} GB, {:.2f} GB/s, {:.0f} s left{}", progress.modules_done,
                  progress.modules, done / 1e9, static_cast<double>(progress.bytes) / 1e9, rate / 1e9, left, share);
  if (style_ == Style::lines) {
    put(fmt::format("winnow: {}\n", facts));
    return;
  }
  constexpr std::uint64_t kWidth = 24;
  const auto filled = kWidth * progress.modules_done / progress.modules;
  put(fmt::format("\r\033[K[{:#<{}}{:.<{}}] {}", "", filled, "", kWidth - filled, facts));
  drawn_ = true;
}

void ProgressMeter::finish() {
  if (drawn_) put("\n");
  drawn_ = false;
}

}  // namespace winnow::cli
