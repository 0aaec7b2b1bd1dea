#include "winnow/base/error.hpp"

#include <fmt/format.h>

#include <cstring>
#include <utility>

#include "winnow/base/bytes.hpp"
#include "winnow/base/text.hpp"

namespace winnow::base {

Error::Error(ErrorKind kind, std::string what) : kind_(kind), summary_(std::move(what)) { compose(); }

Error&& Error::file(std::string_view path) && {
  file_ = path;
  compose();
  return std::move(*this);
}
Error&& Error::tensor(std::string_view name) && {
  tensor_ = name;
  compose();
  return std::move(*this);
}
Error&& Error::rank(int rank) && {
  rank_ = rank;
  compose();
  return std::move(*this);
}
Error&& Error::os_error(int error_number) && {
  os_error_ = error_number;
  compose();
  return std::move(*this);
}
Error&& Error::expected(std::string_view expectation) && {
  expected_ = expectation;
  compose();
  return std::move(*this);
}
Error&& Error::advice(std::string_view advice) && {
  advice_ = advice;
  compose();
  return std::move(*this);
}

void Error::compose() {
  constexpr std::size_t kLongestName = 400;  // the whole one stays available from tensor()
  line_ = summary_;
  if (os_error_ != 0) line_ += fmt::format(" ({})", std::strerror(os_error_));
  const char* separator = ": ";
  const auto place = [&](std::string_view prefix, std::string_view text) {
    line_ += fmt::format("{}{}{}", separator, prefix, text);
    separator = ", ";
  };
  if (!file_.empty()) place("", file_);
  if (!tensor_.empty()) place("tensor ", abbreviated(tensor_, kLongestName));
  if (rank_ >= 0) place("rank ", std::to_string(rank_));
  if (!expected_.empty()) line_ += "; expected " + expected_;
  if (!advice_.empty()) line_ += "; " + advice_;
  // One line whatever the names hold: a file or tensor name may carry any byte.
  for (char& c : line_) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  }
}

void Error::serialise(ByteWriter& out) const {
  out.put(kind_);
  out.put(summary_);
  out.put(file_);
  out.put(tensor_);
  out.put(expected_);
  out.put(advice_);
  out.put(rank_);
  out.put(os_error_);
}

Error Error::deserialise(ByteReader& in) {
  const auto kind = in.get<ErrorKind>();
  Error error(kind, in.get_string());
  error.file_ = in.get_string();
  error.tensor_ = in.get_string();
  error.expected_ = in.get_string();
  error.advice_ = in.get_string();
  error.rank_ = in.get<int>();
  error.os_error_ = in.get<int>();
  error.compose();
  return error;
}

}  // namespace winnow::base
