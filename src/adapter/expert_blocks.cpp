#include "expert_blocks.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <optional>
#include <utility>

#include "refusal.hpp"
#include "target_names.hpp"
#include "winnow/adapter/keys.hpp"
#include "winnow/base/narrow.hpp"
#include "winnow/checkpoint/expert_slices.hpp"

namespace winnow::adapter {
namespace {

constexpr std::string_view kWrapped = ".base_layer";

/// The parameters of experts in the order of the models' code, which is how PEFT wraps them: the first is innermost.
constexpr std::array<std::string_view, 2> kOrder{"gate_up_proj", "down_proj"};

/// The module whose parameters are wrapped, and how deep in it this wrapper is.
std::pair<std::string, std::size_t> unwrapped(std::string_view module) {
  std::size_t depth = 0;
  for (; module.ends_with(kWrapped); ++depth) module.remove_suffix(kWrapped.size());
  return {std::string(module), depth};
}

std::string_view last_part(std::string_view name) { return name.substr(name.rfind('.') + 1); }  // npos + 1 is 0

/// model.layers.0.mlp. of model.layers.0.mlp.experts.gate_up_proj: in every form its experts are below that.
std::string_view parent_of(std::string_view parameter) {
  parameter = parameter.substr(0, parameter.rfind('.'));
  return parameter.substr(0, parameter.rfind('.') + 1);
}

/// The parameters of `module` that are targeted, the first innermost; nothing if their order is not known. `most`: how
/// many it has factors for; one more is too many.
std::optional<std::vector<std::string>> targeted(const TargetParameters& targets, const std::string& module, bool fused,
                                                 std::size_t most) {
  // PEFT passes over names that are no parameter of the model, and the one parameter that any other module has is its
  // weight.
  const auto weight = module + ".weight";
  if (!fused && most == 1 && targets.catches(weight)) return std::vector{weight};
  // An entry without a module's name would be a parameter of any: it is taken for one of experts alone.
  auto parameters = targets.of_module(module, fused, most + 1);
  if (parameters.size() < 2) return parameters;
  const auto place = [](const std::string& parameter) {
    return std::find(kOrder.begin(), kOrder.end(), last_part(parameter)) - kOrder.begin();
  };
  const auto unknown = static_cast<std::ptrdiff_t>(kOrder.size());
  if (std::any_of(parameters.begin(), parameters.end(), [&](const auto& p) { return place(p) == unknown; })) return {};
  std::sort(parameters.begin(), parameters.end(), [&](const auto& a, const auto& b) { return place(a) < place(b); });
  return parameters;
}

bool is_matrix(const checkpoint::TensorLocation* factor) { return factor != nullptr && factor->shape.size() == 2; }

/// Whether the rows of a lora_A are those of some experts of this rank.
bool stacks(const checkpoint::TensorLocation& a, double rank) {
  const auto rows = a.shape[0];
  if (!(rank >= 1 && rank <= static_cast<double>(rows)) || rank != std::floor(rank)) return false;
  const auto each = static_cast<std::uint64_t>(rank);
  return rows % each == 0 && rows / each <= checkpoint::kMostExperts;
}

ExpertBlock make_block(std::string parameter, std::string wrapper, FileFactors factors, double configured,
                       const std::string& weights_file) {
  if (!is_matrix(factors.a) || !is_matrix(factors.b))
    check_factors(wrapper, factors, weights_file);  // says what is wrong
  const auto rows = factors.a->shape[0], columns = factors.b->shape[1];
  if (rows != columns) {
    throw bad_adapter(fmt::format("the factors of module {} differ in rank", wrapper))
        .file(weights_file)
        .expected(fmt::format("lora_A [experts*r, in] and lora_B [out, r*experts], found {} and {}",
                              shape_text(factors.a->shape), shape_text(factors.b->shape)));
  }
  if (!stacks(*factors.a, configured)) {
    throw bad_adapter(fmt::format("module {} stacks no whole number of experts", wrapper))
        .file(weights_file)
        .tensor(factors.a_key)
        .expected(fmt::format("rank {:g}, as the config says, times at most {} experts, found {} rows", configured,
                              checkpoint::kMostExperts, rows));
  }
  const auto rank = static_cast<std::uint64_t>(configured);
  ExpertBlock block{std::move(parameter), std::move(wrapper), std::move(factors), rows / rank, rank};
  auto a = *block.factors.a, b = *block.factors.b;  // of one expert
  a.shape[0] = b.shape[1] = rank;
  check_factors(block.wrapper, {&a, &b, block.factors.a_key, block.factors.b_key}, weights_file);
  return block;
}

}  // namespace

ExpertBlocks take_expert_blocks(std::map<std::string, FileFactors>& factors, const PeftConfig& config,
                                const ScalingRules& rules, const std::string& weights_file) {
  std::map<std::string, std::map<std::size_t, std::string>> wrappers;  // module -> depth -> name in the file
  for (const auto& [name, unused] : factors) {
    auto [module, depth] = unwrapped(name);
    wrappers[std::move(module)].emplace(depth, name);
  }
  const TargetParameters targets(config.target_parameters);
  ExpertBlocks found;
  const auto refuse = [&](const std::string& wrapper, std::string_view reason) {
    found.refused.emplace(wrapper, RefusedFactors{std::move(factors[wrapper]), std::string(reason)});
    factors.erase(wrapper);
  };
  for (const auto& [module, by_depth] : wrappers) {
    const bool fused = is_fused_experts(by_depth.rbegin()->second);
    const auto parameters = targeted(targets, module, fused, by_depth.size());
    if (!fused && parameters && parameters->empty()) continue;
    if (!parameters || parameters->size() != by_depth.size() || by_depth.rbegin()->first + 1 != by_depth.size()) {
      for (const auto& [depth, wrapper] : by_depth) {
        refuse(wrapper, fused ? "LoRA on fused experts, and target_parameters does not tell, or not in an order known "
                                "here, on which parameter"
                              : "LoRA on parameters, and target_parameters does not say on which");
      }
      continue;
    }
    auto parameter = parameters->begin();
    for (auto at = by_depth.rbegin(); at != by_depth.rend(); ++at, ++parameter) {
      const auto own = factors.find(at->second);
      const bool bare = last_part(*parameter) != "weight";
      // A matrix that is targeted as a parameter has the factors of any linear layer, and so has a linear layer that an
      // entry names which is no parameter of it.
      const auto rank = rules.configured_rank(*parameter);
      const auto* a = own->second.a;
      const bool has_rows = is_matrix(a);
      if (!fused && has_rows && static_cast<double>(a->shape[0]) == (bare ? rules.configured_rank(module) : rank)) {
        continue;
      }
      // Convolutions with their channels apart are such parameters, of any number.
      if (!fused && has_rows && is_matrix(own->second.b) && !stacks(*a, rank)) {
        refuse(at->second, "LoRA on a parameter that is no matrix");
        continue;
      }
      found.blocks.push_back(make_block(*parameter, at->second, own->second, rank, weights_file));
      factors.erase(own);
    }
  }
  return found;
}

FileModules read_modules(const std::string& weights_file, const PeftConfig& config) {
  FileModules found;
  found.file = checkpoint::read_safetensors_file(weights_file);
  for (const auto& [name, location] : found.file.tensors) {
    if (location.shape.size() != 2) continue;  // opening the adapter tells why such a module is not judged
    const auto key = parse_adapter_key(name);
    if (key.kind != KeyKind::lora_a && key.kind != KeyKind::lora_b) continue;
    auto& own = found.factors[key.module];
    (key.kind == KeyKind::lora_a ? own.a : own.b) = &location;
    (key.kind == KeyKind::lora_a ? own.a_key : own.b_key) = name;
  }
  found.experts = take_expert_blocks(found.factors, config, ScalingRules(config), weights_file);
  return found;
}

std::vector<std::vector<std::string>> expert_forms(const ExpertBlock& block) {
  const auto own = checkpoint::expert_name(block.parameter, 0);
  std::vector<std::vector<std::string>> forms{{own}};
  const auto experts = own.substr(0, own.rfind('.'));  // ...experts.0
  const auto leaf = last_part(own);
  const auto within = [&](std::string_view name) { return fmt::format("{}.{}", experts, name); };
  if (leaf == "gate_up_proj") {
    for (const auto& [gate, up] : kGateAndUp) forms.push_back({within(gate), within(up)});
  } else if (leaf == "down_proj") {
    forms.push_back({within("w2")});
  }
  // Granite's blocks lie beside what transformers 5 calls experts.
  constexpr std::string_view kExperts = ".experts.0";
  if (experts.ends_with(kExperts) && (leaf == kOrder[0] || leaf == kOrder[1])) {
    const auto parent = experts.substr(0, experts.size() - kExperts.size());
    forms.push_back({fmt::format("{}.0.{}", parent, leaf == kOrder[0] ? "input_linear" : "output_linear")});
  }
  return forms;
}

std::string with_expert(std::string_view module, std::uint64_t expert) {
  const auto last = module.rfind('.'), before = last == 0 ? std::string_view::npos : module.rfind('.', last - 1);
  const auto head = before == std::string_view::npos ? std::string_view() : module.substr(0, before + 1);
  return fmt::format("{}{}{}", head, expert, module.substr(last));
}

FactorLocation lora_a_of(const ExpertBlock& block, const ExpertPart& part) {
  const auto& a = *block.factors.a;
  const auto bytes = a.bytes / block.experts;
  return {a.offset + part.expert * bytes, bytes, a.dtype};
}

FactorLocation lora_b_of(const ExpertBlock& block, const ExpertPart& part) {
  const auto& b = *block.factors.b;
  const auto row = b.bytes / block.out_features();
  return {b.offset + part.first_row * row, part.rows * row, b.dtype,
          base::narrow<std::uint16_t>(part.expert, "number of experts"),
          base::narrow<std::uint16_t>(block.experts, "number of experts")};
}

std::size_t parts_of(const ExpertBlock& block, std::string_view module) {
  const auto first = with_expert(module, 0);
  for (const auto& form : expert_forms(block)) {
    if (std::find(form.begin(), form.end(), first) != form.end()) return form.size();
  }
  return 1;
}

const ExpertBlock* find_part(std::span<const ExpertBlock> blocks, std::string_view module, ExpertPart& part) {
  const auto last = module.rfind('.');
  if (last == std::string_view::npos || last == 0) return nullptr;
  const auto before = module.rfind('.', last - 1);
  const auto number = module.substr(before + 1, last - before - 1);  // npos + 1 is 0
  const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), part.expert);
  if (error != std::errc{} || end != number.data() + number.size()) return nullptr;
  const auto first = with_expert(module, 0);
  for (const auto& block : blocks) {
    const auto parent = parent_of(block.parameter);
    if (part.expert >= block.experts || !first.starts_with(parent)) continue;  // most are of other layers
    for (const auto& form : expert_forms(block)) {
      const auto at = std::find(form.begin(), form.end(), first);
      if (at == form.end()) continue;
      part.rows = block.out_features() / form.size();
      part.first_row = part.rows * static_cast<std::uint64_t>(at - form.begin());
      return &block;
    }
  }
  return nullptr;
}

}  // namespace winnow::adapter
