#include "winnow/adapter/lone_adapter.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>

#include "adapter_files.hpp"
#include "expert_blocks.hpp"
#include "winnow/adapter/keys.hpp"
#include "winnow/adapter/mapping.hpp"
#include "winnow/base/error.hpp"
#include "winnow/base/file.hpp"
#include "winnow/checkpoint/expert_slices.hpp"
#include "written_files.hpp"

namespace winnow::adapter {

namespace {

using base::Error;
using base::ErrorKind;

/// In pieces: of a block of experts it is one element in many.
std::vector<std::byte> read_own(const base::File& file, const FactorLocation& tensor) {
  constexpr std::uint64_t kPiece = 256U << 10U;
  const auto size = base::element_bytes(tensor.dtype), stride = tensor.step * size;
  std::vector<std::byte> own(tensor.own_bytes());
  if (tensor.step == 1) {
    file.read_exact(tensor.offset, own);
    return own;
  }
  std::vector<std::byte> piece(std::max<std::uint64_t>(1, kPiece / stride) * stride);
  for (std::uint64_t at = 0; at < tensor.bytes; at += piece.size()) {
    const auto all = std::span(piece).first(std::min<std::uint64_t>(piece.size(), tensor.bytes - at));
    file.read_exact(tensor.offset + at, all);
    gather(tensor, all, std::span(own).subspan(at / tensor.step, all.size() / tensor.step));
  }
  return own;
}

std::vector<double> read_factor(const base::File& file, const FactorLocation& tensor, const char* factor,
                                const LoraModule& module) {
  const auto bytes = read_own(file, tensor);
  std::vector<double> values(bytes.size() / base::element_bytes(tensor.dtype));
  base::to_double(tensor.dtype, bytes.data(), values.size(), values.data());
  const auto bad = std::find_if_not(values.begin(), values.end(), [](double x) { return std::isfinite(x); });
  if (bad == values.end()) return values;
  throw Error(ErrorKind::invalid_input, fmt::format("{} of {} is not finite at element {}", factor,
                                                    module.adapter_module(), bad - values.begin()))
      .file(file.path())
      .expected("numbers")
      .advice("train or save the adapter again");
}

}  // namespace

checkpoint::Catalogue modules_in(const std::string& weights_file, const PeftConfig& config) {
  const auto modules = read_modules(weights_file, config);
  checkpoint::Catalogue catalogue;
  catalogue.shards.push_back({weights_file, 0, {}});
  const auto add = [&](const std::string& module, std::vector<std::uint64_t> shape) {
    checkpoint::TensorLocation location;
    location.shape = std::move(shape);
    catalogue.tensors.emplace(module + ".weight", std::move(location));
  };
  for (const auto& [module, own] : modules.factors) {
    if (own.a == nullptr || own.b == nullptr) continue;
    const auto out = own.b->shape[0], in = own.a->shape[1];
    if (out == 0 || in == 0) continue;
    add(module, config.fan_in_fan_out ? std::vector{in, out} : std::vector{out, in});
  }
  for (const auto& block : modules.experts.blocks) {
    for (std::uint64_t expert = 0; expert < block.experts; ++expert) {
      add(checkpoint::expert_name(block.parameter, expert), {block.out_features(), block.in_features()});
    }
  }
  return catalogue;
}

checkpoint::Catalogue modules_of(const std::string& directory) try {
  const auto config_file = existing_file(directory, kConfigFile);
  const auto text = base::read_text_file(config_file, kMaxConfigBytes);
  return modules_in(existing_file(directory, kWeightsFile), parse_peft_config(text, config_file, base::Log()));
} catch (const Error&) {
  return {};
}

Adapter open_lone_adapter(const std::string& directory, const std::string& what, const base::Log& log) {
  auto adapter = open_adapter(directory, modules_of(directory), {}, {.whole_model = false}, log);
  if (adapter.status == AdapterStatus::ok) return adapter;
  const bool named = adapter.reason.find(directory) != std::string::npos;
  const auto kind = adapter.is_unreadable ? ErrorKind::runtime : ErrorKind::invalid_input;
  throw Error(kind, fmt::format("{}: {}", what, adapter.reason)).file(named ? "" : directory);
}

void require_adapter_files(const std::string& directory) { find_files(directory); }

bool holds_adapter(const std::string& directory) {
  std::error_code ignored;
  return std::filesystem::exists(std::filesystem::path(directory) / kConfigFile, ignored);
}

const LoraModule* find_counterpart(const Adapter& adapter, const std::string& module) {
  for (const auto& name : module_aliases(module)) {
    const auto found = std::lower_bound(adapter.modules.begin(), adapter.modules.end(), name,
                                        [](const auto& lora, const auto& wanted) { return lora.module() < wanted; });
    if (found != adapter.modules.end() && found->module() == name) return &*found;
  }
  return nullptr;
}

FactorValues read_factors(const Adapter& adapter, const LoraModule& module) {
  const auto file = base::File::open_for_reading(adapter.weights_file);
  return {read_factor(file, module.lora_b, "lora_B", module), read_factor(file, module.lora_a, "lora_A", module)};
}

}  // namespace winnow::adapter
