#include "winnow/division/team_plan.hpp"

#include <algorithm>

#include "winnow/comm/communicator.hpp"

namespace winnow::division {
namespace {

using run::Means;
using run::Measuring;

/// The first of `count` things that belong to `member`; for member = members, `count`.
std::uint64_t first_of(std::uint64_t count, int member, int members) {
  return count * static_cast<std::uint64_t>(member) / static_cast<std::uint64_t>(members);
}

}  // namespace

int team_members(const Means& means, const Measuring& measuring, int ranks, std::size_t modules) {
  if (measuring.element_statistics) return 1;
  if (means.team > 0) return means.team;
  return std::max(1, ranks / static_cast<int>(std::clamp<std::size_t>(modules, 1, static_cast<std::size_t>(ranks))));
}

Assignment assign_modules(const Means& means, const Measuring& measuring, const std::vector<slab::ModuleTask>& tasks,
                          int ranks) {
  return assign_rest(tasks, std::vector<bool>(tasks.size(), false), ranks,
                     team_members(means, measuring, ranks, tasks.size()));
}

Assignment assign_rest(const std::vector<slab::ModuleTask>& tasks, const std::vector<bool>& finished, int ranks,
                       int members) {
  Assignment assignment;
  assignment.ranks = ranks;
  assignment.members = std::min(members, ranks);
  const int teams = comm::teams_of(ranks, assignment.members);
  assignment.modules.resize(static_cast<std::size_t>(teams));
  std::vector<std::size_t> left;
  std::vector<slab::ModuleTask> rest;
  for (std::size_t m = 0; m < tasks.size(); ++m) {
    if (finished[m]) continue;
    left.push_back(m);
    rest.push_back(tasks[m]);
  }
  const auto team_of_rest = slab::assign(rest, teams);
  assignment.team_of_module.assign(tasks.size(), -1);
  for (std::size_t k = 0; k < left.size(); ++k) {
    assignment.team_of_module[left[k]] = team_of_rest[k];
    assignment.modules[static_cast<std::size_t>(team_of_rest[k])].push_back(left[k]);
  }
  return assignment;
}

const std::vector<std::size_t>& Assignment::modules_of(int rank) const {
  return modules[static_cast<std::size_t>(comm::team_of(rank, ranks, members))];
}

TeamPlace Assignment::place_of(int rank) const {
  const int team = comm::team_of(rank, ranks, members), first = team * members;
  const bool last = team + 1 == static_cast<int>(modules.size());
  return {rank - first, last ? ranks - first : members};
}

std::vector<slab::SlabRange> member_slabs(const slab::ModuleTask& task, const TeamPlace& place) {
  if (place.members == 1) return slab::split(task);
  const auto members = static_cast<std::uint64_t>(place.members);
  const auto all = slab::split(task, std::min(slab::kSlabBytes, (task.bytes() + members - 1) / members));
  const auto at = [&](int member) {
    return all.begin() + static_cast<std::ptrdiff_t>(first_of(all.size(), member, place.members));
  };
  return {at(place.member), at(place.member + 1)};
}

compute::Share member_share(const slab::ModuleTask& task, const TeamPlace& place) {
  const auto slabs = member_slabs(task, place);
  const std::uint64_t stored_begin = slabs.empty() ? 0 : slabs.front().row_begin;
  const std::uint64_t stored_end = slabs.empty() ? 0 : slabs.back().row_begin + slabs.back().rows;
  const std::uint64_t other_begin = first_of(task.columns(), place.member, place.members);
  const std::uint64_t other_end = first_of(task.columns(), place.member + 1, place.members);
  if (task.stored_transposed) return {other_begin, other_end, stored_begin, stored_end};
  return {stored_begin, stored_end, other_begin, other_end};
}

}  // namespace winnow::division
