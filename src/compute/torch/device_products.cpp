#include "device_products.hpp"

#include <algorithm>

namespace winnow::compute {
namespace {

std::int64_t extent(std::uint64_t value) { return static_cast<std::int64_t>(value); }

}  // namespace

void DeviceProducts::set_tile(std::uint64_t bytes) {
  const auto count = extent(bytes / sizeof(float));
  if (tile_.defined() && tile_.numel() == count) return;
  tile_ = at::Tensor();  // never both at once
  tile_ = at::empty({count}, at::TensorOptions(at::kFloat).device(queue_.device()));
}

void DeviceProducts::multiply(const slab::Slab& slab, const Halves& halves, const SlabProduct& product, double* squares,
                              Precision precision) {
  const auto columns = extent(slab.columns), all_rows = extent(slab.rows);
  const auto tile_rows = std::min<std::int64_t>(tile_.numel() / columns, all_rows);
  for (std::int64_t row = 0; row < all_rows; row += tile_rows) {
    const auto rows = std::min(tile_rows, all_rows - row);
    const auto at = static_cast<std::size_t>(row * columns);
    auto part = halves;
    part.aligned += at * base::element_bytes(halves.aligned_dtype);
    if (part.base != nullptr) part.base += at * base::element_bytes(halves.base_dtype);
    part.count = rows * columns;
    auto v = tile_.narrow(0, 0, part.count).view({rows, columns});
    queue_.difference(part, v.data_ptr<float>(), squares);
    if (product.x.size(1) == 0) continue;
    if (product.by_rows) {
      auto out_rows = product.out.narrow(0, extent(slab.row_begin) + row, rows);
      queue_.product(out_rows, v, product.x, false, precision);
    } else {
      auto whole = product.out;
      queue_.product(whole, v.t(), product.x.narrow(0, row, rows), true, precision);
    }
  }
}

double DeviceProducts::error_of(const slab::Slab& slab, const Halves& halves, const SlabProduct& product) {
  auto exact = at::zeros_like(product.out);
  multiply(slab, halves, {product.by_rows, product.x, exact}, nullptr, Precision::float32);
  const double size = exact.norm().item<double>();
  return size == 0 ? 0 : exact.sub_(product.out).norm().item<double>() / size;
}

void DeviceProducts::for_each_tile(const at::Tensor& x, const at::Tensor& a,
                                   const std::function<void(const at::Tensor&)>& use) {
  const auto columns = a.size(1), rows = std::max<std::int64_t>(1, tile_.numel() / std::max<std::int64_t>(columns, 1));
  for (std::int64_t row = 0; row < x.size(0); row += rows) {
    const auto count = std::min(rows, x.size(0) - row);
    auto product = tile_.narrow(0, 0, count * columns).view({count, columns});
    queue_.product(product, x.narrow(0, row, count), a, false, Precision::float32);
    use(product);
  }
}

void DeviceProducts::tally(const at::Tensor& x, const at::Tensor& a, const EntryWindows& windows, EntryTally& sum) {
  for_each_tile(x, a, [&](const at::Tensor& tile) {
    auto part = empty_tally();
    // One copy of a few numbers, in float64: counts are exact.
    std::vector<at::Tensor> facts{tile.min().to(at::kDouble), tile.max().to(at::kDouble), tile.sum().to(at::kDouble)};
    std::vector<at::Tensor> inside;
    for (const auto& window : windows) {
      const auto under = tile.lt(window.low);
      facts.push_back(under.sum().to(at::kDouble));
      inside.push_back(tile.lt(window.high).logical_xor_(under));
      facts.push_back(inside.back().sum().to(at::kDouble));
    }
    const auto host = at::stack(facts).to(at::kCPU);
    const auto* const values = host.data_ptr<double>();
    part.minimum = static_cast<float>(values[0]);
    part.maximum = static_cast<float>(values[1]);
    part.check = static_cast<float>(values[2]);
    for (std::size_t q = 0; q < kQuartiles; ++q) {
      part.below[q] = static_cast<std::uint64_t>(values[3 + 2 * q]);
      if (windows[q].bins_each == 0) {
        part.inside[q][0] = static_cast<std::uint64_t>(values[4 + 2 * q]);
        continue;
      }
      const auto near = tile.masked_select(inside[q]).to(at::kCPU);
      count_in(windows[q], {near.data_ptr<float>(), static_cast<std::size_t>(near.numel())}, part.inside[q]);
    }
    merge(sum, part);
  });
}

ElementSummary DeviceProducts::summarise(const at::Tensor& x, const std::vector<float>& a, std::uint64_t row_length) {
  const auto columns = extent(row_length), rank = x.size(1);
  const auto on_host = at::from_blob(const_cast<float*>(a.data()), {rank, columns}, at::kFloat);
  const auto right = on_host.to(queue_.device());
  const auto lines = [&](std::int64_t length) {
    std::vector<std::int64_t> chosen;
    for (const auto line : sampled_lines(static_cast<std::size_t>(length))) chosen.push_back(extent(line));
    return at::tensor(chosen, at::kLong).to(queue_.device());
  };
  const double sum = (x.sum(0, false, at::kDouble) * right.sum(1, false, at::kDouble)).sum().item<double>();
  std::vector<float> sample;
  for_each_tile(x.index_select(0, lines(x.size(0))), right.index_select(1, lines(columns)),
                [&](const at::Tensor& tile) {
                  const auto host = tile.to(at::kCPU);
                  sample.insert(sample.end(), host.data_ptr<float>(), host.data_ptr<float>() + host.numel());
                });
  const auto count = static_cast<std::uint64_t>(x.size(0) * columns);
  if (const auto windows = windows_around(sample, static_cast<std::size_t>(rank))) {
    if (sample.size() == count) return summarise_all(sample, sum);
    auto counted = empty_tally();
    tally(x, right, *windows, counted);
    if (const auto summary = settle(counted, *windows, count, sum)) return *summary;
  }
  return compute::summarise<float>([&](const auto& use) {
    for_each_tile(x, right, [&](const at::Tensor& tile) {
      const auto host = tile.to(at::kCPU);
      use(host.data_ptr<float>(), static_cast<std::size_t>(host.numel()));
    });
  });
}

}  // namespace winnow::compute
