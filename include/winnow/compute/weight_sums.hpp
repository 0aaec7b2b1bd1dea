// What methods read of the products H = W^T*B and K = W*A^T, W the weight itself rather than a difference: small
// matrices in float64, from what any backend hands out after a sweep that keeps Y, which H then is, or P, which is K.
//
// A random sketch of W goes by the same two sweeps as one adapter more, the last of the stack:
//
//     sweep 1    Z = W^T*Omega   (i x c)     its B is Omega, standard normal (o x c)
//     sweep 2    M = W*Z         (o x c)     its A is Z^T by then
#pragma once

#include <cstdint>
#include <string_view>

#include "winnow/compute/alignment_pass.hpp"

namespace winnow::compute {

/// Columns c of the sketch of W: 48, at most 2*min(o, i). With a fifth more than min(o, i) it misses nothing: of a
/// square random matrix one direction may be all but 0.
std::uint64_t weight_sketch_columns(std::uint64_t out_features, std::uint64_t in_features);

/// Appends that adapter to a stack without a sketch: Omega from Philox keyed by `seed` and `module`, as that of
/// make_factor_stack(), and an A of zeros. Nothing if `columns` is 0.
void add_weight_sketch(FactorStack& stack, std::uint64_t columns, std::uint64_t seed, std::string_view module,
                       int threads = 1);

/// After sweep 1: makes its A Z^T, rounded to float32; of rows beyond a share 0 if the team has not added them up.
void turn_weight_sketch(const AlignmentPass& pass, FactorStack& stack);

/// Adds H^T*H and H^T*A^T (r x r) of this share's inputs to each adapter's `yty` and `yta`, in float64. To be called
/// after finish() of `pass`, which was begun with `stack` and Operand::keeps_y. The same bits whatever the number of
/// threads.
void add_weight_sums(const AlignmentPass& pass, const FactorStack& stack, const Share& share, int threads,
                     stats::ModuleStatistics& statistics);

/// Adds K^T*K and K^T*B to each adapter's `ptp` and `ptb`, likewise, after a pass with Operand::keeps_p. If the last
/// adapter is a sketch of `sketch_columns`, it is taken off the statistics and is their sketch instead: with its Z^T*Z
/// and M^T*M, and M^T*K, M^T*B and Z^T*A^T (c x r) of each adapter.
void add_right_sums(const AlignmentPass& pass, const FactorStack& stack, std::uint64_t sketch_columns,
                    const Share& share, int threads, stats::ModuleStatistics& statistics);

}  // namespace winnow::compute
