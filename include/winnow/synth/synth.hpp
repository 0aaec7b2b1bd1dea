// Synthetic model families with planted truth: a base model, its aligned version, adapters, some of whose modules are
// misaligned in a documented way. Same seed, same bytes, whatever the number of ranks or threads.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "winnow/base/log.hpp"
#include "winnow/synth/adapter_kind.hpp"
#include "winnow/synth/model.hpp"
#include "winnow/synth/planting.hpp"

namespace winnow::synth {

struct SynthOptions {
  ModelShape shape;  ///< `layers` already replaced by --layers if given
  std::uint64_t adapters = 1;
  std::uint64_t rank = 16;
  std::uint64_t misaligned = 0;    ///< planted modules per adapter, kinds in turn
  std::vector<AdapterKind> kinds;  ///< further adapters, of one kind in every module
  std::uint64_t each = 1;          ///< of each of `kinds`
  std::uint64_t seed = 0;
  std::string output;         ///< DIR
  bool headers_only = false;  ///< all weights zero, as holes: of any size, for what reads headers alone
  int threads = 0;            ///< of this rank; 0: the cores there are, shared among all ranks
};

/// Throws Error(usage) for options that cannot be met: no adapters, rank 0 or above the hidden size, more misaligned
/// modules than there are, layers 0, no output directory, misaligned modules or kinds of adapters without weights.
void check_options(const SynthOptions& options);

/// Writes this rank's share of the family, every file atomically, whole files a rank in turn:
///
///     DIR/synth.json            the options; marks DIR as made by synth
///     DIR/base, DIR/aligned     config.json, model.safetensors.index.json, shards (bf16)
///     DIR/adapters/adapter-000  adapter_config.json, adapter_model.safetensors (bf16), all seven roles of every layer
///     DIR/adapters/KIND-000     of a kind, with the modules that it has (adapter_kind.hpp)
///     DIR/truth.json            the planted modules, and which adapters are of which kind
///
/// The family is complete when all ranks have returned. DIR must be absent, empty, or made by synth with the same
/// options (then its files are written again): Error(usage) otherwise. Needs no communication between ranks. Memory:
/// some tens of MB and, per thread, one module's A and B in float64. Throws Error(runtime) for an I/O error.
void synthesise(const SynthOptions& options, int rank, int ranks, const base::Log& log);

std::string adapter_name(std::uint64_t index);                    ///< adapter-000
std::string adapter_name(AdapterKind kind, std::uint64_t index);  ///< ablated-000

}  // namespace winnow::synth
