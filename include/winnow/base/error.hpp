// One exception type for everything that can go wrong, carrying where it went wrong.
#pragma once

#include <exception>
#include <string>
#include <string_view>

namespace winnow::base {

class ByteReader;
class ByteWriter;

/// What kind of failure this is; the values are the program's exit codes (src/cli/README.md).
enum class ErrorKind : int {
  runtime = 1,        ///< I/O, MPI, memory
  usage = 2,          ///< the command line
  invalid_input = 3,  ///< a checkpoint, an adapter or a report that cannot be used
  stopped = 75,       ///< stopped at a signal with work journalled
};

/// An error that knows what failed, where, what was expected and what to do about it.
///
///     throw Error(ErrorKind::invalid_input, "truncated shard")
///         .file(path).tensor(name).expected("1024 bytes of data, found 1000").advice("download it again");
///
/// what() is one line, with each part that was given:
///     truncated shard: model-00001.safetensors, tensor model.norm.weight; expected 1024 bytes ...; download it again
class Error : public std::exception {
 public:
  Error(ErrorKind kind, std::string what);

  Error&& file(std::string_view path) &&;
  Error&& tensor(std::string_view name) &&;
  Error&& rank(int rank) &&;
  Error&& os_error(int error_number) &&;  ///< an errno, spelled out in what()
  Error&& expected(std::string_view expectation) &&;
  Error&& advice(std::string_view advice) &&;

  ErrorKind kind() const noexcept { return kind_; }
  const std::string& summary() const noexcept { return summary_; }  ///< the bare "what", without the context
  const std::string& file() const noexcept { return file_; }
  const std::string& tensor() const noexcept { return tensor_; }
  int os_error() const noexcept { return os_error_; }  ///< an errno, 0 if none was given
  int rank() const noexcept { return rank_; }          ///< -1 if no rank was named
  const char* what() const noexcept override { return line_.c_str(); }

  /// To hand an error from the rank that saw it to its peers.
  void serialise(ByteWriter& out) const;
  static Error deserialise(ByteReader& in);

 private:
  void compose();

  ErrorKind kind_;
  std::string summary_, file_, tensor_, expected_, advice_;
  int rank_ = -1;
  int os_error_ = 0;
  std::string line_;
};

}  // namespace winnow::base
