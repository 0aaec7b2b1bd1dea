// The tensors of an adapter's file by what becomes of them. Private to src/adapter.
#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <vector>

#include "base_layers.hpp"
#include "file_factors.hpp"
#include "whole_weights.hpp"
#include "winnow/adapter/adapter.hpp"
#include "winnow/checkpoint/catalogue.hpp"

namespace winnow::adapter {

/// What is judged of a file beside plain LoRA.
struct Judged {
  bool dense = false;          ///< whole weights, base weights, and of DoRA its magnitudes
  bool could_be_dense = true;  ///< they would be beside the aligned weights: the reason of a skipped one says so
  bool is_dora = false;        ///< by its configuration
  bool low_rank_part = false;  ///< of a DoRA adapter is enough
};

/// Pointers are into the catalogue of the file.
struct AdapterTensors {
  std::map<std::string, FileFactors> factors;                           ///< of two dimensions, by module
  std::map<std::string, const checkpoint::TensorLocation*> magnitudes;  ///< of DoRA, by module
  WholeWeights whole_weights;
  BaseLayers base_layers;
  std::vector<SkippedTensor> skipped;
  std::map<std::string, UnjudgedModule> unjudged;  ///< by module
  std::size_t unprefixed = 0;                      ///< keys without base_model.model.
  bool has_prefixed = false;                       ///< keys with it
  bool whole_weight_is_loaded = false;             ///< by PEFT, of some module
  bool dora = false;                               ///< magnitudes were skipped

  /// Takes `module`, which has factors, out of what is judged.
  void leave_out(const std::string& module, const std::string& reason);
  void skip(const FileFactors& module, const std::string& reason);
};

/// Sorts the tensors of `file` into `to`, which is filled as far as it went if it throws Error(invalid_input): for
/// factors of a variant of LoRA, of more than one adapter, or twice the same.
void sort_tensors(const checkpoint::Catalogue& file, const std::string& weights_file, const Judged& judged,
                  AdapterTensors& to);

}  // namespace winnow::adapter
