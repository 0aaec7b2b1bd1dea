#include "winnow/adapter/adapter_writer.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>

#include "pruned_config.hpp"
#include "staged_directory.hpp"
#include "winnow/adapter/keys.hpp"
#include "winnow/adapter/peft_config.hpp"
#include "winnow/base/error.hpp"
#include "winnow/base/file.hpp"
#include "winnow/base/file_type.hpp"
#include "winnow/base/sha256.hpp"
#include "winnow/checkpoint/safetensors_header.hpp"
#include "winnow/checkpoint/safetensors_writer.hpp"

namespace winnow::adapter {

namespace {

namespace fs = std::filesystem;
using base::Error;
using base::ErrorKind;

constexpr const char* kConfigFile = "adapter_config.json";
constexpr const char* kWeightsFile = "adapter_model.safetensors";
constexpr std::size_t kChunkBytes = std::size_t{1} << 20;
constexpr std::uintmax_t kMaxCompanionBytes = std::uintmax_t{64} << 20;

/// What becomes of one tensor.
enum class Fate { copied, zeroed, dropped };

struct PlannedTensor {
  checkpoint::TensorEntry entry;
  Fate fate = Fate::copied;
};

struct Plan {
  std::uint64_t data_offset = 0;
  std::vector<PlannedTensor> tensors;     ///< in the order of the file
  std::vector<std::string> kept, pruned;  ///< LoRA modules, in the order of the file
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

Plan make_plan(const std::string& weights_file, const std::vector<std::string>& pruned, Repair repair) {
  const auto header = checkpoint::read_safetensors_header(weights_file);
  const std::set<std::string> wanted(pruned.begin(), pruned.end());
  Plan plan;
  plan.data_offset = header.data_offset;
  std::set<std::string> seen;
  for (const auto& entry : header.tensors) {
    const auto key = parse_adapter_key(entry.name);
    const bool is_pruned = wanted.contains(key.module);
    plan.tensors.push_back({entry, is_pruned ? fate_of(key, repair) : Fate::copied});
    if (is_lora_factor(key.kind) && seen.insert(key.module).second) {
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

void write_weights(const Plan& plan, const std::string& source, const std::string& destination) {
  std::vector<checkpoint::TensorSpec> specs;
  for (const auto& tensor : plan.tensors) {
    if (tensor.fate != Fate::dropped) specs.push_back({tensor.entry.name, tensor.entry.dtype, tensor.entry.shape});
  }
  const auto in = base::File::open_for_reading(source);
  checkpoint::SafetensorsWriter out(destination, specs);
  std::vector<std::byte> buffer(kChunkBytes);
  for (const auto& [entry, fate] : plan.tensors) {
    if (fate == Fate::dropped) continue;
    for (auto at = entry.begin; at < entry.end;) {
      const auto count = std::min<std::uint64_t>(kChunkBytes, entry.end - at);
      const auto chunk = std::span(buffer).first(count);
      if (fate == Fate::zeroed) {
        std::fill(chunk.begin(), chunk.end(), std::byte{0});  // zero in every dtype
      } else {
        in.read_exact(plan.data_offset + at, chunk);
      }
      out.append(chunk);
      at += count;
    }
  }
  out.commit();
}

/// Model card, licence and tokenizer go with the adapter; other copies of its weights must not.
bool is_companion(const fs::directory_entry& entry) {
  constexpr std::array<std::string_view, 5> extensions = {".json", ".md", ".txt", ".model", ".jinja"};
  constexpr std::array<std::string_view, 2> names = {"LICENSE", "NOTICE"};
  const auto name = entry.path().filename().string();
  const auto extension = entry.path().extension().string();
  std::error_code error;
  if (!entry.is_regular_file(error) || entry.file_size(error) > kMaxCompanionBytes || error) return false;
  if (name.starts_with('.') || name == kConfigFile || name == kMarkerFile || name.ends_with(".index.json"))
    return false;
  return std::find(extensions.begin(), extensions.end(), extension) != extensions.end() ||
         std::find(names.begin(), names.end(), name) != names.end();
}

void write_text(const std::string& path, std::string_view text) {
  auto file = base::File::create_new(path);
  file.append(text);
  file.sync();
  file.close();
}

void copy_companions(const fs::path& source, const StagedDirectory& staged) {
  std::error_code error;
  for (fs::directory_iterator entry(source, error), end; !error && entry != end; entry.increment(error)) {
    if (!is_companion(*entry)) continue;
    write_text(staged.file(entry->path().filename().string()),
               base::read_text_file(entry->path().string(), kMaxCompanionBytes));
  }
  if (error) {
    throw Error(ErrorKind::runtime, "cannot read directory").file(source.string()).os_error(error.value());
  }
}

bool is_our_output(const fs::path& directory) {
  const auto marker = directory / kMarkerFile;
  if (base::type_of(marker) != fs::file_type::regular) return false;
  const auto text = base::read_text_file(marker.string(), kMaxConfigBytes);
  const auto json = nlohmann::json::parse(text, nullptr, false);
  return json.is_object() && json.contains("pruned_adapter");
}

std::string marker_text(const std::string& source, const std::string& weights_file, const Plan& plan, Repair repair) {
  nlohmann::ordered_json marker;
  marker["pruned_adapter"] = {{"source", source},
                              {"source_sha256", base::sha256_file(weights_file)},
                              {"repair", repair == Repair::drop ? "drop" : "zero"},
                              {"kept", plan.kept.size()},
                              {"pruned", plan.pruned}};
  return marker.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

std::string limits_of(const PeftConfig& config) {
  if (config.use_rslora) return "relies on rsLoRA, which llama.cpp ignores";
  if (config.rank_pattern.empty() && config.alpha_pattern.empty()) return {};
  return "relies on rank_pattern or alpha_pattern, which llama.cpp ignores";
}

std::string existing_file(const std::string& directory, const char* name) {
  const auto path = fs::path(directory) / name;
  if (base::type_of(path) != fs::file_type::regular) {
    throw Error(ErrorKind::invalid_input, fmt::format("{} is missing", name)).file(directory);
  }
  return path.string();
}

}  // namespace

bool check_destination(const std::string& directory) {
  const fs::path destination(directory);
  std::error_code ignored;
  // A link that leads nowhere is something as well.
  if (fs::symlink_status(destination, ignored).type() == fs::file_type::not_found) return false;
  if (base::type_of(destination) == fs::file_type::directory) {
    if (is_our_output(destination)) return true;
    if (fs::is_empty(destination, ignored)) return false;
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
  const auto plan = make_plan(weights_file, pruned, repair);
  const bool replace = check_destination(destination);

  WrittenAdapter result{false, plan.kept.size(), plan.pruned.size(), {}};
  if (plan.kept.empty()) {
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
