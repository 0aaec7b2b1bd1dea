#include "winnow/run/arithmetic.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <set>
#include <vector>

#include "winnow/comm/together.hpp"

namespace winnow::run {
namespace {

std::string arithmetic_of_this_rank(const Seams& seams, const ComputePlace& where) {
  if (auto* const device = where.pass->device()) {
    std::vector<std::string> parts;  // not its number
    for (const auto& [name, value] : device->attributes()) parts.push_back(fmt::format("{} {}", name, value));
    return fmt::format("{}", fmt::join(parts, ", "));
  }
  compute::PassOptions pass;
  pass.backend = where.target.backend;
  return seams.make_pass(pass)->description();
}

}  // namespace

std::string arithmetic_of_all(const Seams& seams, const ComputePlace& where, comm::Communicator& world) {
  const auto mine = comm::result_together(world, [&] { return arithmetic_of_this_rank(seams, where); });
  const auto all = world.gather(mine, comm::kCoordinator);
  return fmt::format("{}", fmt::join(std::set<std::string>(all.begin(), all.end()), "; "));
}

}  // namespace winnow::run
