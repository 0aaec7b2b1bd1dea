// The LoRA modules of an adapter while it is opened, and how the weight of each is stored. Private to src/adapter.
#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <vector>

#include "winnow/adapter/adapter.hpp"
#include "winnow/checkpoint/catalogue.hpp"
#include "winnow/checkpoint/model_config.hpp"

namespace winnow::adapter {

/// How the weight of a module is stored.
struct Orientation {
  std::optional<bool> transposed;  ///< nothing if its shape does not tell
  bool is_expert = false;
  bool tells_of_others = true;
};

class ModuleList {
 public:
  void add(LoraModule module, const Orientation& orientation);
  void resize(std::size_t count);  ///< to the first of them

  bool empty() const noexcept { return modules_.empty(); }
  std::size_t size() const noexcept { return modules_.size(); }
  const std::vector<LoraModule>& all() const noexcept { return modules_; }
  std::vector<LoraModule> take();  ///< all of them; none are left
  std::vector<LoraModule> take_if(const std::function<bool(const LoraModule&)>& wanted);

  /// A square weight does not show how it is stored. All layers of a model are stored alike, and so are all blocks of
  /// experts, so the adapter's others of its kind tell if they agree. Otherwise fan_in_fan_out does of a module with
  /// the name of a Conv1D, which PEFT saves as what the layers really were, and obeys nowhere else; of experts the kind
  /// of model does. Returns those that nobody tells of, slices of a checkpoint's blocks, which are taken out.
  std::vector<LoraModule> settle_square_weights(bool fan_in_fan_out, const checkpoint::ModelConfig& model,
                                                const checkpoint::Catalogue& weights);

 private:
  std::vector<LoraModule> take_square_experts(const checkpoint::Catalogue& weights);
  std::vector<LoraModule> take_where(const std::function<bool(std::size_t)>& wanted);

  std::vector<LoraModule> modules_;
  std::vector<Orientation> orientations_;  // [modules]
};

}  // namespace winnow::adapter
