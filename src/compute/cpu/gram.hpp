// The small matrices of a module (B^T B, P^T P, ...) from the skinny ones, in float64.
#pragma once

#include "column_groups.hpp"
#include "winnow/compute/factor_stack.hpp"
#include "winnow/compute/team.hpp"
#include "winnow/stats/module_statistics.hpp"

namespace winnow::compute {

/// Adds all r x r and c x c sums and <Y, A^T> over the rows of `share` to `statistics`. Rows go in fixed blocks, merged
/// in order: the result does not depend on `threads`.
void add_gram_statistics(const Kernel& kernel, const FactorStack& stack, const Share& share, const ColumnGroups& b,
                         const ColumnGroups& y, const ColumnGroups& p, int threads,
                         stats::ModuleStatistics& statistics);

/// Adds B^T B and <V, B*A> from one product of V: X = V*A^T (o x R), or, `turned`, X = V^T*B (i x R).
void add_along_statistics(const Kernel& kernel, const FactorStack& stack, const Share& share, const ColumnGroups& b,
                          const ColumnGroups& x, bool turned, int threads, stats::ModuleStatistics& statistics);

}  // namespace winnow::compute
