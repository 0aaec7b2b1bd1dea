// Scores on their way to the coordinator.
#include <iterator>
#include <utility>

#include "winnow/pipeline/score.hpp"

namespace winnow::pipeline {
namespace {

void put(base::ByteWriter& out, const compute::ElementSummary& summary) {
  for (const double value : {summary.minimum, summary.maximum, summary.sum, summary.q25, summary.q75}) out.put(value);
}

compute::ElementSummary get_summary(base::ByteReader& in) {
  compute::ElementSummary summary;
  for (double* value : {&summary.minimum, &summary.maximum, &summary.sum, &summary.q25, &summary.q75}) {
    *value = in.get<double>();
  }
  return summary;
}

}  // namespace

void Scores::serialise(base::ByteWriter& out) const {
  out.put<std::uint64_t>(modules.size());
  for (const auto& score : modules) {
    out.put(score.module);
    out.put(score.alignment_norm);
    out.put(score.non_finite.found);
    out.put(score.non_finite.in_aligned);
    out.put(score.non_finite.element);
  }
  out.put<std::uint64_t>(layers.size());
  for (const auto& score : layers) {
    out.put(score.module);
    out.put(score.adapter);
    out.put(score.metrics);
    out.put(score.elements.has_value());
    if (score.elements) {
      put(out, score.elements->projected);
      put(out, score.elements->update);
    }
    out.put(score.fault);
  }
}

void Scores::append(base::ByteReader& in) {
  for (auto count = in.get<std::uint64_t>(); count > 0; --count) {
    ModuleScore score;
    score.module = in.get<std::uint64_t>();
    score.alignment_norm = in.get<double>();
    score.non_finite.found = in.get<bool>();
    score.non_finite.in_aligned = in.get<bool>();
    score.non_finite.element = in.get<std::uint64_t>();
    modules.push_back(score);
  }
  for (auto count = in.get<std::uint64_t>(); count > 0; --count) {
    LayerScore score;
    score.module = in.get<std::uint64_t>();
    score.adapter = in.get<std::uint32_t>();
    score.metrics = in.get<metrics::LayerMetrics>();
    if (in.get<bool>()) {
      score.elements.emplace();
      score.elements->projected = get_summary(in);
      score.elements->update = get_summary(in);
    }
    score.fault = in.get_string();
    layers.push_back(std::move(score));
  }
}

void Scores::append(Scores&& other) {
  modules.insert(modules.end(), other.modules.begin(), other.modules.end());
  layers.insert(layers.end(), std::make_move_iterator(other.layers.begin()),
                std::make_move_iterator(other.layers.end()));
}

}  // namespace winnow::pipeline
