#include "winnow/base/same_file.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "winnow/base/error.hpp"

namespace winnow::base {
namespace {

namespace fs = std::filesystem;

fs::path canonical(const std::string& path) {
  std::error_code error;
  auto whole = fs::weakly_canonical(fs::absolute(path), error);
  if (error) throw Error(ErrorKind::runtime, "cannot look at file").file(path).os_error(error.value());
  return whole.has_filename() ? whole : whole.parent_path();
}

/// Or the same.
bool lies_in(const fs::path& directory, const fs::path& path) {
  return std::mismatch(directory.begin(), directory.end(), path.begin(), path.end()).first == directory.end();
}

}  // namespace

void require_not_an_input(const std::string& output, const std::string& input, std::string_view option) {
  std::error_code ignored;
  if (!fs::equivalent(output, input, ignored) && !lies_in(canonical(output), canonical(input))) return;
  throw Error(ErrorKind::usage, fmt::format("{} would replace what is read", option))
      .file(output)
      .expected(fmt::format("another place than that of {}", input))
      .advice("choose another");
}

}  // namespace winnow::base
