// What a directory holds.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

namespace winnow::base {

/// The entries of `directory`, links followed, sorted by name. Looked at anew if a signal comes between, which network
/// file systems let through. If that fails, `error` says why, with what was seen until then; otherwise it is cleared.
std::vector<std::filesystem::directory_entry> entries_of(const std::filesystem::path& directory,
                                                         std::error_code& error);

/// For what is made if it is not there. Throws Error(usage), naming `option`, if `path` or the nearest there is
/// above it is no directory. Returns that nearest one. Writes nothing.
std::filesystem::path require_directory_or_nothing(const std::string& path, std::string_view option);

}  // namespace winnow::base
