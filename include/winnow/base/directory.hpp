// What a directory holds.
#pragma once

#include <filesystem>
#include <system_error>
#include <vector>

namespace winnow::base {

/// The entries of `directory`, links followed, sorted by name. Looked at anew if a signal comes between, which network
/// file systems let through. If that fails, `error` says why, with what was seen until then; otherwise it is cleared.
std::vector<std::filesystem::directory_entry> entries_of(const std::filesystem::path& directory,
                                                         std::error_code& error);

}  // namespace winnow::base
