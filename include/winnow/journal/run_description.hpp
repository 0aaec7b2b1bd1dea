// What determines the scores of a run, as text: a journal belongs to one description and to no other.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "winnow/division/memory.hpp"
#include "winnow/input/inputs.hpp"
#include "winnow/report/report.hpp"
#include "winnow/run/measuring.hpp"
#include "winnow/run/reading.hpp"

namespace winnow::journal {

/// As JSON, the same text for the same run: both checkpoints, adapters with what their configurations make of them,
/// modules, options and program, as far as bits of the scores depend on them. Not how they are selected and written.
/// `facts`: versions of the program, by name. `arithmetic`: the backend with its kernels and libraries; `team`: ranks
/// that share a module.
std::string describe_run(const input::Inputs& inputs, const run::Reading& reading, const run::Measuring& measuring,
                         const std::map<std::string, report::Attribute>& facts, const division::MemoryBudget& budget,
                         std::string_view arithmetic, int team);

/// SHA-256, hex, of what the adapter's configuration and keys make of it beyond the bytes of its weights.
std::string layers_digest(const adapter::Adapter& adapter);

/// Ranks that share a module, of a description. Throws Error(invalid_input) if that is damaged; `path` names it.
int described_team(std::string_view description, const std::string& path);

/// How two descriptions differ, in words: "seed: 0 then, 1 now". Empty if they do not.
std::vector<std::string> differences(std::string_view then, std::string_view now, const std::string& path);

}  // namespace winnow::journal
