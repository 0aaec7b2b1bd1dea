// truth.json: what is misaligned in a family.
//
//     {"schema_version": 1,
//      "planted":  [{"adapter": .., "module": .., "kind": ..}, ..]     single modules (planting.hpp)
//      "adapters": [{"adapter": .., "kind": ..}, ..]}                  all modules (adapter_kind.hpp); mostly absent
#pragma once

#include <string>
#include <vector>

#include "winnow/synth/adapter_kind.hpp"
#include "winnow/synth/planting.hpp"

namespace winnow::synth {

std::string truth_json(const std::vector<Planted>& planted, const std::vector<KindOfAdapter>& kinds);
/// Throws Error(invalid_input) naming the file for anything truth_json would not write.
std::vector<Planted> read_truth(const std::string& path);
/// The adapters of one kind in every module. Throws likewise.
std::vector<KindOfAdapter> read_adapter_kinds(const std::string& path);

}  // namespace winnow::synth
