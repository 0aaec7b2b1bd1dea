#include "shard_index.hpp"

#include <fmt/format.h>

#include <string_view>
#include <utility>

#include "json_events.hpp"
#include "winnow/base/error.hpp"
#include "winnow/base/text.hpp"

namespace winnow::checkpoint {
namespace {

using base::Error;
using base::ErrorKind;

class IndexEvents final : public JsonEvents {
 public:
  explicit IndexEvents(const std::string& path) : path_(path) {}

  std::map<std::string, std::string> take() {
    if (!weight_map_seen_) {
      throw refused("shard index has no weight_map").expected("{\"weight_map\": {tensor: shard}}");
    }
    return std::move(weight_map_);
  }

  void on_begin(Container container) override {
    const std::string_view found = container == Container::object ? "an object" : "an array";
    if (state_ == State::start) {
      if (container != Container::object) throw not_an_object(found);
      state_ = State::root;
    } else if (state_ == State::weight_map) {
      throw bad_shard(found);
    } else if (key_ != "weight_map") {
      skip();
    } else {
      if (container != Container::object) throw bad_weight_map(found);
      state_ = State::weight_map;
    }
  }
  void on_key(std::string& key) override {
    key_ = std::move(key);
    if (state_ == State::root && key_ == "weight_map" && std::exchange(weight_map_seen_, true)) {
      throw refused("weight_map appears twice in the shard index");
    }
  }
  void on_scalar(const JsonScalar& scalar) override {
    if (state_ == State::start) throw not_an_object(scalar.describe());
    if (state_ == State::root) {
      if (key_ == "weight_map") throw bad_weight_map(scalar.describe());
      return;
    }
    if (scalar.kind != JsonScalar::Kind::text) throw bad_shard(scalar.describe());
    check_shard_name(scalar.text);
    if (!weight_map_.emplace(key_, scalar.text).second) {
      throw refused("tensor appears twice in the shard index").tensor(key_).expected("each name once");
    }
  }
  void on_end() override { state_ = State::root; }
  Error bad_json(std::string_view reason) const override {
    return refused(fmt::format("shard index is not valid JSON: {}", reason)).advice("download it again");
  }
  Error bad_utf8(std::size_t offset) const override {
    return refused("shard index is not UTF-8")
        .expected(fmt::format("UTF-8 text, found another byte at offset {}", offset))
        .advice("download it again");
  }

 private:
  enum class State { start, root, weight_map };

  Error refused(std::string what) const { return Error(ErrorKind::invalid_input, std::move(what)).file(path_); }
  Error not_an_object(std::string_view found) const {
    return refused("shard index is not a JSON object").expected(fmt::format("an object, found {}", found));
  }
  Error bad_weight_map(std::string_view found) const {
    return refused("weight_map of the shard index is not an object")
        .expected(fmt::format("{{tensor: shard}}, found {}", found));
  }
  Error bad_shard(std::string_view found) const {
    return refused("shard index names no file for a tensor")
        .tensor(key_)
        .expected(fmt::format("the name of a shard, found {}", found));
  }
  // The index comes from the network: it must not make us read elsewhere.
  void check_shard_name(std::string_view shard) const {
    if (shard.empty() || shard.find('/') != std::string_view::npos || shard.find("..") != std::string_view::npos ||
        shard.find('\0') != std::string_view::npos) {
      throw refused(fmt::format("shard index names the file '{}'", base::abbreviated(shard, 200)))
          .tensor(key_)
          .expected("the name of a file beside the index, without '/' and '..'");
    }
    if (shard.ends_with(".bin")) {
      throw refused(fmt::format("shard index names the pickled file '{}'", base::abbreviated(shard, 200)))
          .tensor(key_)
          .advice("convert the checkpoint to safetensors");
    }
  }

  const std::string& path_;
  State state_ = State::start;
  std::string key_;
  bool weight_map_seen_ = false;
  std::map<std::string, std::string> weight_map_;
};

}  // namespace

std::map<std::string, std::string> parse_shard_index(const std::string& text, const std::string& path) {
  IndexEvents events(path);
  parse_json(text, events);
  return events.take();
}

}  // namespace winnow::checkpoint
