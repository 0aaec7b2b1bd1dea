#include "winnow/checkpoint/model_kind.hpp"

#include <string_view>

namespace winnow::checkpoint {

bool differ_in_kind(const ModelConfig& one, const ModelConfig& other) {
  const std::string_view a = one.model_type, b = other.model_type;
  const auto towers_a = a.find('/'), towers_b = b.find('/');
  const auto outer_a = a.substr(0, towers_a), outer_b = b.substr(0, towers_b);
  if (outer_a.empty() || outer_b.empty()) return false;
  const bool both_say = towers_a != a.npos && towers_b != b.npos;
  return outer_a != outer_b || (both_say && a != b);
}

}  // namespace winnow::checkpoint
