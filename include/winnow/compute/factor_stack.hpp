// The right-hand sides of one module: the B factors of all adapters side by side, then the sketch.
//
//            adapter 0    adapter 1        sketch
//          +-----------+---------------+-----------+
//     b    |  o x r_0  |    o x r_1    | Omega o x c|   o x R, row-major, R = sum r_j + c
//          +-----------+---------------+-----------+
//     a[j] is A of adapter j: r_j x i, row-major
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace winnow::compute {

struct FactorStack {
  std::uint64_t out_features = 0, in_features = 0;
  std::vector<std::uint64_t> ranks;  ///< r_j
  std::uint64_t sketch_columns = 0;  ///< c, 0 without a sketch
  std::vector<float> b;              ///< o x R
  std::vector<std::vector<float>> a;
  std::vector<int> exponents;  ///< dW_j = s * 2^exponents[j] * B_j * A_j; 0 unless bring_into_range() was needed

  std::uint64_t columns() const;                          ///< R
  std::uint64_t first_column(std::size_t adapter) const;  ///< of adapter j in b; columns() - c for j = ranks.size()
};

/// A stack with room for the factors and the sketch Omega filled in: standard normal, from Philox keyed by `seed` and
/// `module`, element row * c + column, so that any rank and any thread makes its own rows.
FactorStack make_factor_stack(std::uint64_t out_features, std::uint64_t in_features, std::vector<std::uint64_t> ranks,
                              std::uint64_t sketch_columns, std::uint64_t seed, std::string_view module,
                              int threads = 1);

/// Takes the sketch out, in place.
void drop_sketch(FactorStack& stack);

/// Copies a B factor (o x r_j, row-major) into its columns.
void place_b(FactorStack& stack, std::size_t adapter, const std::vector<float>& b);

/// Brings factors of adapter j that are out of range (range.hpp) to 1 by powers of two, which change no digit of any
/// result, and notes them in `exponents`: an adapter with entries of 1e30 or 1e-30 is a valid one.
void bring_into_range(FactorStack& stack, std::size_t adapter);

/// A*A^T of adapter j in double, r_j x r_j. The same bits whatever the number of threads.
std::vector<double> gram_a(const FactorStack& stack, std::size_t adapter, int threads = 1);

/// Columns of the sketch for k directions: 3k + 6, at most min(o, i); 0 for k = 0. Against SVDs of 56 modules of
/// `synth` (six directions with 3/4 of the energy of V over noise), 50 adapters, k = 6, three seeds: the subspace
/// energy is off by 0.024 at most and 0.002 on average; with 2k + 4 columns by 0.055, with k + 2 by 0.17, and with k +
/// 2 and one more sweep over V (a power iteration) by 0.042. Its halves are two sketches, which tell its error
/// (metrics/subspace.hpp).
std::uint64_t sketch_columns(std::uint64_t subspace_rank, std::uint64_t out_features, std::uint64_t in_features);

}  // namespace winnow::compute
