// Writes a pruned copy of an adapter that PEFT, vLLM and llama.cpp load.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace winnow::adapter {

/// How a pruned LoRA module is taken out (src/methods/README.md).
enum class Repair : std::uint8_t {
  drop,  ///< A and B removed, the rest listed by full path in target_modules: the layer disappears
  zero,  ///< B (and lora_B.bias) zeroed, shapes kept
};

struct WrittenAdapter {
  bool written = false;  ///< false if every module was pruned: no adapter is written then
  std::size_t kept = 0, pruned = 0;
  std::string limits;  ///< what other programs do not make of it; an audit has said so when it opened the adapter
};

/// In a directory written here: what was pruned, from which file. Tells an output from an adapter of the user's.
inline constexpr const char* kMarkerFile = "winnow.json";

/// Whether there is an earlier output to replace. Throws Error(usage) if there is something else: an audit asks
/// before its hours of work.
bool check_destination(const std::string& directory);

/// Writes the adapter in `source` to the directory `destination` with the LoRA modules in `pruned` (as the adapter
/// names them, without base_model.model.) taken out. All other tensors are copied bit for bit, in constant memory.
///
///     adapter_model.safetensors   drop: without any tensor of the pruned modules; zero: their B all zero
///     adapter_config.json         drop: target_modules lists the rest by full path, layers_to_transform,
///     layers_pattern
///                                 and exclude_modules are cleared, and so are entries of rank_pattern and
///                                 alpha_pattern that match none of the rest (PEFT warns of those). All else stays,
///                                 order included; patterns match by name and so mean the same. zero: as it was
///     winnow.json                 the marker
///     *.json *.md *.txt *.model *.jinja LICENSE NOTICE     copied: model card, licence, tokenizer. Nothing else is:
///                                 not a second copy of the weights, no optimizer state, no pickles, no subdirectories
///
/// The directory appears whole or not at all: written to a temporary sibling, flushed, then renamed. An existing
/// `destination` is refused (Error(usage)) unless it is empty or an adapter this function wrote, which is replaced, or
/// removed if there is no adapter to write. Missing parents are made.
/// Throws Error(invalid_input) for a module the adapter does not have, a source that is no adapter, and `zero` on a
/// DoRA module (whose magnitude would stay); Error(runtime) for an I/O error.
WrittenAdapter write_pruned_adapter(const std::string& source, const std::string& destination,
                                    const std::vector<std::string>& pruned, Repair repair);

}  // namespace winnow::adapter
