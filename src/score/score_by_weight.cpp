// The part of ModuleScorer that multiplies with the weight itself: one sweep over W, or two, after those over V if
// there are any. The slabs are the same, without their base.
#include <cmath>

#include "module_batch.hpp"
#include "winnow/comm/together.hpp"
#include "winnow/compute/weight_sums.hpp"

namespace winnow::score {

/// Collective. The weight's sums of this rank's share, with what a second sweep adds to them.
void ModuleScorer::sweep_weight(Batch& batch) {
  const auto& task = inputs_.tasks[batch.module];
  const auto share = division::member_share(task, place_);
  const bool alone = place_.members == 1, takes_digests = !task.has_base() && batch.takes_digests();
  comm::step_together(team_, [&] {
    compute::drop_sketch(batch.stack);
    compute::add_weight_sketch(batch.stack, task.weight_sketch_columns, measuring_.seed, task.name, threads_);
    pass_.begin(batch.stack, {.stored_transposed = task.stored_transposed, .along = true, .keeps_y = true}, share);
    pass_.digest_into(takes_digests ? &batch.digest : nullptr);
    std::uint64_t rows = 0;
    sweep("weight", [&](const slab::Slab& slab) {
      auto weight = slab;
      weight.base = nullptr;
      pass_.pass1(weight);
      rows += slab.rows;
      if (takes_digests && batch.digest.rows() < rows) batch.digest.add(weight, threads_);
    });
    pass_.digest_into(nullptr);
    if (!alone) pass_.complete();
  });
  comm::step_together(team_, [&] {
    if (!alone) reduce([&] { pass_.reduce_pass1(sums_); });
    const auto timer = clock_.time("statistics");
    batch.of_weight = pass_.finish();
    look_again(batch, batch.of_weight);
    compute::add_weight_sums(pass_, batch.stack, share, threads_, batch.of_weight);
    if (task.weight_sketch_columns != 0) compute::turn_weight_sketch(pass_, batch.stack);
  });
  if (task.weight_sweeps == 2) sweep_weight_right(batch);
  gather(batch, batch.of_weight, takes_digests);
}

/// Collective. What W*A^T adds.
void ModuleScorer::sweep_weight_right(Batch& batch) {
  const auto& task = inputs_.tasks[batch.module];
  const auto share = division::member_share(task, place_);
  const bool alone = place_.members == 1;
  comm::step_together(team_, [&] {
    pass_.begin(batch.stack, {.stored_transposed = task.stored_transposed, .along = true, .keeps_p = true}, share);
    sweep("weight", [&](const slab::Slab& slab) {
      auto weight = slab;
      weight.base = nullptr;
      pass_.pass1(weight);
    });
    if (!alone) pass_.complete();
  });
  comm::step_together(team_, [&] {
    if (!alone) reduce([&] { pass_.reduce_pass1(sums_); });
    const auto timer = clock_.time("statistics");
    pass_.finish();
    compute::add_right_sums(pass_, batch.stack, task.weight_sketch_columns, share, threads_, batch.of_weight);
  });
}

}  // namespace winnow::score
