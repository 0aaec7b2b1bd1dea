// Writes a copy of an adapter in which some LoRA modules have new factors.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "winnow/base/dtype.hpp"

namespace winnow::adapter {

/// New factors of one LoRA module, little-endian in the dtypes of its tensors. The module's scale stays what it was,
/// whatever the rank: dW = s * B * A.
struct Replacement {
  std::string module;           ///< as the adapter names it, without base_model.model.
  std::uint64_t rank = 0;       ///< 0: nothing is left of the update
  std::vector<std::byte> a, b;  ///< rank x in, out x rank, row-major
};

/// `values` in `dtype`. Throws Error(invalid_input), naming `what`, for a value that the dtype cannot hold.
std::vector<std::byte> encoded(base::DType dtype, std::span<const double> values, const std::string& what);

/// What winnow.json says of how the factors were made: the repair's name and its settings.
struct RepairNote {
  std::string repair;
  std::vector<std::pair<std::string, std::string>> settings;
};

struct WrittenReplacements {
  std::size_t replaced = 0, kept = 0;             ///< LoRA modules
  std::uint64_t rank_before = 0, rank_after = 0;  ///< the largest of any module
  std::string limits;                             ///< what other programs do not make of it
};

/// Writes the adapter in `source` to `destination` with new factors for the modules in `replacements`; all other
/// tensors and the order of all of them stay, bit for bit. The directory is written as write_pruned_adapter() does it:
/// whole or not at all, with the same companions, and what is in its place is refused alike.
///
/// A rank never falls: what is missing is filled with zeros, which keeps shapes and configuration. If all modules of
/// an adapter without patterns are replaced, all get the largest rank among them. The configuration changes only if
/// a rank has risen:
///
///     r, lora_alpha    r is the largest rank, lora_alpha / r (or / sqrt r) what it was: vLLM takes this scale for
///     every
///                      module. Both stay if target_parameters is used, which patterns do not reach
///     rank_pattern, alpha_pattern    an entry with the full name of every module that would get another rank or scale
///                      otherwise, before those there were: PEFT takes the first that matches
///
/// `sha256` is that of the weights that the factors were made of: hours may lie between. Throws Error(invalid_input) if
/// the source has another one now, for a module that the adapter does not have, that has more than lora_A, lora_B and a
/// bias, or whose rank would rise although PEFT targets it as a parameter; Error(usage) for the destination;
/// Error(runtime) for an I/O error and for factors of the wrong size.
WrittenReplacements write_replaced_adapter(const std::string& source, const std::string& destination,
                                           const std::vector<Replacement>& replacements, const RepairNote& note,
                                           const std::string& sha256);

}  // namespace winnow::adapter
