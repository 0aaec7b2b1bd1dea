#include "module_list.hpp"

#include <algorithm>
#include <utility>

#include "winnow/adapter/storage_order.hpp"

namespace winnow::adapter {

void ModuleList::add(LoraModule module, const Orientation& orientation) {
  module.stored_transposed = orientation.transposed.value_or(false);
  modules_.push_back(std::move(module));
  orientations_.push_back(orientation);
}

void ModuleList::resize(std::size_t count) {
  modules_.resize(count);
  orientations_.resize(count);
}

std::vector<LoraModule> ModuleList::take() {
  orientations_.clear();
  return std::exchange(modules_, {});
}

std::vector<LoraModule> ModuleList::settle_square_weights(bool fan_in_fan_out, const checkpoint::ModelConfig& model,
                                                          const checkpoint::Catalogue& weights) {
  std::vector<LoraModule> untold;
  for (const bool expert : {false, true}) {
    const auto has = [&](bool value) {
      return std::any_of(orientations_.begin(), orientations_.end(), [&](const auto& o) {
        return o.tells_of_others && o.is_expert == expert && o.transposed == value;
      });
    };
    const bool straight = has(false), transposed = has(true);
    if (expert && straight == transposed && model.model_type.empty()) untold = take_square_experts(weights);
    const bool square =
        straight == transposed ? (expert ? stores_experts_transposed(model) : fan_in_fan_out) : transposed;
    for (std::size_t i = 0; i < orientations_.size(); ++i) {
      if (orientations_[i].is_expert == expert && !orientations_[i].transposed) modules_[i].stored_transposed = square;
    }
  }
  return untold;
}

std::vector<LoraModule> ModuleList::take_square_experts(const checkpoint::Catalogue& weights) {
  return take_where([&](std::size_t i) {
    return orientations_[i].is_expert && !orientations_[i].transposed && weights.experts.contains(modules_[i].weight());
  });
}

std::vector<LoraModule> ModuleList::take_if(const std::function<bool(const LoraModule&)>& wanted) {
  return take_where([&](std::size_t i) { return wanted(modules_[i]); });
}

std::vector<LoraModule> ModuleList::take_where(const std::function<bool(std::size_t)>& wanted) {
  ModuleList left;
  std::vector<LoraModule> taken;
  for (std::size_t i = 0; i < modules_.size(); ++i) {
    if (wanted(i)) {
      taken.push_back(std::move(modules_[i]));
    } else {
      left.modules_.push_back(std::move(modules_[i]));
      left.orientations_.push_back(orientations_[i]);
    }
  }
  *this = std::move(left);
  return taken;
}

}  // namespace winnow::adapter
