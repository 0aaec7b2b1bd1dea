// A LoRA adapter as an audit sees it: its LoRA modules mapped to checkpoint tensors, and what was skipped and why.
//
//     DIR/adapter_config.json        scale and names
//     DIR/adapter_model.safetensors  keys and shapes: the truth
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <unordered_set>
#include <vector>

#include "winnow/adapter/peft_config.hpp"
#include "winnow/base/bytes.hpp"
#include "winnow/base/dtype.hpp"
#include "winnow/base/error.hpp"
#include "winnow/base/log.hpp"
#include "winnow/base/shared_list.hpp"
#include "winnow/checkpoint/catalogue.hpp"
#include "winnow/checkpoint/model_config.hpp"

namespace winnow::adapter {

/// What the module of a LoRA layer is called. Adapters on one model share it (AdapterPool): there are far more layers
/// than names.
struct ModuleNames {
  std::string module;          ///< as the checkpoint names it, without ".weight": model.layers.0.self_attn.q_proj
  std::string adapter_module;  ///< as the adapter names it, without base_model.model.
  std::string weight;          ///< the checkpoint tensor, e.g. model.layers.0.self_attn.q_proj.weight

  bool operator==(const ModuleNames&) const = default;
};

/// A factor in the adapter's safetensors file. Its shape is that of the layer. lora_B of a fused block of experts holds
/// those of all of them, element by element in turn: PEFT reshapes it to [out, r, experts].
struct FactorLocation {
  std::uint64_t offset = 0;  ///< bytes from the start of the file
  std::uint64_t bytes = 0;   ///< with what lies between its elements
  base::DType dtype = base::DType::f32;
  std::uint16_t first = 0, step = 1;  ///< its element n is the one at first + n*step of these

  bool operator==(const FactorLocation&) const = default;
  std::uint64_t own_bytes() const noexcept { return bytes / step; }
};

/// The elements of `factor` out of all that lie in its bytes, in their dtype.
void gather(const FactorLocation& factor, std::span<const std::byte> all, std::span<std::byte> own);
/// The way back.
void scatter(const FactorLocation& factor, std::span<const std::byte> own, std::span<std::byte> all);

/// One LoRA layer of an adapter. dW = scale * B * A, with B (out x rank) and A (rank x in).
struct LoraModule {
  std::shared_ptr<const ModuleNames> names;  ///< none of a layer that has not been named yet
  std::uint64_t rank = 0;
  std::uint64_t out_features = 0, in_features = 0;
  bool stored_transposed = false;  ///< the weight is stored [in, out] (GPT-2's Conv1D)
  bool shares_a = false;  ///< lora_a is that of another module too, which comes first: gate and up of one expert
  double alpha = 0, scale = 0;
  FactorLocation lora_a, lora_b;  ///< [rank, in] and [out, rank]

  const std::string& module() const noexcept { return names->module; }
  const std::string& adapter_module() const noexcept { return names->adapter_module; }
  const std::string& weight() const noexcept { return names->weight; }

  std::uint64_t hash() const noexcept;
  bool is_same(const LoraModule& other) const noexcept;
};

/// An update of full rank, of W = W_aligned. Of a weight that an adapter ships as a whole, T, which is stored as W is:
/// dW = T - W; with LoRA on it dW = T + s*B*A - W. Of DoRA: dW = diag(m/||W + s*B*A||)*(W + s*B*A) - W, norms by rows,
/// the outputs of a linear layer.
struct DenseUpdate {
  std::shared_ptr<const ModuleNames> names;
  std::uint64_t out_features = 0, in_features = 0;
  bool stored_transposed = false;  ///< both weights are stored [in, out]
  FactorLocation weight;           ///< T; no bytes of DoRA

  std::uint64_t rank = 0;                    ///< of LoRA or DoRA; 0 of a whole weight alone
  double scale = 0;                          ///< s
  FactorLocation lora_a, lora_b, magnitude;  ///< A [rank, in], B [out, rank], m [out]

  bool has_weight() const noexcept { return weight.bytes != 0; }
  bool is_dora() const noexcept { return magnitude.bytes != 0; }
  const std::string& module() const noexcept { return names->module; }
  const std::string& adapter_module() const noexcept { return names->adapter_module; }
  /// Numbers that are judged with it.
  std::uint64_t parameters() const noexcept {
    return rank * (out_features + in_features) + (is_dora() ? out_features : 0) +
           (has_weight() ? out_features * in_features : 0);
  }

  std::uint64_t hash() const noexcept;
  bool is_same(const DenseUpdate& other) const noexcept;
};

/// A tensor of the adapter that is not scored, never silently.
struct SkippedTensor {
  std::string key;
  std::string reason;

  std::uint64_t hash() const noexcept;
  bool is_same(const SkippedTensor& other) const noexcept { return key == other.key && reason == other.reason; }
};

/// A LoRA module that gets no score while others of its adapter do, never silently.
struct UnjudgedModule {
  std::string module;  ///< as the adapter names it
  std::string reason;
  bool mismatch = false;  ///< it should be in both checkpoints and is not, which ends a run with --strict; otherwise
                          ///< its kind is never scored (an embedding, a convolution)

  std::uint64_t hash() const noexcept;
  bool is_same(const UnjudgedModule& other) const noexcept {
    return module == other.module && reason == other.reason && mismatch == other.mismatch;
  }
};

enum class AdapterStatus : std::uint8_t { ok, quarantined };

struct Adapter {
  std::string name;  ///< unique within a run: the directory's last component, or more of the path if that repeats
  std::string path;  ///< the directory
  AdapterStatus status = AdapterStatus::ok;
  std::string reason;           ///< why it is quarantined; empty for ok
  bool is_unreadable = false;   ///< quarantined because storage failed, which says nothing of the adapter
  std::string warnings;         ///< what a user should know although it is scored, one sentence each
  std::uint64_t rank = 0;       ///< r of the config, or the largest of the modules'
  double alpha = 0, scale = 0;  ///< of the config, before patterns
  std::string sha256;           ///< of adapter_model.safetensors, hex
  /// SHA-256 of what it does, hex: of its weights and of what the configuration makes of them, the scale of each
  /// module. One file with another alpha is another update. Empty for a quarantined adapter.
  std::string digest;
  std::uint64_t parameters = 0;  ///< numbers in all tensors of that file, whatever they are
  std::uint64_t unchanged = 0;   ///< those of them in copies of the aligned model's own weights, which change nothing
  std::string base_model;        ///< that it names in its configuration, with @revision if there is one; or empty
  std::string weights_file;      ///< full path of adapter_model.safetensors
  base::SharedList<LoraModule> modules;  ///< sorted by module name
  base::SharedList<DenseUpdate> dense;   ///< likewise, on modules that are not among these
  base::SharedList<SkippedTensor> skipped;
  base::SharedList<UnjudgedModule> unjudged;  ///< sorted by module name

  void serialise(base::ByteWriter& out) const;
  static Adapter deserialise(base::ByteReader& in);
};

/// All of them, each name and each list that adapters share once.
void serialise(std::span<const Adapter> adapters, base::ByteWriter& out);
std::vector<Adapter> deserialise_adapters(base::ByteReader& in);

/// What adapters have in common, so that it is in memory once. For several threads at once.
class AdapterPool {
 public:
  /// Has `adapter` share names and lists with the adapters that came before and have the same.
  void share(Adapter& adapter);

 private:
  struct HashNames {
    std::size_t operator()(const std::shared_ptr<const ModuleNames>& names) const noexcept;
  };
  struct SameNames {
    bool operator()(const std::shared_ptr<const ModuleNames>& one,
                    const std::shared_ptr<const ModuleNames>& other) const noexcept {
      return *one == *other;
    }
  };

  std::mutex mutex_;
  std::unordered_set<std::shared_ptr<const ModuleNames>, HashNames, SameNames> names_;
  base::ListPool<LoraModule> modules_;
  base::ListPool<DenseUpdate> dense_;
  base::ListPool<SkippedTensor> skipped_;
  base::ListPool<UnjudgedModule> unjudged_;
};

/// Options of opening an adapter.
struct AdapterOptions {
  bool unit_scale = false;  ///< `--scaling none`: s = 1, as the published scripts do
  bool allow_dora = false;  ///< score the s*B*A part of a DoRA adapter, flagged, instead of quarantining it
  bool whole_model = true;  ///< the catalogue has every layer: an adapter with further ones is of another model
  bool dense = false;       ///< updates that are dense are judged, if there is `aligned` to take them from
  const checkpoint::Catalogue* aligned = nullptr;  ///< the aligned checkpoint
};

/// Opens the adapter in `directory` and maps it onto the checkpoint `weights` (the base model's).
/// Whatever is wrong with it (src/adapter/README.md) gives status quarantined and the reason, not an exception: a file
/// that cannot be read as well, for it must not end the run of all the others. Modules that match nothing in the
/// checkpoint are unjudged as long as others match. Throws if concerns_adapter_alone() is false.
Adapter open_adapter(const std::string& directory, const checkpoint::Catalogue& weights,
                     const checkpoint::ModelConfig& model, const AdapterOptions& options, const base::Log& log);

/// Whether `error`, thrown while an adapter's files were read, says nothing about other adapters: what is wrong with a
/// file, and I/O errors except those of the machine (no descriptor or memory left).
bool concerns_adapter_alone(const base::Error& error);

/// Every directory below `root` (or in the manifest file `root`, one a line, relative to the manifest's directory) that
/// holds an adapter_config.json, sorted. A directory that cannot be read is left out with a warning, or with `strict`
/// throws Error(runtime). Throws Error(invalid_input) if there is no adapter, or for a manifest that is no text.
/// `between` is called with each directory.
std::vector<std::string> find_adapters(const std::string& root, bool strict, const base::Log& log,
                                       const std::function<void()>& between = {});

/// Sets unique names: the last path component, widened to the left until all differ. If there are checkpoints of
/// more than one training run (directories checkpoint-N of different parents), each is called RUN/checkpoint-N.
void assign_unique_names(std::vector<Adapter>& adapters);

}  // namespace winnow::adapter
