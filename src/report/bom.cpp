// CycloneDX 1.6 (ECMA-424), JSON: the models and adapters of an audit as components, with what they came from.
#include <fmt/format.h>

#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>

#include "facts.hpp"
#include "text.hpp"
#include "winnow/base/sha256.hpp"
#include "winnow/report/adapter_summary.hpp"
#include "winnow/report/render.hpp"

namespace winnow::report {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kTrainedOn =
    "The adapter was trained on one of its ancestors; the audit compared it with both and does not know which.";

/// Name and value, which are text.
Json property(std::string_view name, std::string_view value) {
  return {{"name", fmt::format("winnow:{}", name)}, {"value", value}};
}

Json model(std::string_view name) { return {{"type", "machine-learning-model"}, {"name", name}}; }

std::string last_component(const std::string& path) {
  const auto whole = std::filesystem::path(path).lexically_normal();
  auto name = (whole.has_filename() ? whole : whole.parent_path()).filename().string();
  return name.empty() ? path : name;
}

/// A checkpoint, without a reference: as an ancestor it stands in a component of its own. What the audit has of its
/// files are digests of headers and samples, which are no hashes of a file.
Json checkpoint(const Report& report, const std::string& role) {
  const auto path = text_attribute(report, role.c_str());
  auto component = model(last_component(path));
  if (role == "aligned" && has_checkpoint(report, "base")) {
    component["pedigree"] = {{"ancestors", {checkpoint(report, "base")}}};
  }
  component["properties"] = {property("role", role), property("path", path)};
  for (const auto* what : {"fingerprint", "sample"}) {
    component["properties"].push_back(property(what, text_attribute(report, fmt::format("{}_{}", role, what).c_str())));
  }
  return component;
}

/// The bom-ref of what adapters depend on; empty of an audit by probes alone.
std::string parent_of_adapters(const Report& report) {
  for (const auto* role : {"aligned", "base"}) {
    if (has_checkpoint(report, role)) return role;
  }
  return {};
}

Json measured(const Report& report, std::size_t n, const Metric& scores) {
  auto metrics = Json::array();
  const auto add = [&](const std::string& name, double value) {
    if (!std::isnan(value)) metrics.push_back({{"type", name}, {"value", fmt::format("{}", value)}});
  };
  if (report.find_of_adapters(scores.name) == nullptr) add(scores.name, scores.values[n]);
  for (const auto& metric : report.of_adapters) add(metric.name, metric.values[n]);
  return metrics;
}

Json adapter(const Report& report, std::size_t n, const Metric& scores) {
  const auto& row = report.adapters[n];
  auto component = model(row.name);
  component["bom-ref"] = fmt::format("adapter:{}", n);
  if (is_sha256(row.sha256)) component["hashes"] = {{{"alg", "SHA-256"}, {"content", row.sha256}}};
  if (const auto parent = parent_of_adapters(report); !parent.empty()) {
    component["pedigree"] = {{"ancestors", {checkpoint(report, parent)}}};
    if (has_checkpoint(report, "base") && has_checkpoint(report, "aligned")) {
      component["pedigree"]["notes"] = kTrainedOn;
    }
  }
  if (auto metrics = measured(report, n, scores); !metrics.empty()) {
    component["modelCard"] = {{"quantitativeAnalysis", {{"performanceMetrics", std::move(metrics)}}}};
  }
  auto& properties = component["properties"] = Json::array();
  properties.push_back(property("role", "adapter"));
  properties.push_back(property("path", row.path));
  properties.push_back(property("status", row.status));
  if (!row.reason.empty()) properties.push_back(property("quarantine_reason", row.reason));
  if (!row.digest.empty()) properties.push_back(property("digest", row.digest));
  properties.push_back(property("score_metric", scores.name));
  if (report.verdicts.empty()) return component;
  properties.push_back(property("verdict", verdict::name(report.verdicts[n].verdict)));
  properties.push_back(property("verdict_reason", report.verdicts[n].reason));
  return component;
}

/// Everything but the serial number.
Json bill(const Report& report) {
  Json winnow{{"type", "application"}, {"name", "winnow"}};
  if (const auto version = text_attribute(report, "winnow_version"); !version.empty()) winnow["version"] = version;
  Json metadata = Json::object();
  if (auto time = creation_time(report); !time.empty()) metadata["timestamp"] = std::move(time);
  metadata["tools"] = {{"components", {std::move(winnow)}}};
  for (const auto& probe : report.probes) {
    metadata["properties"].push_back(
        property("probe", fmt::format("{} {} {} {}", probe.effect, probe.form, probe.digest, probe.name)));
  }
  auto components = Json::array(), dependencies = Json::array();
  for (const auto* role : {"base", "aligned"}) {
    if (!has_checkpoint(report, role)) continue;
    components.push_back(checkpoint(report, role));
    components.back()["bom-ref"] = role;
  }
  const auto scores = adapter_scores(report);
  const auto parent = parent_of_adapters(report);
  const auto first = components.size();
  for (std::size_t n = 0; n < report.adapters.size(); ++n) {
    components.push_back(adapter(report, n, scores));
    if (parent.empty()) continue;
    dependencies.push_back({{"ref", components.back()["bom-ref"]}, {"dependsOn", Json::array({parent})}});
  }
  for (const auto& copy : report.copies) {
    components[first + copy.of]["properties"].push_back(property("copy", copy.path));
  }
  return {{"$schema", "http://cyclonedx.org/schema/bom-1.6.schema.json"},
          {"bomFormat", "CycloneDX"},
          {"specVersion", "1.6"},
          {"version", 1},
          {"metadata", std::move(metadata)},
          {"components", std::move(components)},
          {"dependencies", std::move(dependencies)}};
}

/// A UUID of the content (RFC 9562, version 8): the same bill has the same number.
std::string serial_number(std::string_view content) {
  auto hex = base::sha256_hex(content);
  hex[12] = '8';
  hex[16] = "89ab"[static_cast<std::size_t>(hex[16]) % 4];
  const std::string_view digits = hex;
  return fmt::format("urn:uuid:{}-{}-{}-{}-{}", digits.substr(0, 8), digits.substr(8, 4), digits.substr(12, 4),
                     digits.substr(16, 4), digits.substr(20, 12));
}

}  // namespace

std::string render_bom(const Report& report) {
  auto all = bill(report);
  const auto dump = [&] { return all.dump(1, ' ', false, Json::error_handler_t::replace) + "\n"; };
  all["serialNumber"] = serial_number(dump());
  return dump();
}

}  // namespace winnow::report
