// Adapters on their way between ranks.
#include "winnow/adapter/adapter.hpp"

#include <unordered_map>
#include <utility>

namespace winnow::adapter {

namespace {

using base::ByteReader;
using base::ByteWriter;
using base::SharedList;
using Names = std::shared_ptr<const ModuleNames>;

/// What adapters share, numbered as it is met.
template <class Id>
class Numbers {
 public:
  /// The number of `id`, and whether it is new.
  std::pair<std::uint64_t, bool> of(Id id) {
    const auto [at, is_new] = known_.emplace(id, known_.size());
    return {at->second, is_new};
  }

 private:
  std::unordered_map<Id, std::uint64_t> known_;
};

void put(ByteWriter& out, const FactorLocation& factor) {
  out.put(factor.offset);
  out.put(factor.bytes);
  out.put(factor.dtype);
  out.put(factor.first);
  out.put(factor.step);
}

FactorLocation get_factor(ByteReader& in) {
  FactorLocation factor;
  factor.offset = in.get<std::uint64_t>();
  factor.bytes = in.get<std::uint64_t>();
  factor.dtype = in.get<base::DType>();
  factor.first = in.get<std::uint16_t>();
  factor.step = in.get<std::uint16_t>();
  return factor;
}

/// What is met for the first time follows its number.
class Writer {
 public:
  explicit Writer(ByteWriter& out) : out_(out) {}

  void put(const Adapter& adapter) {
    for (const auto* text : {&adapter.name, &adapter.path, &adapter.reason, &adapter.warnings, &adapter.sha256,
                             &adapter.digest, &adapter.weights_file, &adapter.base_model}) {
      out_.put(*text);
    }
    out_.put(adapter.status);
    out_.put(adapter.is_unreadable);
    out_.put(adapter.parameters);
    out_.put(adapter.unchanged);
    out_.put(adapter.rank);
    out_.put(adapter.alpha);
    out_.put(adapter.scale);
    put_list(adapter.modules);
    put_list(adapter.dense);
    put_list(adapter.skipped);
    put_list(adapter.unjudged);
  }

 private:
  template <class T>
  void put_list(const SharedList<T>& list) {
    const auto [number, is_new] = lists_.of(list.id());
    out_.put(number);
    if (!is_new) return;
    out_.put<std::uint64_t>(list.size());
    for (const auto& item : list) put_item(item);
  }

  void put_names(const Names& names) {
    const auto [number, is_new] = names_.of(names.get());
    out_.put(number);
    if (!is_new) return;
    for (const auto* text : {&names->module, &names->adapter_module, &names->weight}) out_.put(*text);
  }
  void put_item(const LoraModule& module) {
    put_names(module.names);
    out_.put(module.rank);
    out_.put(module.out_features);
    out_.put(module.in_features);
    out_.put(module.stored_transposed);
    out_.put(module.alpha);
    out_.put(module.scale);
    adapter::put(out_, module.lora_a);
    adapter::put(out_, module.lora_b);
    out_.put(module.shares_a);
  }
  void put_item(const DenseUpdate& update) {
    put_names(update.names);
    out_.put(update.out_features);
    out_.put(update.in_features);
    out_.put(update.stored_transposed);
    out_.put(update.rank);
    out_.put(update.scale);
    for (const auto* tensor : {&update.weight, &update.lora_a, &update.lora_b, &update.magnitude}) {
      adapter::put(out_, *tensor);
    }
  }
  void put_item(const SkippedTensor& tensor) {
    out_.put(tensor.key);
    out_.put(tensor.reason);
  }
  void put_item(const UnjudgedModule& module) {
    out_.put(module.module);
    out_.put(module.reason);
    out_.put(module.mismatch);
  }

  ByteWriter& out_;
  Numbers<const void*> lists_;  // of any kind: no two have one place in memory
  Numbers<const ModuleNames*> names_;
};

class Reader {
 public:
  explicit Reader(ByteReader& in) : in_(in) {}

  Adapter get() {
    Adapter adapter;
    for (auto* text : {&adapter.name, &adapter.path, &adapter.reason, &adapter.warnings, &adapter.sha256,
                       &adapter.digest, &adapter.weights_file, &adapter.base_model}) {
      *text = in_.get_string();
    }
    adapter.status = in_.get<AdapterStatus>();
    adapter.is_unreadable = in_.get<bool>();
    adapter.parameters = in_.get<std::uint64_t>();
    adapter.unchanged = in_.get<std::uint64_t>();
    adapter.rank = in_.get<std::uint64_t>();
    adapter.alpha = in_.get<double>();
    adapter.scale = in_.get<double>();
    adapter.modules = get_list(modules_);
    adapter.dense = get_list(dense_);
    adapter.skipped = get_list(skipped_);
    adapter.unjudged = get_list(unjudged_);
    return adapter;
  }

 private:
  template <class T>
  using Known = std::unordered_map<std::uint64_t, SharedList<T>>;  // by number

  template <class T>
  SharedList<T> get_list(Known<T>& known) {
    const auto number = in_.get<std::uint64_t>();
    if (number < count_) {
      const auto found = known.find(number);  // the empty one may have been of another kind
      return found == known.end() ? SharedList<T>() : found->second;
    }
    ++count_;
    std::vector<T> items;
    for (auto left = in_.get<std::uint64_t>(); left > 0; --left) get_item(items.emplace_back());
    return known[number] = SharedList<T>(std::move(items));
  }

  Names get_names() {
    if (const auto number = in_.get<std::uint64_t>(); number < names_.size()) return names_[number];
    auto names = std::make_shared<ModuleNames>();
    for (auto* text : {&names->module, &names->adapter_module, &names->weight}) *text = in_.get_string();
    return names_.emplace_back(std::move(names));
  }
  void get_item(LoraModule& module) {
    module.names = get_names();
    module.rank = in_.get<std::uint64_t>();
    module.out_features = in_.get<std::uint64_t>();
    module.in_features = in_.get<std::uint64_t>();
    module.stored_transposed = in_.get<bool>();
    module.alpha = in_.get<double>();
    module.scale = in_.get<double>();
    module.lora_a = get_factor(in_);
    module.lora_b = get_factor(in_);
    module.shares_a = in_.get<bool>();
  }
  void get_item(DenseUpdate& update) {
    update.names = get_names();
    update.out_features = in_.get<std::uint64_t>();
    update.in_features = in_.get<std::uint64_t>();
    update.stored_transposed = in_.get<bool>();
    update.rank = in_.get<std::uint64_t>();
    update.scale = in_.get<double>();
    for (auto* tensor : {&update.weight, &update.lora_a, &update.lora_b, &update.magnitude}) *tensor = get_factor(in_);
  }
  void get_item(SkippedTensor& tensor) {
    tensor.key = in_.get_string();
    tensor.reason = in_.get_string();
  }
  void get_item(UnjudgedModule& module) {
    module.module = in_.get_string();
    module.reason = in_.get_string();
    module.mismatch = in_.get<bool>();
  }

  ByteReader& in_;
  std::uint64_t count_ = 0;  // of lists
  Known<LoraModule> modules_;
  Known<DenseUpdate> dense_;
  Known<SkippedTensor> skipped_;
  Known<UnjudgedModule> unjudged_;
  std::vector<Names> names_;
};

}  // namespace

void serialise(std::span<const Adapter> adapters, ByteWriter& out) {
  out.put<std::uint64_t>(adapters.size());
  Writer writer(out);
  for (const auto& adapter : adapters) writer.put(adapter);
}

std::vector<Adapter> deserialise_adapters(ByteReader& in) {
  std::vector<Adapter> adapters;
  auto left = in.get<std::uint64_t>();
  for (Reader reader(in); left > 0; --left) adapters.push_back(reader.get());
  return adapters;
}

void Adapter::serialise(ByteWriter& out) const { Writer(out).put(*this); }

Adapter Adapter::deserialise(ByteReader& in) { return Reader(in).get(); }

}  // namespace winnow::adapter
