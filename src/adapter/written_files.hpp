// What every adapter that is written here has in common: its files' names, what goes with it, what others make of it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "staged_directory.hpp"
#include "winnow/adapter/peft_config.hpp"
#include "winnow/base/file.hpp"
#include "winnow/checkpoint/safetensors_writer.hpp"

namespace winnow::adapter {

inline constexpr const char* kConfigFile = "adapter_config.json";
inline constexpr const char* kWeightsFile = "adapter_model.safetensors";
/// Of winnow.json: what check_destination() knows an output by.
inline constexpr const char* kMarkerKey = "pruned_adapter";

/// The path of a plain file in an adapter's directory. Throws Error(invalid_input) if there is none.
std::string existing_file(const std::string& directory, const char* name);

/// A new file, flushed to the device.
void write_text(const std::string& path, std::string_view text);

/// Appends `bytes` bytes of `in` from `offset` as they are, in constant memory.
void copy_bytes(const base::File& in, std::uint64_t offset, std::uint64_t bytes, checkpoint::SafetensorsWriter& out);

/// `count` rows of `from` bytes each, with zeros behind them up to `to`.
std::vector<std::byte> with_zero_columns(const std::vector<std::byte>& rows, std::uint64_t count, std::uint64_t from,
                                         std::uint64_t to);

/// Model card, licence and tokenizer of `source`; never a second copy of its weights.
void copy_companions(const std::string& source, const StagedDirectory& staged);

/// What llama.cpp does not make of an adapter with this configuration; empty if it makes all of it.
std::string limits_of(const PeftConfig& config);

}  // namespace winnow::adapter
