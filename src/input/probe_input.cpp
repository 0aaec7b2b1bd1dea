#include "winnow/input/probe_input.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <map>
#include <utility>

#include "winnow/adapter/lone_adapter.hpp"
#include "winnow/adapter/treatment.hpp"
#include "winnow/base/error.hpp"
#include "winnow/base/file.hpp"
#include "winnow/base/sha256.hpp"
#include "winnow/checkpoint/holds_checkpoint.hpp"

namespace winnow::input {
namespace {

namespace fs = std::filesystem;
using base::Error;
using base::ErrorKind;
using checkpoint::Catalogue;
using checkpoint::TensorLocation;

std::string shape_text(const std::vector<std::uint64_t>& shape) { return fmt::format("[{}]", fmt::join(shape, ", ")); }

/// The modules of an adapter, stored as the model's weights are.
Catalogue modules_of(const std::string& directory) {
  const auto config_file = (fs::path(directory) / "adapter_config.json").string();
  const auto weights_file = (fs::path(directory) / "adapter_model.safetensors").string();
  const auto config =
      adapter::parse_peft_config(base::read_text_file(config_file, adapter::kMaxConfigBytes), config_file, base::Log());
  return adapter::modules_in(weights_file, config);
}

Error refused(const ProbeInput& probe, std::string_view reason, ErrorKind kind = ErrorKind::invalid_input) {
  return Error(kind, fmt::format("a probe cannot be used: {}", reason))
      .file(reason.find(probe.source.path) != reason.npos ? "" : probe.source.path);
}

ProbeInput open(const probes::Source& source, const base::Log& log) {
  ProbeInput probe;
  probe.source = source;
  try {
    if (probe.is_direction()) {
      probe.weights = checkpoint::read_checkpoint(source.path, log);
      probe.digest = base::sha256_hex(probe.weights.fingerprint + probe.weights.sample);
    } else {
      adapter::require_adapter_files(source.path);
      probe.weights = modules_of(source.path);
    }
  } catch (const Error& error) {
    const bool absent = error.os_error() == ENOENT || error.os_error() == ENOTDIR;
    if (error.kind() != ErrorKind::invalid_input && !absent) throw;
    if (!probe.is_direction() && !adapter::holds_adapter(source.path) && checkpoint::holds_checkpoint(source.path)) {
      throw refused(probe, "it is shaped like a checkpoint, not an adapter").advice("give it as --direction");
    }
    if (probe.is_direction() && adapter::holds_adapter(source.path) && !checkpoint::holds_checkpoint(source.path)) {
      throw refused(probe, "it is an adapter, not shaped like a checkpoint").advice("give it as --probe");
    }
    throw refused(probe, error.what());
  }
  return probe;
}

/// Whether one of two probes is an adapter on fused experts that the other, a direction, stores [in, out].
bool is_transposed_block(const ProbeInput& one, const ProbeInput& other, const std::string& name) {
  if (one.is_direction() == other.is_direction()) return false;
  const auto& direction = one.is_direction() ? one : other;
  const auto& adapter = one.is_direction() ? other : one;
  if (!direction.weights.experts.contains(name)) return false;
  const auto* of_direction = direction.weights.find(name);
  const auto* of_adapter = adapter.weights.find(name);
  return of_direction->shape[0] == of_adapter->shape[1] && of_direction->shape[1] == of_adapter->shape[0];
}

}  // namespace

void ProbeInput::serialise(base::ByteWriter& out) const {
  out.put(source.effect);
  out.put(source.form);
  out.put(source.path);
  out.put(name);
  out.put(digest);
  weights.serialise(out);
  adapter.serialise(out);
}

ProbeInput ProbeInput::deserialise(base::ByteReader& in) {
  ProbeInput probe;
  probe.source.effect = in.get<probes::Effect>();
  probe.source.form = in.get<probes::Form>();
  probe.source.path = in.get_string();
  probe.name = in.get_string();
  probe.digest = in.get_string();
  probe.weights = Catalogue::deserialise(in);
  probe.adapter = adapter::Adapter::deserialise(in);
  return probe;
}

std::vector<ProbeInput> open_probes(const std::vector<probes::Source>& sources, const base::Log& log) {
  std::vector<ProbeInput> probes;
  std::vector<adapter::Adapter> named(sources.size());
  for (std::size_t k = 0; k < sources.size(); ++k) {
    named[k].path = fs::path(sources[k].path).lexically_normal().string();
    if (named[k].path.size() > 1 && named[k].path.back() == '/') named[k].path.pop_back();
    const auto twice = std::find_if(probes.begin(), probes.end(), [&](const ProbeInput& other) {
      std::error_code ignored;
      return other.source.form == sources[k].form && fs::equivalent(other.source.path, sources[k].path, ignored);
    });
    if (twice != probes.end()) throw Error(ErrorKind::usage, "a probe is given twice").file(sources[k].path);
    probes.push_back(open(sources[k], log));
  }
  adapter::assign_unique_names(named);
  for (std::size_t k = 0; k < probes.size(); ++k) probes[k].name = named[k].name;
  return probes;
}

Catalogue names_of(const std::vector<ProbeInput>& probes) {
  Catalogue names;
  std::map<std::string, std::size_t> first;  // probe that has the module
  for (std::size_t k = 0; k < probes.size(); ++k) {
    const auto add = [&](const std::string& name, const TensorLocation& location) {
      const auto [known, is_new] = names.tensors.emplace(name, location);
      if (is_new) {
        first.emplace(name, k);
      } else if (known->second.shape == location.shape) {
        return;
      } else if (const auto other = first.at(name); is_transposed_block(probes[other], probes[k], name)) {
        if (!probes[k].is_direction()) return;
        known->second = location;  // an adapter does not tell how its experts are stored
        first[name] = k;
      } else {
        throw Error(ErrorKind::invalid_input, "two probes differ in the shape of a weight")
            .file(probes[k].source.path)
            .tensor(name)
            .expected(fmt::format("{} as in {}, found {}", shape_text(known->second.shape),
                                  probes[first.at(name)].source.path, shape_text(location.shape)))
            .advice("give probes of one model");
      }
    };
    for (const auto* table : {&probes[k].weights.tensors, &probes[k].weights.experts}) {
      for (const auto& [name, location] : *table) add(name, location);
    }
  }
  // Where a tensor lies is a matter of the probe; here it is a name, a shape and whose they are.
  for (const auto& probe : probes) names.shards.push_back({probe.source.path, 0, {}});
  for (auto& [name, location] : names.tensors) location.shard = first.at(name);
  return names;
}

void map_probes(std::vector<ProbeInput>& probes, const Catalogue& names, const checkpoint::ModelConfig& model,
                const adapter::AdapterOptions& options, const base::Log& log) {
  for (auto& probe : probes) {
    if (probe.is_direction()) continue;
    auto opened = adapter::open_adapter(probe.source.path, names, model, options, base::Log());
    if (const auto dora = adapter::dora_reason(); opened.reason.find(dora) != std::string::npos) {
      opened.reason =
          dora + "; --dora takes its low-rank part alone, or make a direction of it (merged weights less the model's)";
    }
    if (opened.status == adapter::AdapterStatus::ok && !opened.skipped.empty()) {
      log.warn(fmt::format("probe {}: {} of its tensors {} no part of it, the first {}: {}", probe.name,
                           opened.skipped.size(), opened.skipped.size() == 1 ? "is" : "are", opened.skipped.front().key,
                           opened.skipped.front().reason));
    }
    if (opened.status != adapter::AdapterStatus::ok) {
      // Storage that is away for a while makes no probe a bad one.
      throw refused(probe, opened.reason, opened.is_unreadable ? ErrorKind::runtime : ErrorKind::invalid_input);
    }
    probe.digest = opened.digest;
    probe.adapter = std::move(opened);
  }
}

void refuse_equal(const std::vector<ProbeInput>& probes) {
  std::map<std::string, const ProbeInput*> known;
  for (const auto& probe : probes) {
    if (probe.is_direction()) continue;  // of which the digest is one of a part
    const auto [other, is_new] = known.emplace(probe.digest, &probe);
    if (is_new) continue;
    throw Error(ErrorKind::usage, "a probe is given twice")
        .file(probe.source.path)
        .expected(fmt::format("probes that differ, found the content of {}", other->second->source.path));
  }
}

const TensorLocation* tensor_of(const ProbeInput& direction, const std::string& weight,
                                const std::vector<std::uint64_t>& shape) {
  const auto* location = direction.weights.find(weight);
  if (location == nullptr) return nullptr;
  const auto path = direction.weights.shards.at(location->shard).path;
  if (location->shape != shape) {
    throw Error(ErrorKind::invalid_input, "a direction differs from the weight in shape")
        .file(path)
        .tensor(weight)
        .expected(fmt::format("{}, found {}", shape_text(shape), shape_text(location->shape)))
        .advice("make it of the model that the adapters are for");
  }
  if (!base::is_computable(location->dtype)) {
    throw Error(ErrorKind::invalid_input, fmt::format("a direction of dtype {}", base::name(location->dtype)))
        .file(path)
        .tensor(weight)
        .expected("BF16, F16, F32 or F64");
  }
  return location;
}

}  // namespace winnow::input
