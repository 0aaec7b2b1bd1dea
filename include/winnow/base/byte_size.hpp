// Sizes in bytes as people write them.
#pragma once

#include <cstdint>
#include <string_view>

namespace winnow::base {

/// "4GiB", "512 MiB", "1.5TiB", "800MB", "4G" (as Slurm and GNU tools: binary), "65536". Throws Error(usage) naming
/// `option` if it is none of these, or 2^63 bytes or more.
std::uint64_t parse_byte_size(std::string_view text, std::string_view option);

}  // namespace winnow::base
