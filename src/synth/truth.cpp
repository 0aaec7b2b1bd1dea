#include "winnow/synth/truth.hpp"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "winnow/base/error.hpp"
#include "winnow/base/file.hpp"

namespace winnow::synth {
namespace {

constexpr std::uint64_t kMaxTruthBytes = 1'000'000'000;

/// read(json) of the file's content; what it cannot read is refused.
template <class Read>
void read_file(const std::string& path, const Read& read) {
  const auto refuse = [&](std::string_view found) {
    return base::Error(base::ErrorKind::invalid_input, "not a truth.json of winnow synth")
        .file(path)
        .expected(fmt::format(R"({{"schema_version": 1, "planted": [{{"adapter", "module", "kind"}} ...]}}, found {})",
                              found));
  };
  const auto text = base::read_text_file(path, kMaxTruthBytes);
  try {
    const auto json = nlohmann::json::parse(text);
    if (json.at("schema_version").get<int>() != 1) throw refuse("another schema_version");
    read(json, refuse);
  } catch (const nlohmann::json::exception& error) {
    throw refuse(error.what());
  }
}

}  // namespace

std::string truth_json(const std::vector<Planted>& planted, const std::vector<KindOfAdapter>& kinds) {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const auto& one : planted) {
    list.push_back({{"adapter", one.adapter}, {"module", one.module}, {"kind", name(one.kind)}});
  }
  nlohmann::ordered_json truth{{"schema_version", 1}, {"planted", list}};
  for (const auto& one : kinds) truth["adapters"].push_back({{"adapter", one.adapter}, {"kind", name(one.kind)}});
  return truth.dump(2) + "\n";
}

std::vector<Planted> read_truth(const std::string& path) {
  std::vector<Planted> planted;
  read_file(path, [&](const nlohmann::json& json, const auto& refuse) {
    for (const auto& one : json.at("planted")) {
      const auto kind = parse_planted_kind(one.at("kind").get<std::string>());
      if (!kind) throw refuse(fmt::format("kind {}", one.at("kind").dump()));
      planted.push_back({one.at("adapter").get<std::string>(), one.at("module").get<std::string>(), *kind});
    }
  });
  return planted;
}

std::vector<KindOfAdapter> read_adapter_kinds(const std::string& path) {
  std::vector<KindOfAdapter> kinds;
  read_file(path, [&](const nlohmann::json& json, const auto& refuse) {
    for (const auto& one : json.value("adapters", nlohmann::json::array())) {
      const auto kind = parse_adapter_kind(one.at("kind").template get<std::string>());
      if (!kind) throw refuse(fmt::format("kind {}", one.at("kind").dump()));
      kinds.push_back({one.at("adapter").template get<std::string>(), *kind});
    }
  });
  return kinds;
}

}  // namespace winnow::synth
