// Reads JSON as a stream of events: in constant memory, without recursion, and seeing every key, while a tree of values
// keeps one of two equal keys and overflows the stack or the memory for a file made to do so.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "winnow/base/error.hpp"

namespace winnow::checkpoint {

/// A value that is neither object nor array.
struct JsonScalar {
  enum class Kind { null, boolean, unsigned_integer, negative, fractional, too_large, text };

  Kind kind = Kind::null;
  std::uint64_t number = 0;  ///< of an unsigned_integer
  std::string_view text;     ///< of a text

  std::string_view describe() const;  ///< e.g. "a negative number", for errors
};

/// What a JSON text holds, in its order. The functions called on_... throw to refuse it.
class JsonEvents {
 public:
  enum class Container { object, array };

  virtual ~JsonEvents() = default;
  virtual void on_begin(Container container) = 0;
  virtual void on_key(std::string& key) = 0;
  virtual void on_scalar(const JsonScalar& scalar) = 0;
  virtual void on_end() = 0;
  /// The error for what is not JSON; `reason` says where and why.
  virtual base::Error bad_json(std::string_view reason) const = 0;
  /// The error for a text that is not UTF-8 from `offset` on.
  virtual base::Error bad_utf8(std::size_t offset) const = 0;

  /// Called within on_begin: no events for that container, its contents and its end.
  void skip() { skipped_depth_ = 1; }

 private:
  friend class JsonAdaptor;
  std::uint64_t skipped_depth_ = 0;
};

/// Reads `text` whole: one value, with white space around it and nothing else. Throws bad_json() and bad_utf8() and
/// what the events throw.
void parse_json(std::string_view text, JsonEvents& events);

/// What an exception of nlohmann's says, for people: "[json.exception.parse_error.101] parse error at ..." without its
/// tag, and as short ASCII: it quotes the input, and may break off within a character.
std::string json_error_text(std::string_view what);

}  // namespace winnow::checkpoint
