#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "winnow/base/error.hpp"
#include "winnow/base/file.hpp"
#include "winnow/synth/planting.hpp"

namespace winnow::synth {
namespace {

constexpr std::uint64_t kMaxTruthBytes = 1'000'000'000;

}  // namespace

std::string truth_json(const std::vector<Planted>& planted) {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const auto& one : planted) {
    list.push_back({{"adapter", one.adapter}, {"module", one.module}, {"kind", name(one.kind)}});
  }
  return nlohmann::ordered_json{{"schema_version", 1}, {"planted", list}}.dump(2) + "\n";
}

std::vector<Planted> read_truth(const std::string& path) {
  const auto refuse = [&](std::string_view found) {
    return base::Error(base::ErrorKind::invalid_input, "not a truth.json of winnow synth")
        .file(path)
        .expected(fmt::format(R"({{"schema_version": 1, "planted": [{{"adapter", "module", "kind"}} ...]}}, found {})",
                              found));
  };
  const auto text = base::read_text_file(path, kMaxTruthBytes);
  std::vector<Planted> planted;
  try {
    const auto json = nlohmann::json::parse(text);
    if (json.at("schema_version").get<int>() != 1) throw refuse("another schema_version");
    for (const auto& one : json.at("planted")) {
      const auto kind = parse_planted_kind(one.at("kind").get<std::string>());
      if (!kind) throw refuse(fmt::format("kind {}", one.at("kind").dump()));
      planted.push_back({one.at("adapter").get<std::string>(), one.at("module").get<std::string>(), *kind});
    }
  } catch (const nlohmann::json::exception& error) {
    throw refuse(error.what());
  }
  return planted;
}

}  // namespace winnow::synth
