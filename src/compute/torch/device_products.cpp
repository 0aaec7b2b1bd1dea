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

TileSweep<float> DeviceProducts::product_tiles(const at::Tensor& x, const std::vector<float>& a,
                                               std::uint64_t row_length) {
  const auto columns = extent(row_length);
  const auto right = at::from_blob(const_cast<float*>(a.data()), {x.size(1), columns}, at::kFloat).to(queue_.device());
  const auto rows = std::max<std::int64_t>(1, tile_.numel() / std::max<std::int64_t>(columns, 1));
  return [this, x, right, rows](const std::function<void(const float*, std::size_t)>& use) {
    for (std::int64_t row = 0; row < x.size(0); row += rows) {
      const auto count = std::min(rows, x.size(0) - row);
      auto product = tile_.narrow(0, 0, count * right.size(1)).view({count, right.size(1)});
      queue_.product(product, x.narrow(0, row, count), right, false, Precision::float32);
      const auto host = product.to(at::kCPU);
      use(host.data_ptr<float>(), static_cast<std::size_t>(host.numel()));
    }
  };
}

}  // namespace winnow::compute
