// What schema 1 calls things and how it documents them, shared by the writer and the reader. Private to src/report.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace winnow::report::schema {

/// The dimension scales: datasets of names in the root group, linked into the groups that use them, so that a group
/// opened on its own (xarray: group="metrics") has named dimensions and coordinates.
inline constexpr std::string_view kAdapterScale = "adapter", kModuleScale = "module", kStageScale = "record",
                                  kShardScale = "shard", kProbeScale = "probe", kBankScale = "member",
                                  kCopyScale = "copy", kAttentionScale = "attention", kHeadScale = "head",
                                  kHeadlessScale = "headless";

/// Columns of /modules that the groups of [adapters, modules] have as well: auxiliary coordinates (CF conventions 1.11,
/// section 5), so that values can be grouped by layer and role without a look at another group.
inline constexpr std::array<std::string_view, 2> kModuleCoordinates{"layer", "role"};
inline constexpr const char *kCoordinates = "coordinates", *kCoordinateNames = "layer role";

/// Members of /metrics that are no metrics.
inline bool is_axis(std::string_view name) {
  return name == kAdapterScale || name == kModuleScale ||
         std::find(kModuleCoordinates.begin(), kModuleCoordinates.end(), name) != kModuleCoordinates.end();
}

/// Attributes of /heads.
inline constexpr const char *kQueryHeads = "num_attention_heads", *kKeyHeads = "num_key_value_heads",
                            *kHeadWidth = "head_dim";

inline constexpr const char* kVerdictRate = "false_discovery_rate";  ///< attribute of /adapters/verdict

inline constexpr std::array<std::uint8_t, 3> kActionValues{0, 1, 2};
inline constexpr std::string_view kActionMeanings = "none keep prune";
inline constexpr std::array<std::uint32_t, 4> kFlagMasks{1, 2, 4, 8};
inline constexpr std::string_view kFlagMeanings = "no_alignment_signal non_finite out_of_range passes_disagree";

/// What HDF5's deflate can shrink at most (RFC 1951: 258 bytes in 2 bits), rounded up: a dataset that claims more
/// elements than its stored bytes can hold is damaged, and is refused before memory is asked for.
inline constexpr std::uint64_t kLargestCompression = 1040;

/// A report ends with this, 64 hexadecimal digits and a line feed, after HDF5's own end of file, where every HDF5
/// program ignores it: the SHA-256 of all bytes before. HDF5 checks its metadata only in part and dereferences what it
/// did not check, so a damaged report must be found before HDF5 sees it. A program that changes the file cuts this off.
inline constexpr std::string_view kSealPrefix = "\nwinnow report sha256 ";
inline constexpr std::size_t kSealBytes = kSealPrefix.size() + 64 + 1;

}  // namespace winnow::report::schema
