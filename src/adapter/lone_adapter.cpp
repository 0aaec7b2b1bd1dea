#include "winnow/adapter/lone_adapter.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "winnow/adapter/keys.hpp"
#include "winnow/adapter/mapping.hpp"
#include "winnow/base/error.hpp"
#include "winnow/base/file.hpp"
#include "written_files.hpp"

namespace winnow::adapter {

namespace {

using base::Error;
using base::ErrorKind;

/// What open_adapter() looks for in a checkpoint. Empty if the file cannot be read: opening the adapter tells why.
checkpoint::Catalogue own_modules(const std::string& directory) try {
  return modules_in(existing_file(directory, kWeightsFile), false);
} catch (const Error&) {
  return {};
}

std::vector<double> read_factor(const base::File& file, const FactorLocation& tensor, const char* factor,
                                const LoraModule& module) {
  std::vector<std::byte> bytes(tensor.bytes);
  file.read_exact(tensor.offset, bytes);
  std::vector<double> values(tensor.bytes / base::element_bytes(tensor.dtype));
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

checkpoint::Catalogue modules_in(const std::string& weights_file, bool transposed) {
  const auto file = checkpoint::read_safetensors_file(weights_file);
  std::map<std::string, std::pair<std::uint64_t, std::uint64_t>> shapes;  // outputs, inputs
  for (const auto& [name, location] : file.tensors) {
    if (location.shape.size() != 2) continue;  // opening the adapter tells why such a module is not judged
    const auto key = parse_adapter_key(name);
    if (key.kind == KeyKind::lora_b) shapes[key.module].first = location.shape[0];
    if (key.kind == KeyKind::lora_a) shapes[key.module].second = location.shape[1];
  }
  checkpoint::Catalogue catalogue;
  catalogue.shards.push_back({weights_file, 0, {}});
  for (const auto& [module, shape] : shapes) {
    const auto [out, in] = shape;
    if (out == 0 || in == 0) continue;
    checkpoint::TensorLocation location;
    location.shape = transposed ? std::vector{in, out} : std::vector{out, in};
    catalogue.tensors.emplace(module + ".weight", std::move(location));
  }
  return catalogue;
}

Adapter open_lone_adapter(const std::string& directory, const std::string& what, const base::Log& log) {
  auto adapter = open_adapter(directory, own_modules(directory), {}, {.whole_model = false}, log);
  if (adapter.status == AdapterStatus::ok) return adapter;
  const bool named = adapter.reason.find(directory) != std::string::npos;
  const auto kind = adapter.is_unreadable ? ErrorKind::runtime : ErrorKind::invalid_input;
  throw Error(kind, fmt::format("{}: {}", what, adapter.reason)).file(named ? "" : directory);
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
