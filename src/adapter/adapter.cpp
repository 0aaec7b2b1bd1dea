#include "winnow/adapter/adapter.hpp"

namespace winnow::adapter {

namespace {

void put(base::ByteWriter& out, const checkpoint::TensorLocation& location) {
  out.put(location.shard);
  out.put(location.offset);
  out.put(location.bytes);
  out.put(location.dtype);
  out.put(location.shape);
}

checkpoint::TensorLocation get_location(base::ByteReader& in) {
  checkpoint::TensorLocation location;
  location.shard = in.get<std::uint32_t>();
  location.offset = in.get<std::uint64_t>();
  location.bytes = in.get<std::uint64_t>();
  location.dtype = in.get<base::DType>();
  location.shape = in.get_vector<std::uint64_t>();
  return location;
}

}  // namespace

void Adapter::serialise(base::ByteWriter& out) const {
  for (const auto* text : {&name, &path, &reason, &warnings, &sha256, &digest, &weights_file, &base_model}) {
    out.put(*text);
  }
  out.put(status);
  out.put(is_unreadable);
  out.put(parameters);
  out.put(rank);
  out.put(alpha);
  out.put(scale);
  out.put<std::uint64_t>(modules.size());
  for (const auto& module : modules) {
    for (const auto* text : {&module.module, &module.adapter_module, &module.weight}) out.put(*text);
    out.put(module.rank);
    out.put(module.out_features);
    out.put(module.in_features);
    out.put(module.stored_transposed);
    out.put(module.alpha);
    out.put(module.scale);
    put(out, module.lora_a);
    put(out, module.lora_b);
  }
  out.put<std::uint64_t>(skipped.size());
  for (const auto& tensor : skipped) {
    out.put(tensor.key);
    out.put(tensor.reason);
  }
  out.put<std::uint64_t>(unjudged.size());
  for (const auto& module : unjudged) {
    out.put(module.module);
    out.put(module.reason);
    out.put(module.mismatch);
  }
}

Adapter Adapter::deserialise(base::ByteReader& in) {
  Adapter adapter;
  for (auto* text : {&adapter.name, &adapter.path, &adapter.reason, &adapter.warnings, &adapter.sha256, &adapter.digest,
                     &adapter.weights_file, &adapter.base_model}) {
    *text = in.get_string();
  }
  adapter.status = in.get<AdapterStatus>();
  adapter.is_unreadable = in.get<bool>();
  adapter.parameters = in.get<std::uint64_t>();
  adapter.rank = in.get<std::uint64_t>();
  adapter.alpha = in.get<double>();
  adapter.scale = in.get<double>();
  for (auto left = in.get<std::uint64_t>(); left > 0; --left) {
    LoraModule module;
    for (auto* text : {&module.module, &module.adapter_module, &module.weight}) *text = in.get_string();
    module.rank = in.get<std::uint64_t>();
    module.out_features = in.get<std::uint64_t>();
    module.in_features = in.get<std::uint64_t>();
    module.stored_transposed = in.get<bool>();
    module.alpha = in.get<double>();
    module.scale = in.get<double>();
    module.lora_a = get_location(in);
    module.lora_b = get_location(in);
    adapter.modules.push_back(std::move(module));
  }
  for (auto left = in.get<std::uint64_t>(); left > 0; --left) {
    auto key = in.get_string();
    adapter.skipped.push_back({std::move(key), in.get_string()});
  }
  for (auto left = in.get<std::uint64_t>(); left > 0; --left) {
    UnjudgedModule module;
    module.module = in.get_string();
    module.reason = in.get_string();
    module.mismatch = in.get<bool>();
    adapter.unjudged.push_back(std::move(module));
  }
  return adapter;
}

}  // namespace winnow::adapter
