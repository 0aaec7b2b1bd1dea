#include "winnow/adapter/replaced_adapter.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>

#include "expert_blocks.hpp"
#include "replaced_config.hpp"
#include "staged_directory.hpp"
#include "target_names.hpp"
#include "winnow/adapter/adapter_writer.hpp"
#include "winnow/adapter/keys.hpp"
#include "winnow/base/error.hpp"
#include "winnow/base/sha256.hpp"
#include "winnow/checkpoint/safetensors_header.hpp"
#include "written_files.hpp"

namespace winnow::adapter {

namespace {

using base::Error;
using base::ErrorKind;

/// One LoRA module of the file, and what is to become of it.
struct PlannedModule {
  std::uint64_t before = 0, after = 0;              ///< rank
  std::uint64_t in_features = 0, out_features = 0;  ///< of lora_A and lora_B alone
  const Replacement* replacement = nullptr;
};

/// New factors of an expert within a block.
struct PlannedExpert {
  FactorLocation a, b;
  std::vector<std::byte> new_a, new_b;
};

struct Plan {
  std::string weights_file;
  checkpoint::SafetensorsHeader header;
  std::map<std::string, PlannedModule> modules;  ///< without blocks of experts
  std::vector<PlannedExpert> experts;
  std::vector<std::string> experts_replaced;
  std::size_t experts_kept = 0;
  std::uint64_t experts_rank = 0;  ///< the largest of any block

  PlannedModule* find(const AdapterKey& key) {
    const auto found = modules.find(key.module);
    return found == modules.end() ? nullptr : &found->second;
  }
};

bool is_factor(KeyKind kind) { return kind == KeyKind::lora_a || kind == KeyKind::lora_b; }

void read_shapes(Plan& plan) {
  for (const auto& entry : plan.header.tensors) {
    const auto key = parse_adapter_key(entry.name);
    if (!is_lora_factor(key.kind)) continue;
    auto& module = plan.modules[key.module];
    if (entry.shape.size() < 2) continue;  // a bias, a magnitude
    if (key.kind == KeyKind::lora_a || key.kind == KeyKind::embedding_a) module.before = entry.shape[0];
    if (key.kind == KeyKind::lora_a) module.in_features = entry.shape[1];
    if (key.kind == KeyKind::lora_b) module.out_features = entry.shape[0];
  }
}

/// A new factor, with zeros in place of what it lacks of the block's rank.
std::vector<std::byte> padded(const Replacement& replacement, const ExpertBlock& block, std::uint64_t rows, bool is_a) {
  if (!is_a) {
    const auto size = base::element_bytes(block.factors.b->dtype);
    return with_zero_columns(replacement.b, rows, replacement.rank * size, block.rank * size);
  }
  auto bytes = replacement.a;
  bytes.resize(block.rank * block.in_features() * base::element_bytes(block.factors.a->dtype));
  return bytes;
}

/// New factors of an expert go where its old ones are: a block has one rank for all of them.
PlannedExpert plan_expert(const Plan& plan, const ExpertBlock& block, const ExpertPart& part,
                          const Replacement& replacement) {
  const auto refused = [&](std::string_view what, const std::string& expected) {
    return Error(ErrorKind::invalid_input, fmt::format("cannot write module {}: {}", replacement.module, what))
        .file(plan.weights_file)
        .expected(expected);
  };
  if (replacement.rank > block.rank) {
    throw refused("all experts of a block have one rank",
                  fmt::format("at most {}, found {}", block.rank, replacement.rank))
        .advice("choose a repair that does not raise the rank");
  }
  const auto size_a = base::element_bytes(block.factors.a->dtype), size_b = base::element_bytes(block.factors.b->dtype);
  if (replacement.a.size() != replacement.rank * block.in_features() * size_a ||
      replacement.b.size() != replacement.rank * part.rows * size_b) {
    throw Error(ErrorKind::runtime, "a new factor has the wrong size").tensor(replacement.module);
  }
  PlannedExpert planned{lora_a_of(block, part), lora_b_of(block, part), padded(replacement, block, part.rows, true),
                        padded(replacement, block, part.rows, false)};
  if (part.rows == block.out_features()) return planned;
  std::vector<std::byte> a(planned.a.bytes);
  base::File::open_for_reading(plan.weights_file).read_exact(planned.a.offset, a);
  if (a != planned.new_a) {
    throw refused("gate and up of an expert have one lora_A in this file", "one for both, found another for this one")
        .advice("repair the adapter by winnow prune without checkpoints, which takes them as one");
  }
  return planned;
}

/// Takes the blocks of experts out of the plan's modules.
void assign_experts(Plan& plan, const PeftConfig& config, std::vector<const Replacement*>& replacements) {
  const auto modules = read_modules(plan.weights_file, config);
  const auto& blocks = modules.experts.blocks;
  std::map<const ExpertBlock*, std::size_t> parts;
  std::vector<const Replacement*> rest;
  for (const auto* replacement : replacements) {
    ExpertPart part;
    const auto* block = find_part(blocks, replacement->module, part);
    if (block == nullptr) {
      rest.push_back(replacement);
      continue;
    }
    parts[block] = parts_of(*block, replacement->module);
    plan.experts.push_back(plan_expert(plan, *block, part, *replacement));
    plan.experts_replaced.push_back(replacement->module);
  }
  for (const auto& block : blocks) {
    plan.modules.erase(block.wrapper);
    plan.experts_rank = std::max(plan.experts_rank, block.rank);
    plan.experts_kept += block.experts * (parts.contains(&block) ? parts[&block] : 1);
  }
  plan.experts_kept -= plan.experts.size();
  replacements = std::move(rest);
}

void assign(Plan& plan, const std::vector<const Replacement*>& replacements) {
  for (const auto* const each : replacements) {
    const auto& replacement = *each;
    const auto found = plan.modules.find(replacement.module);
    if (found == plan.modules.end()) {
      throw Error(ErrorKind::invalid_input, fmt::format("the adapter has no LoRA module {}", replacement.module))
          .file(plan.weights_file)
          .expected("names as in its keys, without base_model.model.");
    }
    found->second.replacement = &replacement;
  }
  for (const auto& entry : plan.header.tensors) {
    const auto key = parse_adapter_key(entry.name);
    const auto* module = plan.find(key);
    if (module == nullptr || module->replacement == nullptr || !is_lora_factor(key.kind)) continue;
    const bool matrix = is_factor(key.kind) && entry.shape.size() == 2 && base::is_computable(entry.dtype);
    if (!matrix && key.kind != KeyKind::lora_b_bias) {
      throw Error(ErrorKind::invalid_input, fmt::format("module {} is no plain LoRA on a matrix", key.module))
          .file(plan.weights_file)
          .tensor(entry.name)
          .expected("lora_A [r, in] and lora_B [out, r]");
    }
    if (!matrix) continue;
    const auto& bytes = key.kind == KeyKind::lora_a ? module->replacement->a : module->replacement->b;
    const auto other = key.kind == KeyKind::lora_a ? module->in_features : module->out_features;
    const auto expected = module->replacement->rank * other * base::element_bytes(entry.dtype);
    if (bytes.size() != expected) {
      throw Error(ErrorKind::runtime, "a new factor has the wrong size")
          .tensor(entry.name)
          .expected(fmt::format("{} bytes, found {}", expected, bytes.size()));
    }
  }
}

/// No rank falls; and when all modules change they end alike if they began alike, so that r says all there is to say.
void choose_ranks(Plan& plan, const PeftConfig& config, bool parameters) {
  std::uint64_t largest = 0;
  bool alike = !parameters && config.rank_pattern.empty() && config.alpha_pattern.empty();
  for (auto& [name, module] : plan.modules) {
    module.after = module.before;
    if (module.replacement != nullptr) module.after = std::max(module.before, module.replacement->rank);
    alike &= module.replacement != nullptr && static_cast<double>(module.before) == config.r;
    largest = std::max(largest, module.after);
  }
  if (!alike) return;
  for (auto& [name, module] : plan.modules) module.after = largest;
}

std::vector<std::byte> factor_bytes(const PlannedModule& module, KeyKind kind, base::DType dtype) {
  const auto size = base::element_bytes(dtype);
  if (kind == KeyKind::lora_a) {
    auto bytes = module.replacement->a;
    bytes.resize(module.after * module.in_features * size);
    return bytes;
  }
  return with_zero_columns(module.replacement->b, module.out_features, module.replacement->rank * size,
                           module.after * size);
}

/// A tensor as it is, but for the experts in it that have new factors.
void append_with_experts(const base::File& in, const Plan& plan, std::uint64_t offset, std::uint64_t bytes,
                         checkpoint::SafetensorsWriter& out) {
  const auto within = [&](const FactorLocation& factor) {
    return factor.offset >= offset && factor.offset + factor.bytes <= offset + bytes;
  };
  std::vector<std::byte> all;
  for (const auto& expert : plan.experts) {
    for (const auto& [factor, values] : {std::pair(&expert.a, &expert.new_a), std::pair(&expert.b, &expert.new_b)}) {
      if (!within(*factor)) continue;
      if (all.empty()) {
        all.resize(bytes);
        in.read_exact(offset, all);
      }
      scatter(*factor, *values, std::span(all).subspan(factor->offset - offset, factor->bytes));
    }
  }
  if (all.empty()) {
    copy_bytes(in, offset, bytes, out);
  } else {
    out.append(all);
  }
}

void write_weights(Plan& plan, const std::string& destination) {
  std::vector<checkpoint::TensorSpec> specs;
  for (const auto& entry : plan.header.tensors) {
    specs.push_back({entry.name, entry.dtype, entry.shape});
    const auto key = parse_adapter_key(entry.name);
    const auto* module = plan.find(key);
    if (module == nullptr || module->replacement == nullptr || !is_factor(key.kind)) continue;
    specs.back().shape[key.kind == KeyKind::lora_a ? 0 : 1] = module->after;
  }
  const auto in = base::File::open_for_reading(plan.weights_file);
  checkpoint::SafetensorsWriter out(destination, specs);
  for (const auto& entry : plan.header.tensors) {
    const auto key = parse_adapter_key(entry.name);
    const auto* module = plan.find(key);
    if (module == nullptr || module->replacement == nullptr || !is_factor(key.kind)) {
      append_with_experts(in, plan, plan.header.data_offset + entry.begin, entry.end - entry.begin, out);
    } else {
      out.append(factor_bytes(*module, key.kind, entry.dtype));
    }
  }
  out.commit();
}

/// Of another file old factors and new ones would be mixed.
std::string source_sha256(const Plan& plan, const std::string& expected) {
  auto found = base::sha256_file(plan.weights_file);
  if (found == expected) return found;
  throw Error(ErrorKind::invalid_input, "the adapter has changed while it was repaired")
      .file(plan.weights_file)
      .expected(fmt::format("SHA-256 {}, found {}", expected, found))
      .advice("repair it again once nothing writes to it");
}

std::string marker_text(const std::string& source, const std::string& sha256, const Plan& plan,
                        const RepairNote& note) {
  auto replaced = nlohmann::ordered_json::array();
  for (const auto& [name, module] : plan.modules) {
    if (module.replacement != nullptr) replaced.push_back(name);
  }
  nlohmann::ordered_json facts = {{"source", source}, {"source_sha256", sha256}, {"repair", note.repair}};
  for (const auto& [setting, value] : note.settings) facts[setting] = value;
  facts["kept"] = plan.modules.size() - replaced.size() + plan.experts_kept;
  for (const auto& name : plan.experts_replaced) replaced.push_back(name);
  facts["replaced"] = std::move(replaced);
  nlohmann::ordered_json marker;
  marker[kMarkerKey] = std::move(facts);
  return marker.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace

std::vector<std::byte> encoded(base::DType dtype, std::span<const double> values, const std::string& what) {
  std::vector<std::byte> bytes(values.size() * base::element_bytes(dtype));
  const auto fault = base::from_double(dtype, values.data(), values.size(), bytes.data());
  if (fault != values.size()) {
    throw Error(ErrorKind::invalid_input, fmt::format("{} does not fit its dtype after the repair", what))
        .expected(
            fmt::format("values that {} can hold, found {:.3g} at element {}", base::name(dtype), values[fault], fault))
        .advice("store the adapter in float32, or repair less strongly (--lambda, --factor)");
  }
  return bytes;
}

WrittenReplacements write_replaced_adapter(const std::string& source, const std::string& destination,
                                           const std::vector<Replacement>& replacements, const RepairNote& note,
                                           const std::string& sha256) {
  const auto config_file = existing_file(source, kConfigFile);
  const auto config_text = base::read_text_file(config_file, kMaxConfigBytes);
  const auto config = parse_peft_config(config_text, config_file, base::Log());  // what is odd was said on opening
  Plan plan;
  plan.weights_file = existing_file(source, kWeightsFile);
  plan.header = checkpoint::read_safetensors_header(plan.weights_file);
  read_shapes(plan);
  std::vector<const Replacement*> plain;
  for (const auto& replacement : replacements) plain.push_back(&replacement);
  assign_experts(plan, config, plain);
  assign(plan, plain);
  choose_ranks(plan, config, !target_parameters(nlohmann::ordered_json::parse(config_text)).empty());
  const bool replace = check_destination(destination);

  std::vector<ModuleRank> ranks;
  WrittenReplacements result;
  result.rank_before = result.rank_after = plan.experts_rank;
  for (const auto& [name, module] : plan.modules) {
    ranks.push_back({name, module.before, module.after});
    ++(module.replacement != nullptr ? result.replaced : result.kept);
    result.rank_before = std::max(result.rank_before, module.before);
    result.rank_after = std::max(result.rank_after, module.after);
  }
  result.replaced += plan.experts.size();
  result.kept += plan.experts_kept;
  const auto new_config = replaced_config(config_text, config, ranks);
  StagedDirectory staged(destination);
  write_weights(plan, staged.file(kWeightsFile));
  write_text(staged.file(kConfigFile), new_config);
  write_text(staged.file(kMarkerFile), marker_text(source, source_sha256(plan, sha256), plan, note));
  copy_companions(source, staged);
  staged.commit(replace);
  result.limits = limits_of(parse_peft_config(new_config, config_file, base::Log()));
  return result;
}

}  // namespace winnow::adapter
