// Scores on their way to the coordinator.
#include <iterator>
#include <utility>

#include "winnow/score/scores.hpp"

namespace winnow::score {
namespace {

void put(base::ByteWriter& out, const stats::UnusableWeight& weight) {
  out.put(weight.found);
  out.put(weight.in_aligned);
  out.put(weight.element);
  out.put(weight.value);
}

stats::UnusableWeight get_unusable(base::ByteReader& in) {
  stats::UnusableWeight weight;
  weight.found = in.get<bool>();
  weight.in_aligned = in.get<bool>();
  weight.element = in.get<std::uint64_t>();
  weight.value = in.get<double>();
  return weight;
}

}  // namespace

void Scores::serialise(base::ByteWriter& out) const {
  out.put<std::uint64_t>(modules.size());
  for (const auto& score : modules) {
    out.put(score.module);
    out.put<std::uint64_t>(score.norms.size());
    for (const double norm : score.norms) out.put(norm);
    put(out, score.unusable);
    out.put(score.base);
    out.put(score.aligned);
    out.put<std::uint64_t>(score.further.size());
    for (const auto& one : score.further) {
      put(out, one.unusable);
      out.put(one.digest);
    }
  }
  out.put<std::uint64_t>(layers.size());
  for (const auto& score : layers) {
    out.put(score.module);
    out.put(score.adapter);
    out.put<std::uint64_t>(score.values.size());
    for (const double value : score.values) out.put(value);
    out.put<std::uint64_t>(score.dots.size());
    for (const double dot : score.dots) out.put(dot);
    out.put<std::uint64_t>(score.blocks.size());
    for (const double block : score.blocks) out.put(block);
    out.put(score.heads);
    out.put(score.fault);
  }
}

void Scores::append(base::ByteReader& in) {
  for (auto count = in.get<std::uint64_t>(); count > 0; --count) {
    ModuleScore score;
    score.module = in.get<std::uint64_t>();
    for (auto norms = in.get<std::uint64_t>(); norms > 0; --norms) score.norms.push_back(in.get<double>());
    score.unusable = get_unusable(in);
    score.base = in.get<checkpoint::TensorDigest>();
    score.aligned = in.get<checkpoint::TensorDigest>();
    for (auto left = in.get<std::uint64_t>(); left > 0; --left) {
      auto& one = score.further.emplace_back();
      one.unusable = get_unusable(in);
      one.digest = in.get<checkpoint::TensorDigest>();
    }
    modules.push_back(std::move(score));
  }
  for (auto count = in.get<std::uint64_t>(); count > 0; --count) {
    LayerScore score;
    score.module = in.get<std::uint64_t>();
    score.adapter = in.get<std::uint32_t>();
    for (auto values = in.get<std::uint64_t>(); values > 0; --values) score.values.push_back(in.get<double>());
    for (auto dots = in.get<std::uint64_t>(); dots > 0; --dots) score.dots.push_back(in.get<double>());
    for (auto blocks = in.get<std::uint64_t>(); blocks > 0; --blocks) score.blocks.push_back(in.get<double>());
    score.heads = in.get_vector<double>();
    score.fault = in.get_string();
    layers.push_back(std::move(score));
  }
}

void Scores::append(Scores&& other) {
  modules.insert(modules.end(), other.modules.begin(), other.modules.end());
  if (layers.empty() && layers.capacity() < other.layers.size()) {
    layers = std::move(other.layers);
    return;
  }
  layers.insert(layers.end(), std::make_move_iterator(other.layers.begin()),
                std::make_move_iterator(other.layers.end()));
}

}  // namespace winnow::score
