// LoRA on fused experts as an adapter's file holds it: two factors for all experts of a layer. Private to src/adapter.
//
//     target_parameters  mlp.experts.gate_up_proj, mlp.experts.down_proj
//     keys               mlp.experts.base_layer.lora_A   [experts * r, in]    of the first parameter of the module
//                        mlp.experts.lora_A              [experts * r, in']   of the second: PEFT wraps one in the
//                        other
//     expert e           A: rows e*r to e*r + r;  B [out, r * experts]: columns e, experts + e, 2 * experts + e, ...
//
// Source: peft 0.21, tuners/lora/layer.py, ParamWrapper; the order is that of the parameters in the model.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "file_factors.hpp"
#include "winnow/adapter/adapter.hpp"
#include "winnow/adapter/patterns.hpp"
#include "winnow/adapter/peft_config.hpp"

namespace winnow::adapter {

struct ExpertBlock {
  std::string parameter;  ///< model.layers.0.mlp.experts.gate_up_proj
  std::string wrapper;    ///< what its keys name: model.layers.0.mlp.experts.base_layer
  FileFactors factors;
  std::uint64_t experts = 0, rank = 0;

  std::uint64_t out_features() const { return factors.b->shape[0]; }
  std::uint64_t in_features() const { return factors.a->shape[1]; }
};

/// Part of an expert: `rows` of its lora_B from `first_row` on, and the whole of its lora_A.
struct ExpertPart {
  std::uint64_t expert = 0, first_row = 0, rows = 0;
};

/// Factors of a parameter that are not judged.
struct RefusedFactors {
  FileFactors factors;
  std::string reason;
};

struct ExpertBlocks {
  std::vector<ExpertBlock> blocks;                ///< by parameter
  std::map<std::string, RefusedFactors> refused;  ///< by wrapper
};

/// The blocks among `factors`, which are those of all LoRA modules of the file, by what their keys name; they are taken
/// out of it. The number of experts follows from the rank that `rules` give the parameter. Throws Error(invalid_input)
/// for factors that make no update, naming `weights_file`.
ExpertBlocks take_expert_blocks(std::map<std::string, FileFactors>& factors, const PeftConfig& config,
                                const ScalingRules& rules, const std::string& weights_file);

/// All LoRA modules of a file that have factors of two dimensions.
struct FileModules {
  checkpoint::Catalogue file;                  ///< which the others point into
  std::map<std::string, FileFactors> factors;  ///< plain ones, by what their keys name
  ExpertBlocks experts;
};

/// Reads the header of `weights_file`. Throws as take_expert_blocks() and read_safetensors_file() do.
FileModules read_modules(const std::string& weights_file, const PeftConfig& config);

/// How a checkpoint may store the experts of a parameter: as slices of a block, or each by itself, in parts one below
/// the other. Module names with the number 0 for the expert; the first form of which it has all parts is the one.
std::vector<std::vector<std::string>> expert_forms(const ExpertBlock& block);

/// `module`, which has the expert's number before its last part, for another expert.
std::string with_expert(std::string_view module, std::uint64_t expert);

/// Where the factors of a part lie.
FactorLocation lora_a_of(const ExpertBlock& block, const ExpertPart& part);
FactorLocation lora_b_of(const ExpertBlock& block, const ExpertPart& part);

/// How many parts the block's experts have in the form that names `module`; 1 if none does.
std::size_t parts_of(const ExpertBlock& block, std::string_view module);

/// The part that `module`, a module of an expert as an adapter names it, is of one of `blocks`; nullptr if of none.
const ExpertBlock* find_part(std::span<const ExpertBlock> blocks, std::string_view module, ExpertPart& part);

}  // namespace winnow::adapter
