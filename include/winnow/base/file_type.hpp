// What there is at a path.
#pragma once

#include <filesystem>

namespace winnow::base {

/// Links are followed; not_found for nothing, and below what is not a directory. Throws Error(runtime) if that
/// cannot be found out: what may not be looked at is neither missing nor of another kind, and saying so would send
/// people the wrong way.
std::filesystem::file_type type_of(const std::filesystem::path& path);

}  // namespace winnow::base
