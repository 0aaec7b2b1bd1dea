#include "json_events.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>

#include "winnow/base/text.hpp"

namespace winnow::checkpoint {
namespace {

// The offset of the first byte that is not part of well-formed UTF-8 (RFC 3629, section 4).
std::optional<std::size_t> find_bad_utf8(std::string_view text) {
  for (std::size_t at = 0; at < text.size();) {
    const auto byte = [&](std::size_t k) { return static_cast<unsigned char>(text[at + k]); };
    const unsigned char lead = byte(0);
    if (lead < 0x80) {
      ++at;
      continue;
    }
    const std::size_t length = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
    if (lead < 0xC2 || lead > 0xF4 || at + length > text.size()) return at;
    for (std::size_t k = 1; k < length; ++k) {
      if ((byte(k) & 0xC0U) != 0x80U) return at;
    }
    // Overlong forms, surrogates and what lies beyond U+10FFFF.
    if ((lead == 0xE0 && byte(1) < 0xA0) || (lead == 0xED && byte(1) > 0x9F) || (lead == 0xF0 && byte(1) < 0x90) ||
        (lead == 0xF4 && byte(1) > 0x8F)) {
      return at;
    }
    at += length;
  }
  return std::nullopt;
}

}  // namespace

std::string json_error_text(std::string_view message) {
  if (const auto tag = message.find("] "); message.starts_with('[') && tag != std::string_view::npos) {
    message.remove_prefix(tag + 2);
  }
  auto text = base::abbreviated(message, 200);
  std::replace_if(
      text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) >= 0x80; }, '?');
  return text;
}

std::string_view JsonScalar::describe() const {
  switch (kind) {
    case Kind::null:
      return "null";
    case Kind::boolean:
      return "true or false";
    case Kind::unsigned_integer:
      return "a number";
    case Kind::negative:
      return "a negative number";
    case Kind::fractional:
      return "a number with a fraction or exponent";
    case Kind::too_large:
      return "a number too large for 64 bits";
    case Kind::text:
      return "a string";
  }
  return "another type";
}

// What the format's own library reads (serde_json's recursion limit); no need of ours, but a file it refuses is no
// file.
constexpr int kMaxDepth = 127;

// The interface nlohmann's parser wants, in terms of JsonEvents.
class JsonAdaptor : public nlohmann::json_sax<nlohmann::json> {
 public:
  explicit JsonAdaptor(JsonEvents& events) : events_(events) {}

  bool null() override { return scalar({JsonScalar::Kind::null, 0, {}}); }
  bool boolean(bool) override { return scalar({JsonScalar::Kind::boolean, 0, {}}); }
  // Called only for a number with a minus sign, "-0" included.
  bool number_integer(number_integer_t) override { return scalar({JsonScalar::Kind::negative, 0, {}}); }
  bool number_unsigned(number_unsigned_t value) override {
    return scalar({JsonScalar::Kind::unsigned_integer, value, {}});
  }
  bool number_float(number_float_t, const string_t& literal) override { return real_number(literal); }
  bool string(string_t& value) override { return scalar({JsonScalar::Kind::text, 0, value}); }
  bool binary(binary_t&) override { return false; }  // not in JSON
  bool key(string_t& value) override {
    if (events_.skipped_depth_ == 0) events_.on_key(value);
    return true;
  }
  bool start_object(std::size_t) override { return begin(JsonEvents::Container::object); }
  bool start_array(std::size_t) override { return begin(JsonEvents::Container::array); }
  bool end_object() override { return end(); }
  bool end_array() override { return end(); }
  bool parse_error(std::size_t, const std::string& token, const nlohmann::detail::exception& error) override {
    constexpr int kNumberOverflow = 406;  // beyond the range of a double even
    if (error.id == kNumberOverflow) return real_number(token);
    throw events_.bad_json(json_error_text(error.what()));
  }

 private:
  bool scalar(const JsonScalar& value) {
    if (events_.skipped_depth_ == 0) events_.on_scalar(value);
    return true;
  }
  bool real_number(const std::string& literal) {
    const auto kind = literal.starts_with('-')                            ? JsonScalar::Kind::negative
                      : literal.find_first_of(".eE") != std::string::npos ? JsonScalar::Kind::fractional
                                                                          : JsonScalar::Kind::too_large;
    return scalar({kind, 0, {}});
  }
  bool begin(JsonEvents::Container container) {
    if (++depth_ > kMaxDepth) throw events_.bad_json(fmt::format("it is nested more than {} levels deep", kMaxDepth));
    if (events_.skipped_depth_ != 0) {
      ++events_.skipped_depth_;
    } else {
      events_.on_begin(container);
    }
    return true;
  }
  bool end() {
    --depth_;
    if (events_.skipped_depth_ == 0) {
      events_.on_end();
    } else {
      --events_.skipped_depth_;
    }
    return true;
  }

  JsonEvents& events_;
  int depth_ = 0;
};

void parse_json(std::string_view text, JsonEvents& events) {
  if (const auto offset = find_bad_utf8(text)) throw events.bad_utf8(*offset);
  // nlohmann's parser takes a NUL for the end of the text and skips a byte order mark; neither is JSON.
  if (text.find('\0') != std::string_view::npos) throw events.bad_json("it contains a NUL byte");
  if (text.starts_with("\xEF\xBB\xBF")) throw events.bad_json("it begins with a byte order mark");
  JsonAdaptor adaptor(events);
  if (!nlohmann::json::sax_parse(text, &adaptor)) throw events.bad_json("it could not be read");
}

}  // namespace winnow::checkpoint
