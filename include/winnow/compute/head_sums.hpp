// Of <D, B*A> along a direction D the part of each attention head: of the rows of D that make it (q, k, v), or of the
// columns that read it (o).
//
//     rows      sum over a in the head of b_a * (D*A^T)_a        from P = D*A^T (o x r)
//     columns   sum over c in the head of (D^T*B)_c * a_c        from Y = D^T*B (i x r)
//
// Either comes of the one sweep that a product along a direction takes, if the right one of the two is kept: here, from
// what any backend hands out. Without heads it is the one that is faster, so <D, B*A> of an o_proj may differ in its
// seventh digit from what it is with them.
#pragma once

#include <span>
#include <vector>

#include "winnow/checkpoint/attention_heads.hpp"
#include "winnow/compute/alignment_pass.hpp"

namespace winnow::compute {

/// What a sweep along a direction has to keep for the heads of a module; for none, what it needs anyway.
Operand along_heads(bool stored_transposed, const checkpoint::HeadRanges& heads);

/// [adapters][heads]: each adapter's parts over the rows of this share, without its scale, in float64; those of all
/// members of a team add up to the module's. To be called after finish() of `pass`, begun with `stack` and
/// along_heads(). Of heads of outputs finish() has f^2 alone: their B^T*B and <D, B*A>, the sum of all heads, are added
/// to `statistics` here. The same bits whatever the number of threads.
std::vector<double> add_head_sums(const AlignmentPass& pass, const FactorStack& stack, const Share& share,
                                  const checkpoint::HeadRanges& heads, int threads,
                                  stats::ModuleStatistics& statistics);

}  // namespace winnow::compute
