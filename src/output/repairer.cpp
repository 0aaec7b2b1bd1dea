#include "winnow/output/repairer.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <string_view>
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

namespace {

/// The part of a module's outputs that is selected.
struct Selected {
  std::uint64_t first_row = 0, rows = 0;
};

/// Modules as they are, or the parts that a checkpoint stores them in: of an expert's gate_up_proj its gate, the upper
/// half of it, or up.
class Selection {
 public:
  explicit Selection(const std::optional<std::vector<std::string>>& only) : all_(!only) {
    if (!only) return;
    for (const auto& name : *only) {
      parts_[name].upper = parts_[name].lower = true;
      const auto whole = adapter::whole_expert(name);
      if (whole == name) continue;
      const auto leaf = std::string_view(name).substr(name.rfind('.') + 1);
      const bool upper = std::any_of(adapter::kGateAndUp.begin(), adapter::kGateAndUp.end(),
                                     [&](const auto& parts) { return parts[0] == leaf; });
      (upper ? parts_[whole].upper : parts_[whole].lower) = true;
    }
  }

  Selected of(const LoraModule& module) const {
    const auto rows = module.out_features;
    if (all_) return {0, rows};
    const auto found = parts_.find(module.adapter_module());
    if (found == parts_.end()) return {};
    const auto [upper, lower] = found->second;
    if (upper && lower) return {0, rows};
    return upper ? Selected{0, rows / 2} : Selected{rows / 2, rows - rows / 2};
  }

 private:
  struct Parts {
    bool upper = false, lower = false;
  };
  bool all_;
  std::map<std::string, Parts, std::less<>> parts_;
};

/// `repaired` in the selected outputs, and else as it was.
repair::Factors within(const Selected& selected, const repair::Factors& update, repair::Factors repaired) {
  if (selected.rows == update.out_features || repaired == update) return repaired;
  if (repaired.rank != update.rank || repaired.a != update.a) {
    throw Error(ErrorKind::invalid_input, "one half of an expert alone is selected, and both share lora_A")
        .expected("a repair that leaves lora_A as it is, or a selection of gate_proj and up_proj")
        .advice("take scale or deflect --side left, or choose another --select");
  }
  const auto from = [&](std::uint64_t row) { return static_cast<std::ptrdiff_t>(row * update.rank); };
  const auto first = from(selected.first_row), end = from(selected.first_row + selected.rows);
  std::copy(update.b.begin(), update.b.begin() + first, repaired.b.begin());
  std::copy(update.b.begin() + end, update.b.end(), repaired.b.begin() + end);
  return repaired;
}

}  // namespace

void tell_of_other_tensors(const Adapter& adapter, const std::string& source, const base::Log& log) {
  const auto is_other = [](const auto& tensor) {
    return !adapter::is_lora_factor(adapter::parse_adapter_key(tensor.key).kind);
  };
  const auto first = std::find_if(adapter.skipped.begin(), adapter.skipped.end(), is_other);
  if (first == adapter.skipped.end()) return;
  const auto count = std::count_if(first, adapter.skipped.end(), is_other);
  log.warn(fmt::format("{}: {} of its tensors stay{} as {}, the first {}: {}", source, count, count == 1 ? "s" : "",
                       count == 1 ? "it is" : "they are", first->key, first->reason));
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
  tell_of_other_tensors(adapter, source, log);
  const Selection selection(only);
  std::vector<adapter::Replacement> replacements;
  for (const auto& module : adapter.modules) {
    const auto selected = selection.of(module);
    if (selected.rows == 0 || !repairer.reaches(module)) continue;
    auto made = replacement_of(adapter, module, [&](const auto& update) {
      return within(selected, update, repairer.repaired(module, update));
    });
    if (made) replacements.push_back(*std::move(made));
  }
  return adapter::write_replaced_adapter(source, destination, replacements, repairer.note(), adapter.sha256);
}

}  // namespace winnow::output
