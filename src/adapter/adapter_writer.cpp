#include "winnow/adapter/adapter_writer.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "expert_blocks.hpp"
#include "pruned_config.hpp"
#include "staged_directory.hpp"
#include "target_modules.hpp"
#include "winnow/adapter/keys.hpp"
#include "winnow/adapter/peft_config.hpp"
#include "winnow/base/error.hpp"
#include "winnow/base/file.hpp"
#include "winnow/base/file_type.hpp"
#include "winnow/base/sha256.hpp"
#include "winnow/checkpoint/safetensors_header.hpp"
#include "winnow/checkpoint/safetensors_writer.hpp"
#include "written_files.hpp"

namespace winnow::adapter {

namespace {

namespace fs = std::filesystem;
using base::Error;
using base::ErrorKind;

constexpr std::uint64_t kChunkBytes = std::uint64_t{1} << 20;

/// What becomes of one tensor.
enum class Fate { copied, zeroed, dropped };

struct PlannedTensor {
  checkpoint::TensorEntry entry;
  Fate fate = Fate::copied;
  std::vector<FactorLocation> zeroed;  ///< of a block of experts that is copied: its lora_B, of these experts
};

struct Plan {
  std::uint64_t data_offset = 0;
  std::vector<PlannedTensor> tensors;     ///< in the order of the file
  std::vector<std::string> kept, pruned;  ///< LoRA modules, in the order of the file, without blocks of experts
  std::size_t experts_kept = 0;           ///< modules within blocks
  std::vector<std::string> experts_pruned;
};

Fate fate_of(const AdapterKey& key, Repair repair) {
  if (repair == Repair::drop) return Fate::dropped;
  switch (key.kind) {
    case KeyKind::lora_b:
    case KeyKind::lora_b_bias:
    case KeyKind::embedding_b:
      return Fate::zeroed;
    case KeyKind::magnitude:
    case KeyKind::other_factor:
      throw Error(ErrorKind::invalid_input, "repair zero cannot undo a variant of LoRA")
          .tensor(key.module)
          .expected(fmt::format("lora_A and lora_B only, found {}", key.factor))
          .advice("use drop");
    default:
      return Fate::copied;
  }
}

/// Takes the experts among `wanted` out of it. A block stays, whatever is pruned of it: its lora_B is zero there.
void plan_experts(Plan& plan, std::set<std::string>& wanted, const ExpertBlocks& experts) {
  for (const auto& block : experts.blocks) {
    std::size_t parts = 1;
    std::vector<FactorLocation> zeroed;
    for (auto name = wanted.begin(); name != wanted.end();) {
      ExpertPart part;
      if (find_part({&block, 1}, *name, part) == nullptr) {
        ++name;
        continue;
      }
      parts = parts_of(block, *name);
      zeroed.push_back(lora_b_of(block, part));
      plan.experts_pruned.push_back(*name);
      name = wanted.erase(name);
    }
    plan.experts_kept += block.experts * parts - zeroed.size();
    const auto tensor = std::find_if(plan.tensors.begin(), plan.tensors.end(),
                                     [&](const auto& planned) { return planned.entry.name == block.factors.b_key; });
    tensor->zeroed = std::move(zeroed);
  }
}

/// Of all its LoRA modules, those on embeddings and convolutions too.
NotLoaded not_loaded(const FileModules& modules, const checkpoint::SafetensorsHeader& header,
                     const PeftConfig& config) {
  std::set<std::string_view> experts;
  for (const auto& block : modules.experts.blocks) experts.insert(block.wrapper);
  std::map<std::string, bool> prefixed;
  bool has_others = !experts.empty();
  for (const auto& entry : header.tensors) {
    const auto key = parse_adapter_key(entry.name);
    has_others |= key.kind == KeyKind::full_weight && key.prefixed && key.is_weight;
    if (!is_lora_factor(key.kind) || experts.contains(key.module) || modules.experts.refused.contains(key.module))
      continue;
    const auto known = prefixed.emplace(key.module, true).first;
    known->second &= is_loadable(key);
  }
  return not_loaded(prefixed, has_others, TargetModules(config));
}

Plan make_plan(const std::string& weights_file, const PeftConfig& config, const std::vector<std::string>& pruned,
               Repair repair) {
  const auto header = checkpoint::read_safetensors_header(weights_file);
  std::set<std::string> wanted(pruned.begin(), pruned.end());
  Plan plan;
  plan.data_offset = header.data_offset;
  for (const auto& entry : header.tensors) plan.tensors.push_back({entry, Fate::copied, {}});
  const auto modules = read_modules(weights_file, config);
  const auto unloaded = not_loaded(modules, header, config);
  std::set<std::string> seen;
  std::set<std::string_view> blocks;
  for (const auto& block : modules.experts.blocks) blocks.insert(block.wrapper);
  plan_experts(plan, wanted, modules.experts);
  for (auto& tensor : plan.tensors) {
    const auto key = parse_adapter_key(tensor.entry.name);
    const bool is_pruned = wanted.contains(key.module);
    if (is_pruned) tensor.fate = fate_of(key, repair);
    if (is_lora_factor(key.kind) && !blocks.contains(key.module) && seen.insert(key.module).second) {
      // What PEFT does not load must not become a module of its by the names of the new configuration.
      if (!is_pruned && (modules.experts.refused.contains(key.module) || unloaded.leave_out(key.module))) continue;
      (is_pruned ? plan.pruned : plan.kept).push_back(key.module);
    }
  }
  for (const auto& module : wanted) {
    if (!seen.contains(module)) {
      throw Error(ErrorKind::invalid_input, fmt::format("the adapter has no LoRA module {}", module))
          .file(weights_file)
          .expected("names as in its keys, without base_model.model.");
    }
  }
  return plan;
}

/// A lora_B of a block without what some experts have of it.
std::vector<std::byte> without_experts(const base::File& in, std::uint64_t offset, std::uint64_t bytes,
                                       const std::vector<FactorLocation>& zeroed) {
  std::vector<std::byte> all(bytes);
  in.read_exact(offset, all);
  for (const auto& part : zeroed) {
    const std::vector<std::byte> zeros(part.own_bytes());
    scatter(part, zeros, std::span(all).subspan(part.offset - offset, part.bytes));
  }
  return all;
}

void write_weights(const Plan& plan, const std::string& source, const std::string& destination) {
  std::vector<checkpoint::TensorSpec> specs;
  for (const auto& tensor : plan.tensors) {
    if (tensor.fate != Fate::dropped) specs.push_back({tensor.entry.name, tensor.entry.dtype, tensor.entry.shape});
  }
  const auto in = base::File::open_for_reading(source);
  checkpoint::SafetensorsWriter out(destination, specs);
  for (const auto& [entry, fate, zeroed] : plan.tensors) {
    if (fate == Fate::dropped) continue;
    const auto bytes = entry.end - entry.begin;
    if (!zeroed.empty()) {
      out.append(without_experts(in, plan.data_offset + entry.begin, bytes, zeroed));
      continue;
    }
    if (fate == Fate::copied) {
      copy_bytes(in, plan.data_offset + entry.begin, bytes, out);
      continue;
    }
    const std::vector<std::byte> zeros(std::min(kChunkBytes, bytes));  // zero in every dtype
    for (std::uint64_t left = bytes; left > 0; left -= std::min<std::uint64_t>(left, zeros.size())) {
      out.append(std::span(zeros).first(std::min<std::uint64_t>(left, zeros.size())));
    }
  }
  out.commit();
}

bool is_our_output(const fs::path& directory) {
  const auto marker = directory / kMarkerFile;
  if (base::type_of(marker) != fs::file_type::regular) return false;
  const auto text = base::read_text_file(marker.string(), kMaxConfigBytes);
  const auto json = nlohmann::json::parse(text, nullptr, false);
  return json.is_object() && json.contains(kMarkerKey);
}

std::string marker_text(const std::string& source, const std::string& weights_file, const Plan& plan, Repair repair) {
  auto pruned = plan.pruned;
  pruned.insert(pruned.end(), plan.experts_pruned.begin(), plan.experts_pruned.end());
  nlohmann::ordered_json marker;
  marker[kMarkerKey] = {{"source", source},
                        {"source_sha256", base::sha256_file(weights_file)},
                        {"repair", repair == Repair::drop ? "drop" : "zero"},
                        {"kept", plan.kept.size() + plan.experts_kept},
                        {"pruned", pruned}};
  return marker.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace

bool check_destination(const std::string& directory) {
  const fs::path destination(directory);
  std::error_code error;
  const auto require_seen = [&] {  // what storage does not tell is not what is in the way
    if (error)
      throw Error(ErrorKind::runtime, "cannot look at the output directory").file(directory).os_error(error.value());
  };
  // A link that leads nowhere is something as well.
  const auto status = fs::symlink_status(destination, error);
  if (status.type() == fs::file_type::not_found) return false;
  require_seen();
  if (base::type_of(destination) == fs::file_type::directory) {
    if (is_our_output(destination)) return true;
    const bool empty = fs::is_empty(destination, error);
    require_seen();
    if (empty) return false;
  }
  throw Error(ErrorKind::usage, "refusing to overwrite what is not a pruned adapter")
      .file(destination.string())
      .expected("nothing there, or an earlier output of this program")
      .advice("choose another output directory");
}

WrittenAdapter write_pruned_adapter(const std::string& source, const std::string& destination,
                                    const std::vector<std::string>& pruned, Repair repair) {
  const auto config_file = existing_file(source, kConfigFile);
  const auto weights_file = existing_file(source, kWeightsFile);
  const auto config_text = base::read_text_file(config_file, kMaxConfigBytes);
  const auto config = parse_peft_config(config_text, config_file, base::Log());  // what is odd was said on opening
  const auto plan = make_plan(weights_file, config, pruned, repair);
  const bool replace = check_destination(destination);

  WrittenAdapter result{
      false, plan.kept.size() + plan.experts_kept, plan.pruned.size() + plan.experts_pruned.size(), {}};
  if (result.kept == 0) {
    // An earlier output would pass for the result of this run.
    std::error_code error;
    if (replace && fs::remove_all(destination, error) == static_cast<std::uintmax_t>(-1)) {
      throw Error(ErrorKind::runtime, "cannot remove earlier output").file(destination).os_error(error.value());
    }
    return result;
  }

  StagedDirectory staged(destination);
  write_weights(plan, weights_file, staged.file(kWeightsFile));
  const bool same_config = repair == Repair::zero || plan.pruned.empty();
  write_text(staged.file(kConfigFile), same_config ? config_text : pruned_config(config_text, plan.kept, plan.pruned));
  write_text(staged.file(kMarkerFile), marker_text(source, weights_file, plan, repair));
  copy_companions(source, staged);
  staged.commit(replace);
  result.limits = limits_of(config);
  result.written = true;
  return result;
}

}  // namespace winnow::adapter
