// The checkpoints that adapters are held against: two of one model, or the aligned one alone.
#pragma once

#include <optional>
#include <string>

#include "winnow/base/error.hpp"
#include "winnow/base/log.hpp"
#include "winnow/checkpoint/catalogue.hpp"
#include "winnow/checkpoint/model_config.hpp"

namespace winnow::input {

struct Checkpoints {
  checkpoint::Catalogue base, aligned;  ///< without a shard if there is no such checkpoint
  checkpoint::ModelConfig model;        ///< of the base, or of the aligned one alone

  const checkpoint::Catalogue& names() const { return base.shards.empty() ? aligned : base; }
};

/// Reads their headers; `base`, or both directories, may be empty. Throws Error(usage) for two names of one directory,
/// Error(invalid_input) for a checkpoint that cannot be used and for two of different models.
Checkpoints read_checkpoints(const std::string& base, const std::string& aligned, const base::Log& log);

/// Why the checkpoints have nothing under this name to be computed on; nothing if they have. `names` are those on
/// which adapters are mapped, of the base or of the aligned checkpoint alone, and have the weight.
std::optional<base::Error> weight_fault(const checkpoint::Catalogue& names,
                                        const checkpoint::Catalogue& aligned_weights, const std::string& weight);

}  // namespace winnow::input
