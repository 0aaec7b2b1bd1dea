// Where the adapters of a report lie, as SARIF says it: URIs relative to a directory that is named once. Private to
// src/report.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "winnow/report/report.hpp"

namespace winnow::report::sarif {

using Json = nlohmann::ordered_json;

/// `bytes` as part of a path of a URI (RFC 3986): all but unreserved characters and "/" is percent-encoded.
std::string percent_encoded(std::string_view bytes);

/// A report holds paths as they were given. Relative ones are relative to where the audit was run, which no report
/// tells; a reader of the log says what that is.
class Places {
 public:
  explicit Places(const Report& report);

  /// An artifactLocation: `file` in the directory `path`, or the directory itself if `file` is empty.
  Json location(const std::string& path, std::string_view file) const;
  Json bases() const;  ///< originalUriBaseIds

 private:
  struct Path {
    bool absolute = false;
    std::vector<std::string> parts;  ///< ".." at the beginning of a relative one alone
  };
  static Path parse(std::string_view path);
  static std::string joined(const std::vector<std::string>& parts, std::size_t first);

  bool is_alike_ = true;  ///< all paths are below root_
  Path root_;             ///< directory of all adapters
};

}  // namespace winnow::report::sarif
