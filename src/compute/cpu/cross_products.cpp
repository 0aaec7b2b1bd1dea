#include "winnow/compute/cross_products.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <span>
#include <utility>

#include "columns.hpp"
#include "winnow/compute/leading_block.hpp"

namespace winnow::compute {
namespace {

/// Columns [first, first + count) of B in some rows.
void some_of_b(const FactorStack& stack, std::size_t first, std::size_t count, const RowBlock& rows, Columns& columns) {
  columns.reset(rows.count, count);
  const std::size_t stride = stack.columns();
  for (std::size_t row = 0; row < rows.count; ++row) {
    const float* const from =
        stack.b.data() + (rows.first + row) * stride + first;  // of no columns there is no element
    std::copy_n(from, count, columns.values + row * columns.width);
  }
}

/// A^T of all adapters of a stack, side by side.
Columns all_of_a(const FactorStack& stack, const RowBlock& block) {
  Columns columns(block.count, stack.columns());
  for (std::size_t j = 0; j < stack.ranks.size(); ++j) {
    for (std::size_t c = 0; c < stack.ranks[j]; ++c) {
      const float* const a = stack.a[j].data() + c * stack.in_features + block.first;
      double* const to = columns.values + stack.first_column(j) + c;
      for (std::size_t k = 0; k < block.count; ++k) to[k * columns.width] = static_cast<double>(a[k]);
    }
  }
  return columns;
}

/// One side of a module: B of all probes, or A^T of them.
struct Side {
  std::vector<RowBlock> blocks;
  std::vector<Columns> probes;  ///< [blocks]
};

/// What one adapter has in common with all probes, and with itself: R_h x r and r x r.
struct Grams {
  std::vector<double> cross, own;
};

/// Over all rows of one side, block by block.
template <class Part>
Grams grams_of(const Side& side, std::size_t columns, std::size_t rank, Part part) {
  Grams sum{std::vector<double>(columns * rank), std::vector<double>(rank * rank)};
  Columns mine;
  for (std::size_t block = 0; block < side.blocks.size(); ++block) {
    part(side.blocks[block], mine);
    add_product(best_kernel(), sum.cross, side.probes[block], mine);
    add_product(best_kernel(), sum.own, mine, mine);
  }
  return sum;
}

/// The sum of count products of entries from `first` on.
double inner(const std::vector<double>& b, const std::vector<double>& a, std::size_t first, std::size_t count) {
  const auto begin = static_cast<std::ptrdiff_t>(first), end = static_cast<std::ptrdiff_t>(first + count);
  return std::inner_product(b.begin() + begin, b.begin() + end, a.begin() + begin, 0.0);
}

double norm_of(const std::vector<double>& btb, const std::vector<double>& aat) {
  return std::sqrt(std::max(inner(btb, aat, 0, btb.size()), 0.0));
}

}  // namespace

struct ProbeFactors::Sides {
  Side out, in;
  Side heads;  ///< of the side that attention heads divide: a block each
  bool heads_of_inputs = false;
  std::vector<std::size_t> ranks, first_columns;
  std::size_t columns = 0;
  std::vector<double> norms;
  std::vector<LeadingBlock> blocks;
};

ProbeFactors::ProbeFactors(const FactorStack& probes, const checkpoint::HeadRanges& heads)
    : sides_(std::make_unique<Sides>()) {
  auto& sides = *sides_;
  sides.columns = probes.columns();
  sides.out.blocks = blocks_of(0, probes.out_features);
  sides.in.blocks = blocks_of(0, probes.in_features);
  for (const auto& block : sides.out.blocks) {
    some_of_b(probes, 0, sides.columns, block, sides.out.probes.emplace_back());
  }
  for (const auto& block : sides.in.blocks) sides.in.probes.push_back(all_of_a(probes, block));
  sides.heads_of_inputs = heads.of_inputs;
  for (std::size_t head = 0; head < heads.count; ++head) {
    const auto& block = sides.heads.blocks.emplace_back(RowBlock{head * heads.width, heads.width});
    if (heads.of_inputs) {
      sides.heads.probes.push_back(all_of_a(probes, block));
    } else {
      some_of_b(probes, 0, sides.columns, block, sides.heads.probes.emplace_back());
    }
  }
  for (std::size_t h = 0; h < probes.ranks.size(); ++h) {
    const std::size_t rank = probes.ranks[h], first = probes.first_column(h);
    sides.ranks.push_back(rank);
    sides.first_columns.push_back(first);
    std::vector<double> btb(rank * rank);
    for (const auto& block : sides.out.blocks) {
      Columns rows;
      some_of_b(probes, first, rank, block, rows);
      add_product(best_kernel(), btb, rows, rows);
    }
    const auto aat = gram_a(probes, h);
    sides.norms.push_back(norm_of(btb, aat));
    sides.blocks.emplace_back(btb, aat, rank);
  }
}

ProbeFactors::~ProbeFactors() = default;
ProbeFactors::ProbeFactors(ProbeFactors&&) noexcept = default;
ProbeFactors& ProbeFactors::operator=(ProbeFactors&&) noexcept = default;

const std::vector<double>& ProbeFactors::norms() const { return sides_->norms; }

double UpdateProducts::norm() const { return norm_of(btb, gram_a); }

ProbeFactors::DenseProducts ProbeFactors::with_dense(std::size_t h, const std::vector<double>& between) const {
  const auto rank = sides_->ranks.at(h);
  std::vector<double> identity(rank * rank);
  DenseProducts products;
  for (std::size_t k = 0; k < rank; ++k) {
    identity[k * rank + k] = 1;
    products.dot += between[k * rank + k];
  }
  products.block = sides_->blocks[h].norm(between, identity, rank);
  return products;
}

UpdateProducts ProbeFactors::with(const FactorStack& stack, std::size_t j) const {
  const auto& sides = *sides_;
  const std::size_t rank = stack.ranks[j], first = stack.first_column(j);
  const auto b_rows = [&](const RowBlock& rows, Columns& to) { some_of_b(stack, first, rank, rows, to); };
  const auto a_rows = [&](const RowBlock& rows, Columns& to) { columns_of_a(stack, j, rows, to); };
  auto b = grams_of(sides.out, sides.columns, rank, b_rows);
  auto a = grams_of(sides.in, sides.columns, rank, a_rows);
  UpdateProducts products{std::move(b.own), std::move(a.own), {}, {}, {}};
  for (std::size_t h = 0; h < sides.ranks.size(); ++h) {
    const auto begin = sides.first_columns[h] * rank, count = sides.ranks[h] * rank;
    products.dots.push_back(inner(b.cross, a.cross, begin, count));
    products.blocks.push_back(
        sides.blocks[h].norm(std::span(b.cross).subspan(begin, count), std::span(a.cross).subspan(begin, count), rank));
  }
  // Of <B_h^T*B_x, A_h*A_x^T> one side is that of the head, the other one of the whole module.
  const std::size_t heads = sides.heads.blocks.size();
  products.heads.resize(sides.ranks.size() * heads);
  Columns mine;
  for (std::size_t head = 0; head < heads; ++head) {
    std::vector<double> cross(sides.columns * rank);
    sides.heads_of_inputs ? a_rows(sides.heads.blocks[head], mine) : b_rows(sides.heads.blocks[head], mine);
    add_product(best_kernel(), cross, sides.heads.probes[head], mine);
    for (std::size_t h = 0; h < sides.ranks.size(); ++h) {
      products.heads[h * heads + head] =
          inner(cross, sides.heads_of_inputs ? b.cross : a.cross, sides.first_columns[h] * rank, sides.ranks[h] * rank);
    }
  }
  return products;
}

}  // namespace winnow::compute
