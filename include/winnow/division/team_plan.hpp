// Teams: ranks that share each of their modules by row slabs, for when ranks outnumber modules.
#pragma once

#include <cstdint>
#include <vector>

#include "winnow/compute/team.hpp"
#include "winnow/run/means.hpp"
#include "winnow/run/measuring.hpp"
#include "winnow/slab/plan.hpp"

namespace winnow::division {

/// A rank's place in its team.
struct TeamPlace {
  int member = 0, members = 1;
};

/// Ranks in a team: as many as `--team` says, though there may be fewer, or for 0 as many as there are ranks for each
/// module, one at least. One for element statistics, which need whole modules. Of what is asked for, not of the ranks
/// there are, since a journal is resumed on any number of them.
int team_members(const run::Means& means, const run::Measuring& measuring, int ranks, std::size_t modules);

/// Which rank has which modules: the longest to the least loaded team.
struct Assignment {
  int ranks = 1;
  int members = 1;                                ///< ranks of a team; the last takes those that are left over
  std::vector<int> team_of_module;                ///< [tasks]
  std::vector<std::vector<std::size_t>> modules;  ///< [teams]: indices into the tasks, rising

  const std::vector<std::size_t>& modules_of(int rank) const;
  TeamPlace place_of(int rank) const;
};

Assignment assign_modules(const run::Means& means, const run::Measuring& measuring,
                          const std::vector<slab::ModuleTask>& tasks, int ranks);

/// Of those that are not `finished` [tasks], to teams of `members`; the others are nobody's: team -1.
Assignment assign_rest(const std::vector<slab::ModuleTask>& tasks, const std::vector<bool>& finished, int ranks,
                       int members);

/// The slabs of a module that this member reads: all of split() for a rank alone; in a team neighbouring ones, and more
/// and smaller ones if there would be too few.
std::vector<slab::SlabRange> member_slabs(const slab::ModuleTask& task, const TeamPlace& place);

/// The rows that count towards this member's statistics: those of its slabs, and an even part of the other dimension.
compute::Share member_share(const slab::ModuleTask& task, const TeamPlace& place);

}  // namespace winnow::division
