// A module's statistics, formed where Y and P are and brought over in one piece.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <vector>

#include "winnow/compute/factor_stack.hpp"
#include "winnow/compute/team.hpp"
#include "winnow/stats/module_statistics.hpp"

namespace winnow::compute {

/// Neighbouring adapters of one rank, whose small products are one batch.
struct RankGroup {
  std::size_t first_adapter = 0, adapters = 0;
  std::uint64_t rank = 0;
};

/// Groups whose float64 copies stay below `scratch_bytes` if a single adapter's do.
std::vector<RankGroup> rank_groups(const FactorStack& stack, std::uint64_t scratch_bytes);

/// Memory that pack_statistics() takes, with what it returns.
std::uint64_t statistics_memory(const FactorStack& stack, const std::vector<RankGroup>& groups);

/// Every sum of stats::ModuleStatistics but f^2, over the rows of `share`, in float64 in one row: kind by kind BtB,
/// PtP, PtB, DtD, MtB, YtY and <Y, At>, in each kind adapter by adapter, then ZtZ and MtM. The groups leave no trace in
/// that order: rows of ranks that grouped differently may be added. b, p: o x R, y: i x R, float32, on one device; P
/// divided by f.
at::Tensor pack_statistics(const FactorStack& stack, const std::vector<RankGroup>& groups, const Share& share,
                           const at::Tensor& b, const at::Tensor& p, const at::Tensor& y);

/// Puts them where they belong in `statistics`, which has this stack's shape.
void unpack_statistics(const at::Tensor& packed, const FactorStack& stack, stats::ModuleStatistics& statistics);

}  // namespace winnow::compute
