#include "header_json.hpp"

#include <fmt/format.h>

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "json_events.hpp"
#include "winnow/base/error.hpp"
#include "winnow/base/text.hpp"

namespace winnow::checkpoint {
namespace {

using base::Error;
using base::ErrorKind;

class HeaderEvents final : public JsonEvents {
 public:
  HeaderEvents(std::string_view file, SafetensorsHeader& header) : file_(file), header_(header) {}

  void on_begin(Container container) override {
    const bool object = container == Container::object;
    switch (state_) {
      case State::start:
        if (!object) throw not_an_object();
        state_ = State::root;
        return;
      case State::root:
        if (key_ == "__metadata__") {
          if (!object) throw bad_metadata("an array");
          state_ = State::metadata;
        } else {
          if (!object) throw bad_entry("an array");
          entry_ = {};
          entry_.name = key_;
          dtype_seen_ = shape_seen_ = false;
          offsets_ = std::nullopt;
          state_ = State::entry;
        }
        return;
      case State::metadata:
        throw bad_metadata_value(object ? "an object" : "an array");
      case State::entry:
        if (field_ == Field::unknown) return skip();
        if (field_ == Field::dtype || object) throw bad_field(object ? "an object" : "an array");
        state_ = State::numbers;
        return;
      case State::numbers:
        throw bad_number(object ? "an object" : "an array");
    }
  }

  void on_key(std::string& key) override {
    if (state_ == State::root) {
      if (key == "__metadata__" && std::exchange(metadata_seen_, true)) {
        throw refused("__metadata__ appears twice in the header");
      }
      key_ = std::move(key);
    } else if (state_ == State::metadata) {
      key_ = std::move(key);
    } else {
      field_ = key == "dtype"          ? Field::dtype
               : key == "shape"        ? Field::shape
               : key == "data_offsets" ? Field::data_offsets
                                       : Field::unknown;
      const bool seen = (field_ == Field::dtype && std::exchange(dtype_seen_, true)) ||
                        (field_ == Field::shape && std::exchange(shape_seen_, true)) ||
                        (field_ == Field::data_offsets && offsets_.has_value());
      if (seen) throw refused(fmt::format("{} appears twice", field_name())).tensor(entry_.name);
      if (field_ == Field::data_offsets) offsets_.emplace();
    }
  }

  void on_scalar(const JsonScalar& scalar) override {
    switch (state_) {
      case State::start:
        throw not_an_object();
      case State::root:
        if (key_ != "__metadata__") throw bad_entry(scalar.describe());
        if (scalar.kind != JsonScalar::Kind::null) throw bad_metadata(scalar.describe());
        return;
      case State::metadata:
        if (scalar.kind != JsonScalar::Kind::text) throw bad_metadata_value(scalar.describe());
        if (!header_.metadata.emplace(key_, scalar.text).second) {
          throw refused(fmt::format("key {} appears twice in __metadata__", base::abbreviated(key_, 200)));
        }
        return;
      case State::entry:
        if (field_ == Field::unknown) return;
        if (field_ != Field::dtype || scalar.kind != JsonScalar::Kind::text) throw bad_field(scalar.describe());
        if (const auto dtype = base::parse_dtype(scalar.text)) {
          entry_.dtype = *dtype;
          return;
        }
        throw refused(fmt::format("unknown dtype {}", base::abbreviated(scalar.text, 40)))
            .tensor(entry_.name)
            .expected("a dtype of safetensors 0.8, e.g. BF16, F16 or F32");
      case State::numbers:
        if (scalar.kind != JsonScalar::Kind::unsigned_integer) throw bad_number(scalar.describe());
        (field_ == Field::shape ? entry_.shape : *offsets_).push_back(scalar.number);
        return;
    }
  }

  void on_end() override {
    switch (state_) {
      case State::numbers:
        if (field_ == Field::data_offsets && offsets_->size() != 2) {
          throw refused("data_offsets has the wrong length")
              .tensor(entry_.name)
              .expected(fmt::format("[begin, end], found {} numbers", offsets_->size()));
        }
        state_ = State::entry;
        return;
      case State::entry:
        finish_entry();
        state_ = State::root;
        return;
      default:
        state_ = State::root;
        return;
    }
  }

  Error bad_json(std::string_view reason) const override {
    return refused(fmt::format("header is not valid JSON: {}", reason))
        .advice("the file is damaged: download it again");
  }
  Error bad_utf8(std::size_t offset) const override {
    return refused("header is not UTF-8")
        .expected(fmt::format("UTF-8 text, found another byte at offset {} of the file", 8 + offset))
        .advice("the file is damaged: download it again");
  }

 private:
  enum class State { start, root, metadata, entry, numbers };
  enum class Field { unknown, dtype, shape, data_offsets };

  Error refused(std::string what) const { return Error(ErrorKind::invalid_input, std::move(what)).file(file_); }
  std::string_view field_name() const {
    return field_ == Field::dtype ? "dtype" : field_ == Field::shape ? "shape" : "data_offsets";
  }

  Error not_an_object() const { return refused("header is not a JSON object").expected("{\"tensor\": ...}"); }
  Error bad_metadata(std::string_view found) const {
    return refused("__metadata__ is not an object").expected(fmt::format("an object of strings, found {}", found));
  }
  Error bad_metadata_value(std::string_view found) const {
    return refused("value in __metadata__ is not a string")
        .expected(fmt::format("a string for key {}, found {}", base::abbreviated(key_, 200), found));
  }
  Error bad_entry(std::string_view found) const {
    return refused("entry of a tensor is not an object")
        .tensor(key_)
        .expected(fmt::format("an object with dtype, shape and data_offsets, found {}", found));
  }
  Error bad_field(std::string_view found) const {
    return refused(fmt::format("{} has the wrong type", field_name()))
        .tensor(entry_.name)
        .expected(fmt::format("{}, found {}", field_ == Field::dtype ? "a string" : "an array of numbers", found));
  }
  Error bad_number(std::string_view found) const {
    return refused(fmt::format("{} holds what is not a whole number of 64 bits", field_name()))
        .tensor(entry_.name)
        .expected(fmt::format("numbers from 0 to 2^64 - 1, found {}", found));
  }

  void finish_entry() {
    const auto fail = [&](std::string what) { return refused(std::move(what)).tensor(entry_.name); };
    const auto* missing = !dtype_seen_ ? "dtype" : !shape_seen_ ? "shape" : !offsets_ ? "data_offsets" : nullptr;
    if (missing != nullptr) {
      throw fail(fmt::format("{} is missing", missing)).expected("dtype, shape and data_offsets");
    }
    entry_.begin = (*offsets_)[0];
    entry_.end = (*offsets_)[1];
    if (entry_.end < entry_.begin) {
      throw fail("data_offsets ends before it begins")
          .expected(fmt::format("begin <= end, found [{}, {}]", entry_.begin, entry_.end));
    }
    // In the order of the dimensions and then the dtype, as in the reference library: [2^63, 2, 0] overflows there too.
    std::uint64_t total_bits = 1;
    const auto multiply = [&](std::uint64_t factor) {
      if (__builtin_mul_overflow(total_bits, factor, &total_bits)) {
        throw fail("shape overflows").expected("fewer than 2^64 bits of data");
      }
    };
    for (const auto dimension : entry_.shape) multiply(dimension);
    multiply(base::bits(entry_.dtype));
    if (total_bits % 8 != 0) {
      throw fail("data is not a whole number of bytes")
          .expected(fmt::format("a multiple of 8 bits, found {} bits of {}", total_bits, base::name(entry_.dtype)));
    }
    if (entry_.end - entry_.begin != total_bits / 8) {
      throw fail("data_offsets do not agree with dtype and shape")
          .expected(fmt::format("{} bytes, found [{}, {}], {} bytes", total_bits / 8, entry_.begin, entry_.end,
                                entry_.end - entry_.begin));
    }
    header_.tensors.push_back(std::move(entry_));
  }

  std::string_view file_;
  SafetensorsHeader& header_;
  State state_ = State::start;
  Field field_ = Field::unknown;
  std::string key_;  // the last key of the root or of __metadata__
  bool metadata_seen_ = false;
  TensorEntry entry_;
  bool dtype_seen_ = false, shape_seen_ = false;
  std::optional<std::vector<std::uint64_t>> offsets_;
};

}  // namespace

void parse_header_json(std::string_view json, std::string_view file, SafetensorsHeader& header) {
  HeaderEvents events(file, header);
  parse_json(json, events);
}

}  // namespace winnow::checkpoint
