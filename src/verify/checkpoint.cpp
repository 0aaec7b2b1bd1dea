#include "checkpoint.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "winnow/adapter/mapping.hpp"
#include "winnow/base/error.hpp"
#include "winnow/base/file_type.hpp"
#include "winnow/checkpoint/catalogue.hpp"

namespace winnow::verify {

namespace fs = std::filesystem;
using base::Error;
using base::ErrorKind;

std::string text_of(const report::Report& report, const std::string& attribute) {
  const auto found = report.attributes.find(attribute);
  if (found == report.attributes.end()) return {};
  const auto* text = std::get_if<std::string>(&found->second);
  return text == nullptr ? std::string() : *text;
}

CheckpointCheck::CheckpointCheck(const report::Report& report, const std::string& role, const std::string& given,
                                 Jobs& jobs, const base::Log& log) {
  const auto recorded = text_of(report, role);
  if (text_of(report, role + "_fingerprint").empty()) {
    if (given.empty()) return;
    throw Error(ErrorKind::usage, fmt::format("--{} says nothing: the audit of this report had none", role))
        .file(given)
        .advice(fmt::format("leave out --{}", role));
  }
  const auto& directory = given.empty() ? recorded : given;
  title_ = fmt::format("{} {}", role, directory);
  if (base::type_of(directory) == fs::file_type::not_found) {
    if (!given.empty()) throw Error(ErrorKind::invalid_input, "no such checkpoint directory").file(given);
    known_.push_back({title_, {}, fmt::format("not there and not checked; --{} DIR says where it is", role)});
    return;
  }
  try {
    plan(report, role, directory, jobs, log);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::invalid_input) throw;
    known_.push_back({title_, {{error.what(), State::changed}}, {}, true});
  }
}

void CheckpointCheck::plan(const report::Report& report, const std::string& role, const std::string& directory,
                           Jobs& jobs, const base::Log& log) {
  const auto weights = checkpoint::read_checkpoint(directory, log);
  const bool has_headers = weights.fingerprint == text_of(report, role + "_fingerprint");
  const bool has_samples = weights.sample == text_of(report, role + "_sample");
  known_.push_back({"headers and samples of " + title_,
                    {{"headers", has_headers ? State::same : State::changed, "names, sizes or headers of the shards"},
                     {"samples", has_samples ? State::same : State::changed, "bytes of tensors, scored ones or not"}},
                    {},
                    true});
  for (const auto& module : report.modules) {
    const auto& digest = role == "base" ? module.base_digest : module.aligned_digest;
    if (digest.empty()) continue;
    Tensor tensor{module.name + ".weight", {}, digest};
    const auto* location = weights.find(tensor.name);
    // A whole head that the model ties was compared with its embedding.
    if (location == nullptr && adapter::is_output_head(module.name)) {
      if (const auto tied = adapter::find_module(module.name, weights, {})) {
        location = tied->location;
        tensor.name = tied->weight;
      }
    }
    if (location != nullptr) {
      tensor.is_there = true;
      tensor.job = jobs.tensors.size();
      tensor.file = weights.shards.at(location->shard).path;
      const auto rows = location->shape.empty() ? 1 : std::max<std::uint64_t>(location->shape.front(), 1);
      jobs.tensors.push_back({tensor.file, tensor.name, location->offset, rows, location->bytes / rows});
    }
    tensors_.push_back(std::move(tensor));
  }
}

std::vector<Kind> CheckpointCheck::compare(const Found& found) const {
  auto kinds = known_;
  if (tensors_.empty()) return kinds;
  Kind scored{"tensors of " + title_, {}, {}, false, "tensor of " + title_};
  for (const auto& tensor : tensors_) {
    const bool is_same = tensor.is_there && found.tensors.at(tensor.job).text() == tensor.digest;
    const auto state = !tensor.is_there ? State::missing : is_same ? State::same : State::changed;
    scored.items.push_back(
        {tensor.name, state, tensor.is_there ? "in " + fs::path(tensor.file).filename().string() : std::string()});
  }
  kinds.push_back(std::move(scored));
  return kinds;
}

}  // namespace winnow::verify
