#include "winnow/input/inputs.hpp"

#include <algorithm>
#include <map>
#include <utility>

#include "adapter_notes.hpp"
#include "open_adapters.hpp"
#include "winnow/base/error.hpp"
#include "winnow/comm/together.hpp"
#include "winnow/input/checkpoints.hpp"
#include "winnow/input/unchanged.hpp"

namespace winnow::input {
namespace {

using run::Means;
using run::Measuring;
using run::Reading;
using run::Stopping;

std::vector<std::string> adapter_directories(const Reading& reading, const base::Log& log,
                                             const std::function<void()>& between) {
  auto directories = reading.adapters;
  if (!reading.zoo.empty()) {
    const auto found = adapter::find_adapters(reading.zoo, reading.strict, log, between);
    directories.insert(directories.end(), found.begin(), found.end());
  }
  return directories;
}

/// What the coordinator alone reads: `references`, and where the adapters are. `between` is called with each of many
/// directories and files that are looked at.
std::string find_and_serialise(const References& references, const Reading& reading,
                               std::map<std::string, base::FileState>& adapter_files, const base::Log& log,
                               const std::function<void()>& between) {
  base::ByteWriter out;
  references.base.serialise(out);
  references.aligned.serialise(out);
  references.probe_names.serialise(out);
  out.put<std::uint64_t>(references.probes.size());
  for (const auto& probe : references.probes) probe.serialise(out);
  references.model.serialise(out);
  const auto directories = adapter_directories(reading, log, between);
  adapter_files = references.probe_files;
  adapter_files.merge(states_of_adapters(directories, between));
  out.put<std::uint64_t>(directories.size());
  for (const auto& directory : directories) out.put(directory);
  return std::move(out).bytes();
}

/// On the coordinator: named apart, talked about, ready to be sent to all.
std::string settle_adapters(std::vector<adapter::Adapter> adapters, bool strict, std::vector<Copy>& copies,
                            const base::Log& log) {
  if (strict) std::for_each(adapters.begin(), adapters.end(), require_whole);
  copies = drop_repeated(adapters, log);
  adapter::assign_unique_names(adapters);
  for (const auto& adapter : adapters) tell_about(adapter, log);
  base::ByteWriter out;
  adapter::serialise(adapters, out);
  return std::move(out).bytes();
}

/// Of a direction's square blocks of experts neither a shape nor a kind of model tells how they are stored.
void refuse_square_experts(const ProbeInput& probe, const checkpoint::ModelConfig& model) {
  if (!model.model_type.empty()) return;
  for (const auto& [name, location] : probe.weights.experts) {
    if (location.shape.at(0) != location.shape.at(1)) continue;
    throw base::Error(base::ErrorKind::invalid_input, "a direction's experts are square")
        .file(probe.source.path)
        .tensor(name)
        .expected("a config.json beside them, which tells how they are stored")
        .advice("copy the model's config.json to the direction");
  }
}

}  // namespace

References read_references(const Reading& reading, const base::Log& log, const std::function<void()>& between) {
  References all;
  auto checkpoints = read_checkpoints(reading.base, reading.aligned, log);
  all.base = std::move(checkpoints.base);
  all.aligned = std::move(checkpoints.aligned);
  all.model = std::move(checkpoints.model);
  std::vector<std::string> probe_adapters;
  for (const auto& source : reading.probes) {
    if (source.form == probes::Form::adapter) probe_adapters.push_back(source.path);
  }
  all.probe_files = states_of_adapters(probe_adapters, between);
  all.probes = open_probes(reading.probes, log);
  for (const auto& probe : all.probes) {
    if (all.model.model_type.empty() && probe.is_direction()) {
      all.model = checkpoint::read_model_config(probe.source.path);
    }
  }
  for (const auto& probe : all.probes) refuse_square_experts(probe, all.model);
  if (!reading.has_checkpoint()) all.probe_names = names_of(all.probes);
  auto adapter_options = reading.adapter;
  adapter_options.whole_model = reading.has_checkpoint();
  adapter_options.dense = false;  // of a probe what is low-rank counts
  const auto& names = reading.has_pair() ? all.base : reading.has_checkpoint() ? all.aligned : all.probe_names;
  map_probes(all.probes, names, all.model, adapter_options, log);
  refuse_equal(all.probes);
  return all;
}

Inputs read_inputs(const Reading& reading, const Measuring& measuring, const Means& means, const Stopping& stopping,
                   comm::Communicator& world, const base::Log& log, const References* references) {
  Inputs inputs;
  const auto between = [&] { world.peers().keep_alive(); };
  const auto headers = comm::from_coordinator(world, [&] {
    auto read = references == nullptr ? read_references(reading, log, between) : References{};
    if (references == nullptr && measuring.heads) find_heads(read, reading);
    return find_and_serialise(references == nullptr ? read : *references, reading, inputs.adapter_files, log, between);
  });
  std::vector<std::string> directories;
  comm::run_together(world, [&] {
    base::ByteReader in(headers);
    inputs.base = checkpoint::Catalogue::deserialise(in);
    inputs.aligned = checkpoint::Catalogue::deserialise(in);
    inputs.probe_names = checkpoint::Catalogue::deserialise(in);
    for (auto count = in.get<std::uint64_t>(); count > 0; --count) {
      inputs.probes.push_back(ProbeInput::deserialise(in));
    }
    inputs.model = checkpoint::ModelConfig::deserialise(in);
    if (!measuring.heads) inputs.model.heads = {};
    directories.resize(in.get<std::uint64_t>());
    for (auto& directory : directories) directory = in.get_string();
  });
  auto opened = open_adapters(directories, inputs, reading.adapter, means, stopping, world, log);
  const auto adapters = comm::from_coordinator(
      world, [&] { return settle_adapters(std::move(opened), reading.strict, inputs.copies, log); });
  comm::run_together(world, [&] {
    base::ByteReader in(adapters);
    inputs.adapters = adapter::deserialise_adapters(in);
    std::vector<Standing> before;
    for (const auto& adapter : inputs.adapters) before.push_back({adapter.status, adapter.unjudged});
    map_modules(inputs, measuring.subspace_rank, run::sums_of(reading, measuring));
    for (std::size_t n = 0; n < before.size(); ++n) {
      const auto& adapter = inputs.adapters[n];
      if (reading.strict) require_whole(adapter);
      if (world.is_coordinator()) tell_of_change(before[n], adapter, log);
    }
  });
  return inputs;
}

}  // namespace winnow::input
