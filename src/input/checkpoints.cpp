#include "winnow/input/checkpoints.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <filesystem>
#include <utility>
#include <vector>

#include "winnow/checkpoint/model_kind.hpp"

namespace winnow::input {
namespace {

using base::Error;
using base::ErrorKind;

/// Every module of a model is as aligned as it was: scores would be noise.
void refuse_same_checkpoint(const std::string& base, const std::string& aligned) {
  std::error_code ignored;
  if (!std::filesystem::equivalent(base, aligned, ignored)) return;
  throw Error(ErrorKind::usage, "--base and --aligned are the same checkpoint")
      .file(aligned)
      .expected("a model before and after its alignment");
}

/// Shapes may agree all the same, and every module would be scored against a difference that no alignment made.
void refuse_unlike_models(const checkpoint::ModelConfig& base, const checkpoint::ModelConfig& aligned,
                          const std::string& base_directory, const std::string& aligned_directory) {
  if (!checkpoint::differ_in_kind(base, aligned)) return;
  throw Error(ErrorKind::invalid_input, "the two checkpoints are of different models")
      .file((std::filesystem::path(aligned_directory) / "config.json").string())
      .expected(fmt::format("model_type {} as in {}, found {}", base.model_type, base_directory, aligned.model_type))
      .advice("give one model before and after its alignment");
}

std::string shape_text(const std::vector<std::uint64_t>& shape) { return fmt::format("[{}]", fmt::join(shape, ", ")); }

/// Embeddings, output heads and what else follows the vocabulary.
constexpr std::size_t kMostUnlike = 4;

/// One matrix may differ, such as a vocabulary that has grown. If most do, every adapter would be told that it does not
/// fit, and nothing that the checkpoints do not fit each other.
void refuse_unlike_shapes(const checkpoint::Catalogue& base, const checkpoint::Catalogue& aligned) {
  std::size_t common = 0, unlike = 0;
  const std::string* first = nullptr;
  for (const auto& [name, location] : base.tensors) {
    const auto* other = aligned.find(name);
    if (other == nullptr || location.shape.size() < 2) continue;
    ++common;
    if (other->shape == location.shape) continue;
    ++unlike;
    if (first == nullptr) first = &name;
  }
  if (2 * unlike <= common || unlike < kMostUnlike) return;
  const auto &here = *aligned.find(*first), &there = *base.find(*first);
  throw Error(
      ErrorKind::invalid_input,
      fmt::format("the two checkpoints are of different models: {} of {} matrices differ in shape, such as this",
                  unlike, common))
      .file(aligned.shards.at(here.shard).path)
      .tensor(*first)
      .expected(fmt::format("{} as in {}, found {}", shape_text(there.shape), base.directory, shape_text(here.shape)))
      .advice("give one model before and after its alignment");
}

}  // namespace

Checkpoints read_checkpoints(const std::string& base, const std::string& aligned, const base::Log& log) {
  Checkpoints read;
  if (!base.empty()) {
    refuse_same_checkpoint(base, aligned);
    read.base = checkpoint::read_checkpoint(base, log);
  }
  if (!aligned.empty()) {
    read.aligned = checkpoint::read_checkpoint(aligned, log);
    read.model = checkpoint::read_model_config(aligned);
  }
  if (!base.empty()) {
    const auto aligned_model = std::exchange(read.model, checkpoint::read_model_config(base));
    refuse_unlike_models(read.model, aligned_model, base, aligned);
    refuse_unlike_shapes(read.base, read.aligned);
  }
  return read;
}

std::optional<Error> weight_fault(const checkpoint::Catalogue& names, const checkpoint::Catalogue& aligned_weights,
                                  const std::string& weight) {
  const auto& base = *names.find(weight);  // the mapping found it there
  const auto* aligned = aligned_weights.find(weight);
  if (aligned == nullptr) {
    return Error(ErrorKind::invalid_input, "the aligned checkpoint lacks a tensor of the base checkpoint")
        .file(aligned_weights.directory)
        .tensor(weight)
        .expected("two checkpoints of one architecture");
  }
  if (aligned->shape != base.shape) {
    return Error(ErrorKind::invalid_input, "the two checkpoints differ in the shape of a tensor")
        .file(aligned_weights.shards.at(aligned->shard).path)
        .tensor(weight)
        .expected(
            fmt::format("{} as in the base checkpoint, found {}", shape_text(base.shape), shape_text(aligned->shape)));
  }
  for (const auto* pair : {&base, aligned}) {
    if (!base::is_computable(pair->dtype)) {
      const auto& catalogue = pair == &base ? names : aligned_weights;
      return Error(ErrorKind::invalid_input,
                   fmt::format("weights of dtype {} cannot be audited", base::name(pair->dtype)))
          .file(catalogue.shards.at(pair->shard).path)
          .tensor(weight)
          .expected("BF16, F16, F32 or F64");
    }
  }
  return std::nullopt;
}

}  // namespace winnow::input
