#include "places.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "../text.hpp"

namespace winnow::report::sarif {
namespace {

constexpr const char *kZoo = "ZOO", *kAuditDirectory = "AUDIT_DIRECTORY";

bool has_dots(const std::vector<std::string>& parts, std::size_t first) {
  return std::find(parts.begin() + static_cast<std::ptrdiff_t>(first), parts.end(), "..") != parts.end();
}

Json description(std::string text) { return {{"description", {{"text", std::move(text)}}}}; }

}  // namespace

std::string percent_encoded(std::string_view bytes) {
  std::string out;
  for (const char c : bytes) {
    const bool is_letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    if (is_letter || std::string_view("-._~/").find(c) != std::string_view::npos) {
      out += c;
    } else {
      out += fmt::format("%{:02X}", static_cast<unsigned char>(c));
    }
  }
  return out;
}

Places::Path Places::parse(std::string_view path) {
  Path parsed{path.starts_with('/'), {}};
  while (!path.empty()) {
    const auto part = path.substr(0, path.find('/'));
    path.remove_prefix(std::min(path.size(), part.size() + 1));
    if (part.empty() || part == ".") continue;
    const bool is_up = part == "..";
    if (is_up && !parsed.parts.empty() && parsed.parts.back() != "..") {
      parsed.parts.pop_back();
    } else if (!is_up || !parsed.absolute) {  // above the root is the root
      parsed.parts.emplace_back(part);
    }
  }
  return parsed;
}

std::string Places::joined(const std::vector<std::string>& parts, std::size_t first) {
  std::string text;
  for (auto i = first; i < parts.size(); ++i) text += (i == first ? "" : "/") + percent_encoded(parts[i]);
  return text;
}

Places::Places(const Report& report) {
  std::vector<Path> all;
  for (const auto& row : report.adapters) all.push_back(parse(row.path));
  for (const auto& copy : report.copies) all.push_back(parse(copy.path));
  std::optional<Path> root;
  for (auto path : all) {
    if (!path.parts.empty()) path.parts.pop_back();  // the adapter's own
    if (!root) {
      root = std::move(path);
      continue;
    }
    is_alike_ = is_alike_ && path.absolute == root->absolute;
    const auto end = std::mismatch(root->parts.begin(), root->parts.end(), path.parts.begin(), path.parts.end()).first;
    root->parts.erase(end, root->parts.end());
  }
  if (root) root_ = *std::move(root);
  is_alike_ = is_alike_ && std::none_of(all.begin(), all.end(),
                                        [&](const Path& path) { return has_dots(path.parts, root_.parts.size()); });
  if (!is_alike_) root_ = {};
}

Json Places::location(const std::string& path, std::string_view file) const {
  auto parsed = parse(path);
  if (!file.empty()) parsed.parts.emplace_back(file);
  if (parsed.absolute && !is_alike_) return {{"uri", "file:///" + joined(parsed.parts, 0)}};
  const bool is_in_zoo = is_alike_ && (root_.absolute || !root_.parts.empty());
  return {{"uri", joined(parsed.parts, root_.parts.size())}, {"uriBaseId", is_in_zoo ? kZoo : kAuditDirectory}};
}

Json Places::bases() const {
  const auto root = joined(root_.parts, 0);
  const auto slash = root.empty() ? "" : "/";
  auto bases = Json::object();
  if (is_alike_ && root_.absolute) {
    bases[kZoo] = {{"uri", fmt::format("file:///{}{}", root, slash)}};
    return bases;
  }
  bases[kAuditDirectory] = description("The directory that the audit was run in.");
  if (root.empty()) return bases;
  // A base must not lead upwards (SARIF 3.14.14): whoever reads the log says where it is.
  if (has_dots(root_.parts, 0)) {
    bases[kZoo] = description(fmt::format("The directory {}, seen from where the audit was run.", root));
  } else {
    bases[kZoo] = {{"uri", root + slash}, {"uriBaseId", kAuditDirectory}};
  }
  return bases;
}

}  // namespace winnow::report::sarif
