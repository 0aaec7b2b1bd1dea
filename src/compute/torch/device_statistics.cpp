#include "device_statistics.hpp"

#include <algorithm>

#include "winnow/base/error.hpp"

namespace winnow::compute {
namespace {

std::int64_t extent(std::uint64_t value) { return static_cast<std::int64_t>(value); }

/// Rows [begin, end) and some columns in float64.
at::Tensor part(const at::Tensor& matrix, std::uint64_t begin, std::uint64_t end, std::int64_t column,
                std::int64_t columns) {
  return matrix.narrow(0, extent(begin), extent(end - begin)).narrow(1, column, columns).to(at::kDouble);
}

/// rows x (n * r) as n matrices of rows x r.
at::Tensor by_adapter(const at::Tensor& matrix, const RankGroup& group) {
  return matrix.view({matrix.size(0), extent(group.adapters), extent(group.rank)}).permute({1, 0, 2});
}

/// The A factors of a group below each other, (n * r) x i.
at::Tensor stacked_a(const FactorStack& stack, const RankGroup& group) {
  auto all = at::empty({extent(group.adapters * group.rank), extent(stack.in_features)}, at::kFloat);
  auto* next = all.data_ptr<float>();
  for (std::size_t j = 0; j < group.adapters; ++j) {
    const auto& a = stack.a[group.first_adapter + j];
    next = std::copy(a.begin(), a.end(), next);
  }
  return all;
}

/// Bytes of the float64 copies for so many columns.
std::uint64_t scratch(const FactorStack& stack, std::uint64_t columns) {
  // B, P and D, and two of them turned for the product; Y, A and their product.
  return columns * std::max(5 * stack.out_features, 4 * stack.in_features) * sizeof(double);
}

/// Numbers in a row, handed out one after the other.
class Cursor {
 public:
  explicit Cursor(const at::Tensor& row) : next_(row.data_ptr<double>()), end_(next_ + row.numel()) {}
  std::vector<double> take(std::uint64_t count) {
    if (end_ - next_ < extent(count)) {
      throw base::Error(base::ErrorKind::runtime, "internal: statistics of another shape");
    }
    std::vector<double> values(next_, next_ + count);
    next_ += count;
    return values;
  }

 private:
  const double *next_, *end_;
};

}  // namespace

std::vector<RankGroup> rank_groups(const FactorStack& stack, std::uint64_t scratch_bytes) {
  std::vector<RankGroup> groups;
  for (std::size_t j = 0; j < stack.ranks.size(); ++j) {
    const auto rank = stack.ranks[j];
    const bool fits = !groups.empty() && groups.back().rank == rank &&
                      scratch(stack, (groups.back().adapters + 1) * rank) <= scratch_bytes;
    if (!fits) groups.push_back({j, 0, rank});
    ++groups.back().adapters;
  }
  return groups;
}

std::uint64_t statistics_memory(const FactorStack& stack, const std::vector<RankGroup>& groups) {
  std::uint64_t most_scratch = 0;
  for (const auto& group : groups) most_scratch = std::max(most_scratch, scratch(stack, group.adapters * group.rank));
  const auto sketch = stack.sketch_columns;
  std::uint64_t sums = 2 * sketch * sketch;
  for (const auto rank : stack.ranks) sums += 5 * rank * rank + 2 * sketch * rank + 1;
  // Z and M; the sums one by one, and in a row.
  return most_scratch + (sketch * (stack.out_features + stack.in_features) + 2 * sums) * sizeof(double);
}

at::Tensor pack_statistics(const FactorStack& stack, const std::vector<RankGroup>& groups, const Share& share,
                           const at::Tensor& b, const at::Tensor& p, const at::Tensor& y) {
  const auto sketch = extent(stack.sketch_columns);
  const auto sketch_begin = extent(stack.columns()) - sketch;
  const auto m = part(p, share.out_begin, share.out_end, sketch_begin, sketch);
  const auto z = part(y, share.in_begin, share.in_end, sketch_begin, sketch);
  using Rows = std::vector<at::Tensor>;
  Rows btb, ptp, ptb, dtd, mtb, yty, zta, y_a;
  const auto put = [](Rows& kind, const at::Tensor& values) { kind.push_back(values.reshape({-1})); };
  for (const auto& group : groups) {
    const auto first = extent(stack.first_column(group.first_adapter));
    const auto columns = extent(group.adapters * group.rank);
    {
      const auto b_part = part(b, share.out_begin, share.out_end, first, columns);
      const auto p_part = part(p, share.out_begin, share.out_end, first, columns);
      const auto bs = by_adapter(b_part, group), ps = by_adapter(p_part, group);
      put(btb, bs.transpose(1, 2).bmm(bs));
      put(ptp, ps.transpose(1, 2).bmm(ps));
      put(ptb, ps.transpose(1, 2).bmm(bs));
      const auto ds = by_adapter(p_part - b_part, group);
      put(dtd, ds.transpose(1, 2).bmm(ds));
      if (sketch > 0) put(mtb, by_adapter(m.t().mm(b_part), group));
    }
    const auto y_part = part(y, share.in_begin, share.in_end, first, columns);
    const auto ys = by_adapter(y_part, group);
    put(yty, ys.transpose(1, 2).bmm(ys));
    const auto a = stacked_a(stack, group)
                       .narrow(1, extent(share.in_begin), extent(share.in_end - share.in_begin))
                       .to(y.device())
                       .t()
                       .to(at::kDouble);
    if (sketch > 0) put(zta, by_adapter(z.t().mm(a), group));
    put(y_a, (y_part * a).sum(0).view({extent(group.adapters), extent(group.rank)}).sum(1));
  }
  Rows all;
  for (const auto* kind : {&btb, &ptp, &ptb, &dtd, &mtb, &yty, &zta, &y_a}) {
    all.insert(all.end(), kind->begin(), kind->end());
  }
  if (sketch > 0) {
    put(all, z.t().mm(z));
    put(all, m.t().mm(m));
  }
  if (all.empty()) return at::empty({0}, y.options().dtype(at::kDouble));
  return at::cat(all);
}

void unpack_statistics(const at::Tensor& packed, const FactorStack& stack, stats::ModuleStatistics& statistics) {
  const auto row = packed.to(at::kCPU).contiguous();
  Cursor values(row);
  const auto sketch = stack.sketch_columns;
  auto& layers = statistics.layers;
  using stats::LayerStatistics;
  for (const auto kind : {&LayerStatistics::btb, &LayerStatistics::ptp, &LayerStatistics::ptb, &LayerStatistics::dtd}) {
    for (std::size_t j = 0; j < layers.size(); ++j) layers[j].*kind = values.take(stack.ranks[j] * stack.ranks[j]);
  }
  if (sketch > 0) {
    for (std::size_t j = 0; j < layers.size(); ++j) layers[j].mtb = values.take(sketch * stack.ranks[j]);
  }
  for (std::size_t j = 0; j < layers.size(); ++j) layers[j].yty = values.take(stack.ranks[j] * stack.ranks[j]);
  if (sketch > 0) {
    for (std::size_t j = 0; j < layers.size(); ++j) layers[j].zta = values.take(sketch * stack.ranks[j]);
  }
  for (auto& layer : layers) layer.y_a = values.take(1).front();
  if (sketch > 0) {
    statistics.ztz = values.take(sketch * sketch);
    statistics.mtm = values.take(sketch * sketch);
  }
}

}  // namespace winnow::compute
