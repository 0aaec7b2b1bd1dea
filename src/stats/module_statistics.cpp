#include "winnow/stats/module_statistics.hpp"

#include <algorithm>
#include <span>
#include <tuple>

namespace winnow::stats {
namespace {

void add(std::vector<double>& sum, const std::vector<double>& term) {
  if (sum.size() != term.size()) {
    throw base::Error(base::ErrorKind::runtime, "internal: statistics of different shapes merged");
  }
  std::transform(sum.begin(), sum.end(), term.begin(), sum.begin(), std::plus<>{});
}

}  // namespace

LayerStatistics LayerStatistics::identity(std::uint64_t rank, std::uint64_t sketch_columns) {
  LayerStatistics layer;
  layer.rank = rank;
  for (auto* matrix : {&layer.btb, &layer.ptp, &layer.ptb, &layer.dtd, &layer.yty, &layer.yta}) {
    matrix->assign(rank * rank, 0.0);
  }
  for (auto* matrix : {&layer.mtb, &layer.zta}) matrix->assign(sketch_columns * rank, 0.0);
  return layer;
}

void LayerStatistics::merge(const LayerStatistics& other) {
  add(btb, other.btb);
  add(ptp, other.ptp);
  add(ptb, other.ptb);
  add(dtd, other.dtd);
  add(yty, other.yty);
  add(mtb, other.mtb);
  add(zta, other.zta);
  add(yta, other.yta);
  add(mtp, other.mtp);
  y_a += other.y_a;
}

void UnusableWeight::merge(const UnusableWeight& other) {
  if (!other.found) return;
  if (!found || std::tie(other.in_aligned, other.element) < std::tie(in_aligned, element)) *this = other;
}

ModuleStatistics ModuleStatistics::identity(const std::vector<std::uint64_t>& ranks, std::uint64_t sketch_columns) {
  ModuleStatistics module;
  module.sketch_columns = sketch_columns;
  module.ztz.assign(sketch_columns * sketch_columns, 0.0);
  module.mtm.assign(sketch_columns * sketch_columns, 0.0);
  for (const auto rank : ranks) module.layers.push_back(LayerStatistics::identity(rank, sketch_columns));
  return module;
}

void ModuleStatistics::merge(const ModuleStatistics& other) {
  if (layers.size() != other.layers.size()) {
    throw base::Error(base::ErrorKind::runtime, "internal: statistics of different shapes merged");
  }
  squared_norm += other.squared_norm;
  add(ztz, other.ztz);
  add(mtm, other.mtm);
  unusable.merge(other.unusable);
  for (std::size_t j = 0; j < layers.size(); ++j) layers[j].merge(other.layers[j]);
}

void ModuleStatistics::serialise(base::ByteWriter& out) const {
  out.put(sketch_columns);
  out.put(squared_norm);
  out.put(ztz);
  out.put(mtm);
  out.put(unusable.found);
  out.put(unusable.in_aligned);
  out.put(unusable.element);
  out.put(unusable.value);
  out.put<std::uint64_t>(layers.size());
  for (const auto& layer : layers) {
    out.put(layer.rank);
    for (const auto* matrix :
         {&layer.btb, &layer.ptp, &layer.ptb, &layer.dtd, &layer.yty, &layer.mtb, &layer.zta, &layer.yta, &layer.mtp}) {
      out.put(*matrix);
    }
    out.put(layer.y_a);
  }
}

ModuleStatistics ModuleStatistics::deserialise(base::ByteReader& in) {
  ModuleStatistics module;
  module.sketch_columns = in.get<std::uint64_t>();
  module.squared_norm = in.get<double>();
  module.ztz = in.get_vector<double>();
  module.mtm = in.get_vector<double>();
  module.unusable.found = in.get<bool>();
  module.unusable.in_aligned = in.get<bool>();
  module.unusable.element = in.get<std::uint64_t>();
  module.unusable.value = in.get<double>();
  const auto count = in.get<std::uint64_t>();
  for (std::uint64_t j = 0; j < count; ++j) {
    LayerStatistics layer;
    layer.rank = in.get<std::uint64_t>();
    for (auto* matrix :
         {&layer.btb, &layer.ptp, &layer.ptb, &layer.dtd, &layer.yty, &layer.mtb, &layer.zta, &layer.yta, &layer.mtp}) {
      *matrix = in.get_vector<double>();
    }
    layer.y_a = in.get<double>();
    module.layers.push_back(std::move(layer));
  }
  return module;
}

}  // namespace winnow::stats
