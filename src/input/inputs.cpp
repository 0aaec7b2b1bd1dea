#include "winnow/input/inputs.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <optional>
#include <set>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "open_adapters.hpp"
#include "winnow/adapter/mapping.hpp"
#include "winnow/base/error.hpp"
#include "winnow/comm/together.hpp"
#include "winnow/compute/factor_stack.hpp"
#include "winnow/compute/weight_sums.hpp"
#include "winnow/input/checkpoints.hpp"
#include "winnow/input/module_names.hpp"
#include "winnow/input/unchanged.hpp"
#include "winnow/methods/method.hpp"

namespace winnow::input {
namespace {

using base::Error;
using base::ErrorKind;
using run::Means;
using run::Measuring;
using run::Reading;
using run::Stopping;
using LoraList = base::SharedList<adapter::LoraModule>;

std::vector<std::string> adapter_directories(const Reading& reading, const base::Log& log,
                                             const std::function<void()>& between) {
  auto directories = reading.adapters;
  if (!reading.zoo.empty()) {
    const auto found = adapter::find_adapters(reading.zoo, reading.strict, log, between);
    directories.insert(directories.end(), found.begin(), found.end());
  }
  return directories;
}

Error refused_adapter(const adapter::Adapter& adapter) {
  const bool named = adapter.reason.find(adapter.path) != std::string::npos;
  return Error(ErrorKind::invalid_input, adapter.reason)
      .file(named ? "" : adapter.path)
      .advice("leave out --strict to quarantine it and score the rest");
}

Error refused_module(const adapter::Adapter& adapter, const adapter::UnjudgedModule& module) {
  return Error(ErrorKind::invalid_input, fmt::format("module {} cannot be judged: {}", module.module, module.reason))
      .file(adapter.path)
      .advice("leave out --strict to score the rest");
}

/// With --strict, for an adapter that cannot be scored or one of which a part cannot.
void require_whole(const adapter::Adapter& adapter) {
  if (adapter.status == adapter::AdapterStatus::quarantined) throw refused_adapter(adapter);
  for (const auto& module : adapter.unjudged) {
    if (module.mismatch) throw refused_module(adapter, module);
  }
  if (adapter.skipped.empty()) return;
  const auto& first = adapter.skipped.front();
  throw Error(ErrorKind::invalid_input,
              fmt::format("{} of the adapter cannot be judged, the first: {}",
                          adapter.skipped.size() == 1 ? "a tensor" : fmt::format("{} tensors", adapter.skipped.size()),
                          first.reason))
      .file(adapter.weights_file)
      .tensor(first.key)
      .advice("leave out --strict to score the rest");
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

void tell_about(const adapter::Adapter& adapter, const base::Log& log) {
  if (adapter.status == adapter::AdapterStatus::quarantined) {
    log.warn(fmt::format("adapter {} is quarantined: {}", adapter.name, adapter.reason));
  }
  if (!adapter.warnings.empty()) log.warn(fmt::format("adapter {}: {}", adapter.name, adapter.warnings));
  if (!adapter.skipped.empty()) {
    // One line an adapter: the same reason holds for most of its skipped tensors.
    const auto& first = adapter.skipped.front();
    log.info(fmt::format("adapter {}: {} tensor{} not scored, the first {}: {}", adapter.name, adapter.skipped.size(),
                         adapter.skipped.size() == 1 ? "" : "s", first.key, first.reason));
  }
}

struct Standing {
  adapter::AdapterStatus status;
  base::SharedList<adapter::UnjudgedModule> unjudged;
};

/// What pairing the checkpoints made of an adapter.
void tell_of_change(const Standing& before, const adapter::Adapter& now, const base::Log& log) {
  if (now.status != before.status) {
    log.warn(fmt::format("adapter {} is quarantined: {}", now.name, now.reason));
  } else if (now.unjudged.size() > before.unjudged.size()) {
    const auto is_new = [&](const auto& module) {
      return std::none_of(before.unjudged.begin(), before.unjudged.end(),
                          [&](const auto& known) { return known.module == module.module; });
    };
    const auto first = std::find_if(now.unjudged.begin(), now.unjudged.end(), is_new);
    const auto count = now.unjudged.size() - before.unjudged.size();
    log.warn(fmt::format("adapter {}: {} module{} not judged, the first {}: {}", now.name, count,
                         count == 1 ? " is" : "s are", first->module, first->reason));
  }
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

/// The weights that cannot be compared, and why. One that every adapter needs is a fault of the checkpoints, and
/// thrown: they are no pair. Otherwise the adapters that need it lose that module, and the others nothing. Nor is it
/// the pair's fault if the aligned model has a larger vocabulary, which many have.
std::map<std::string, Error> unpaired_weights(const Inputs& inputs) {
  std::map<const void*, std::pair<const LoraList*, std::size_t>> lists;  // and of how many adapters each is
  std::size_t scored = 0;
  for (const auto& adapter : inputs.adapters) {
    if (adapter.status != adapter::AdapterStatus::ok) continue;
    ++scored;
    auto& [list, count] = lists[adapter.modules.id()];
    list = &adapter.modules;
    ++count;
  }
  std::map<std::string, std::size_t> users;
  std::set<std::string> heads;
  for (const auto& [id, list] : lists) {
    for (const auto& lora : *list.first) {
      users[lora.weight()] += list.second;
      if (adapter::is_output_head(lora.adapter_module())) heads.insert(lora.weight());
    }
  }
  std::map<std::string, Error> faults;
  for (const auto& [weight, count] : users) {
    auto fault = weight_fault(inputs.names(), inputs.aligned, weight);
    if (!fault) continue;
    if (count == scored && !heads.contains(weight)) throw *std::move(fault);
    faults.emplace(weight, *std::move(fault));
  }
  return faults;
}

/// Takes modules that cannot be compared out of their adapters. An adapter of which nothing is left is quarantined.
void leave_out_unpaired(Inputs& inputs) {
  const auto faults = unpaired_weights(inputs);
  if (faults.empty()) return;
  const auto is_unpaired = [&](const adapter::LoraModule& lora) { return faults.contains(lora.weight()); };
  std::map<const void*, LoraList> left;  // of each list that has such modules, which adapters share as before
  std::vector<LoraList> kept_alive;      // so that no other list takes the place of one in memory
  for (auto& adapter : inputs.adapters) {
    const auto first = std::find_if(adapter.modules.begin(), adapter.modules.end(), is_unpaired);
    if (first == adapter.modules.end()) continue;
    const auto& reason = faults.at(first->weight());
    adapter.unjudged.edit([&](auto& unjudged) {
      for (auto lora = first; lora != adapter.modules.end(); ++lora) {
        const auto fault = faults.find(lora->weight());
        if (fault != faults.end()) unjudged.push_back({lora->adapter_module(), fault->second.summary(), true});
      }
      std::sort(unjudged.begin(), unjudged.end(), [](const auto& a, const auto& b) { return a.module < b.module; });
    });
    const auto [known, is_new] = left.try_emplace(adapter.modules.id(), adapter.modules);
    if (is_new) {
      kept_alive.push_back(adapter.modules);
      known->second.edit([&](auto& modules) { std::erase_if(modules, is_unpaired); });
    }
    adapter.modules = known->second;
    if (!adapter.modules.empty() || !adapter.dense.empty()) continue;
    adapter.status = adapter::AdapterStatus::quarantined;
    adapter.reason = reason.what();
    adapter.unjudged.clear();
  }
}

/// A square weight shows its orientation only by an adapter's fan_in_fan_out. If adapters contradict each other, the
/// later ones are set aside: scored against the transposed weight they would get plausible, wrong numbers.
void quarantine_contradicting_orientation(Inputs& inputs) {
  std::map<std::string_view, std::pair<bool, std::string_view>> seen;  // module -> stored_transposed, first adapter
  std::set<const void*> agreeing;                                      // lists that contradict nothing
  for (auto& adapter : inputs.adapters) {
    if (adapter.status != adapter::AdapterStatus::ok || agreeing.contains(adapter.modules.id())) continue;
    for (const auto& lora : adapter.modules) {
      const auto& [transposed, first] =
          seen.try_emplace(lora.module(), lora.stored_transposed, adapter.name).first->second;
      if (transposed == lora.stored_transposed) continue;
      adapter.status = adapter::AdapterStatus::quarantined;
      adapter.reason =
          fmt::format("fan_in_fan_out contradicts that of adapter {} for the square weight {}", first, lora.weight());
      break;
    }
    if (adapter.status == adapter::AdapterStatus::ok) agreeing.insert(adapter.modules.id());
  }
}

/// What adapters have on one module.
struct Layers {
  std::string module;
  std::vector<LayerRef> lora, dense;  ///< by adapter
};

/// The modules of all scored adapters in layer order, and the layers on each by adapter.
std::vector<Layers> layers_by_module(const Inputs& inputs) {
  std::vector<Layers> by_module;
  std::unordered_map<std::string_view, std::size_t> places;
  std::unordered_map<const void*, std::vector<std::size_t>> places_of_list;  // of its modules, in its order
  const auto add = [&](std::uint32_t n, const auto& list, std::vector<LayerRef> Layers::*kind) {
    auto& of_list = places_of_list[list.id()];
    for (std::uint32_t k = 0; k < list.size(); ++k) {
      if (k == of_list.size()) {
        const auto& name = list[k].module();
        const auto [place, is_new] = places.emplace(name, by_module.size());
        if (is_new) by_module.push_back({name, {}, {}});
        of_list.push_back(place->second);
      }
      (by_module[of_list[k]].*kind).push_back({n, k});
    }
  };
  for (std::uint32_t n = 0; n < inputs.adapters.size(); ++n) {
    const auto& adapter = inputs.adapters[n];
    if (adapter.status != adapter::AdapterStatus::ok) continue;
    add(n, adapter.modules, &Layers::lora);
    add(n, adapter.dense, &Layers::dense);
  }
  std::sort(by_module.begin(), by_module.end(), [](const auto& a, const auto& b) {
    if (comes_before(a.module, b.module)) return true;
    return !comes_before(b.module, a.module) && a.module < b.module;
  });
  return by_module;
}

/// What a probe that is an adapter has on this module; null if it has nothing.
const adapter::LoraModule* lora_of(const ProbeInput& probe, const std::string& module) {
  const auto& modules = probe.adapter.modules;  // sorted by name
  const auto found = std::lower_bound(modules.begin(), modules.end(), module,
                                      [](const auto& lora, const auto& name) { return lora.module() < name; });
  return found != modules.end() && found->module() == module ? &*found : nullptr;
}

/// The columns of the probes that are adapters and have this module.
std::uint64_t probe_columns(const Inputs& inputs, const std::string& module) {
  std::uint64_t columns = 0;
  for (const auto& probe : inputs.probes) {
    if (const auto* lora = lora_of(probe, module)) columns += lora->rank;
  }
  return columns;
}

/// H = W^T*B takes one, K = W*A^T another.
std::uint32_t weight_sweeps(std::uint32_t sums) {
  if ((sums & methods::kWeightSums) == 0) return 0;
  return (sums & methods::kWeightRightSums) != 0 ? 2 : 1;
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

/// One for each operand that has the module.
void add_tasks(Inputs& inputs, const std::string& module, const std::vector<LayerRef>& layers,
               std::uint64_t subspace_rank, std::uint32_t sums) {
  const auto& lora = inputs.lora(layers.front());
  slab::ModuleTask task;
  task.name = module;
  task.weight = lora.weight();
  task.stored_transposed = lora.stored_transposed;
  task.out_features = lora.out_features;
  task.in_features = lora.in_features;
  for (const auto& layer : layers) task.stacked_columns += inputs.lora(layer).rank;
  if (inputs.has_checkpoint()) {
    auto own = task;
    own.weight_sweeps = weight_sweeps(sums);
    own.sweeps = own.weight_sweeps;
    if ((sums & methods::kWeightSketchSums) != 0) {
      own.weight_sketch_columns = compute::weight_sketch_columns(lora.out_features, lora.in_features);
    }
    own.aligned = *inputs.aligned.find(lora.weight());  // the mapping found it there
    if (inputs.has_pair()) {
      own.sweeps += 2;
      own.entries = (sums & methods::kEntrySums) != 0;
      own.base = *inputs.base.find(lora.weight());
      const auto directions = (sums & methods::kSubspaceSums) != 0 ? subspace_rank : 0;
      own.sketch_columns = compute::sketch_columns(directions, lora.out_features, lora.in_features);
    }
    own.stacked_columns += own.largest_sketch();
    inputs.tasks.push_back(std::move(own));
  }
  task.heads = checkpoint::heads_of_module(module, lora.out_features, lora.in_features, inputs.model.heads).ranges;
  for (std::uint32_t k = 0; k < inputs.probes.size(); ++k) {
    if (!inputs.probes[k].is_direction()) continue;
    const auto* tensor = tensor_of(inputs.probes[k], lora.weight(), inputs.names().find(lora.weight())->shape);
    if (tensor == nullptr) continue;
    auto along = task;
    along.aligned = *tensor;
    along.source = k + 1;
    along.sweeps = 1;
    inputs.tasks.push_back(std::move(along));
  }
  if (const auto columns = probe_columns(inputs, module); columns > 0) {
    task.source = static_cast<std::uint32_t>(inputs.probes.size()) + 1;
    task.sweeps = 0;
    task.probe_columns = columns;
    inputs.tasks.push_back(std::move(task));
  }
}

/// How the weight of dense updates is stored: as LoRA on it says, of an adapter or a probe, else as its name does.
void orient(slab::ModuleTask& task, const Inputs& inputs, const std::vector<LayerRef>& lora) {
  const adapter::LoraModule* other = lora.empty() ? nullptr : &inputs.lora(lora.front());
  for (std::size_t k = 0; k < inputs.probes.size() && other == nullptr; ++k) {
    other = lora_of(inputs.probes[k], task.name);
  }
  if (other == nullptr || other->stored_transposed == task.stored_transposed) return;
  task.stored_transposed = other->stored_transposed;
  std::swap(task.out_features, task.in_features);
}

/// One for all dense updates of a module. A probe that does not fit says nothing of them: with LoRA on the module it
/// has been refused, and otherwise what one adapter ships must not end the run of all.
void add_dense_task(Inputs& inputs, const Layers& layers) {
  const auto& update = inputs.dense(layers.dense.front());
  const auto& weight = update.names->weight;
  slab::ModuleTask task;
  task.name = layers.module;
  task.weight = weight;
  task.stored_transposed = update.stored_transposed;
  task.out_features = update.out_features;
  task.in_features = update.in_features;
  orient(task, inputs, layers.lora);
  task.source = inputs.dense_source();
  task.sweeps = 0;
  task.aligned = *inputs.aligned.find(weight);  // the mapping found it there
  if (const auto* base = inputs.base.find(weight);
      base != nullptr && base->shape == task.aligned.shape && base::is_computable(base->dtype)) {
    task.base = *base;
  }
  for (std::uint32_t k = 0; k < inputs.probes.size(); ++k) {
    if (inputs.probes[k].is_direction()) {
      const auto* tensor = inputs.probes[k].weights.find(weight);
      if (tensor == nullptr || tensor->shape != task.aligned.shape || !base::is_computable(tensor->dtype)) continue;
      task.further.push_back({k + 1, *tensor});
    } else if (const auto* lora = lora_of(inputs.probes[k], layers.module)) {
      if (fits(*lora, task)) task.probe_columns += lora->rank;
    }
  }
  task.dense_updates = layers.dense.size();
  for (const auto& layer : layers.dense) task.update_bytes += inputs.layer_bytes(task, layer);
  inputs.tasks.push_back(std::move(task));
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

void map_modules(Inputs& inputs, std::uint64_t subspace_rank, std::uint32_t sums) {
  if (inputs.has_checkpoint()) leave_out_unpaired(inputs);
  quarantine_contradicting_orientation(inputs);
  for (const auto& layers : layers_by_module(inputs)) {
    inputs.first_task.push_back(inputs.tasks.size());
    if (!layers.lora.empty()) add_tasks(inputs, layers.module, layers.lora, subspace_rank, sums);
    inputs.layers.resize(inputs.tasks.size(), layers.lora);
    if (!layers.dense.empty()) add_dense_task(inputs, layers);
    inputs.layers.resize(inputs.tasks.size(), layers.dense);
    inputs.module_of.resize(inputs.tasks.size(), inputs.first_task.size() - 1);
  }
}

}  // namespace winnow::input
