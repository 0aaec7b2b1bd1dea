// Messages for people, handed to whoever runs the library: library code never prints.
#pragma once

#include <functional>
#include <string_view>

namespace winnow::base {

enum class LogLevel { error, warning, info, debug };

/// Receives messages. The program prints those of rank 0 to stderr; tests collect them.
using LogSink = std::function<void(LogLevel, std::string_view)>;

/// A place to report what is not an error. Cheap to pass by reference; a default-made one discards everything.
class Log {
 public:
  Log() = default;
  explicit Log(LogSink sink) : sink_(std::move(sink)) {}

  void warn(std::string_view message) const { send(LogLevel::warning, message); }
  void info(std::string_view message) const { send(LogLevel::info, message); }
  void debug(std::string_view message) const { send(LogLevel::debug, message); }

 private:
  void send(LogLevel level, std::string_view message) const {
    if (sink_) sink_(level, message);
  }
  LogSink sink_;
};

}  // namespace winnow::base
