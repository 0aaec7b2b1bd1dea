#include "winnow/output/repairer.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "families.hpp"
#include "winnow/adapter/keys.hpp"
#include "winnow/adapter/lone_adapter.hpp"
#include "winnow/base/error.hpp"

namespace winnow::output {

using adapter::Adapter;
using adapter::LoraModule;
using base::Error;
using base::ErrorKind;

repair::Factors read(const Adapter& adapter, const LoraModule& module) {
  auto values = adapter::read_factors(adapter, module);
  return {module.out_features, module.in_features, module.rank, module.scale, std::move(values.b), std::move(values.a)};
}

std::optional<adapter::Replacement> replacement_of(
    const Adapter& adapter, const LoraModule& module,
    const std::function<repair::Factors(const repair::Factors& update)>& repaired) {
  const auto update = read(adapter, module);
  const auto& name = module.adapter_module();
  try {
    const auto result = repaired(update);
    if (result == update) return std::nullopt;
    return adapter::Replacement{name, result.rank,
                                adapter::encoded(module.lora_a.dtype, result.a, fmt::format("lora_A of {}", name)),
                                adapter::encoded(module.lora_b.dtype, result.b, fmt::format("lora_B of {}", name))};
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::invalid_input || !error.file().empty()) throw;
    throw Error(error.kind(), fmt::format("cannot repair {}: {}", name, error.what())).file(adapter.weights_file);
  }
}

/// Selected as it is, or in the parts that a checkpoint stores it in.
static bool is_among(const std::vector<std::string>& selected, const LoraModule& module) {
  return std::any_of(selected.begin(), selected.end(), [&](const std::string& name) {
    return name == module.adapter_module() ||
           (module.lora_b.step > 1 && adapter::whole_expert(name) == module.adapter_module());
  });
}

std::unique_ptr<Repairer> make_repairer(const run::ModuleRepair& repair, const base::Log& log) {
  run::check(repair);
  const auto& entry = repair::repair_of(repair.kind);
  if ((entry.needs & repair::kProbes) != 0) return by_probes(repair, log);
  if ((entry.needs & repair::kAdapters) != 0) return by_adapters(repair, log);
  return alone(repair);
}

adapter::WrittenReplacements write_repaired_adapter(Repairer& repairer, const std::string& source,
                                                    const std::string& destination,
                                                    const std::optional<std::vector<std::string>>& only,
                                                    const base::Log& log) {
  const auto adapter = repairer.open(source, log);
  if (!adapter.unjudged.empty()) {
    log.warn(fmt::format("{}: {} of its modules stay as they are, the first {}: {}", source, adapter.unjudged.size(),
                         adapter.unjudged.front().module, adapter.unjudged.front().reason));
  }
  std::vector<adapter::Replacement> replacements;
  for (const auto& module : adapter.modules) {
    if (only && !is_among(*only, module)) continue;
    if (!repairer.reaches(module)) continue;
    auto made = replacement_of(adapter, module, [&](const auto& update) { return repairer.repaired(module, update); });
    if (made) replacements.push_back(*std::move(made));
  }
  return adapter::write_replaced_adapter(source, destination, replacements, repairer.note(), adapter.sha256);
}

}  // namespace winnow::output
