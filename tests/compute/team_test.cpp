// A module shared by a team gives the sums of a module that one rank holds.
#include "winnow/compute/team.hpp"

#include <gtest/gtest.h>

#include <memory>
#include <random>
#include <vector>

#include "compute/dense_module.hpp"
#include "compute/recorded_sums.hpp"

namespace winnow::compute {
namespace {

using base::DType;
using test::DenseModule;
using test::DenseTruth;
using test::RecordedSums;

class TeamTest : public test::BackendTest {};

TEST_P(TeamTest, SharedRowsGiveTheSumsOfTheWhole) {
  std::mt19937_64 random(1);
  for (const std::size_t members : {2U, 3U, 5U}) {
    for (const bool transposed : {false, true}) {
      SCOPED_TRACE(testing::Message() << members << " members, transposed " << transposed);
      const auto module = DenseModule::random(random, 211, 173, {DType::bf16, DType::f32, transposed}, {4, 25, 1}, 6);
      const auto rows = static_cast<std::uint64_t>(module.stored_rows());
      const auto columns = static_cast<std::uint64_t>(module.stored_columns());
      // Uneven parts; with five members the second has no rows at all.
      std::vector<std::uint64_t> cuts{rows / 7};
      while (cuts.size() + 1 < members) cuts.push_back(cuts.back() + (cuts.size() == 1 && members == 5 ? 0 : 31));
      const auto in_slabs_of = [&](std::size_t member, auto use) {
        std::size_t slab_number = 0;
        module.for_each_slab(cuts, [&](const slab::Slab& slab) {
          if (slab_number++ == member && slab.rows > 0) use(slab);
        });
      };
      const auto stack = module.stack();
      std::vector<std::unique_ptr<AlignmentPass>> passes;
      std::vector<RecordedSums> first(members), second(members);
      for (std::size_t m = 0; m < members; ++m) {
        const auto stored_begin = m == 0 ? 0 : cuts[m - 1], stored_end = m + 1 < members ? cuts[m] : rows;
        const auto other_begin = columns * m / members, other_end = columns * (m + 1) / members;
        const Share share = transposed ? Share{other_begin, other_end, stored_begin, stored_end}
                                       : Share{stored_begin, stored_end, other_begin, other_end};
        passes.push_back(make_alignment_pass(GetParam(), Device::cpu, 2));
        passes[m]->begin(stack, {.stored_transposed = transposed}, share);
        in_slabs_of(m, [&](const slab::Slab& slab) { passes[m]->pass1(slab); });
        passes[m]->reduce_pass1(first[m]);
      }
      RecordedSums::add_up(first);
      for (std::size_t m = 0; m < members; ++m) {
        in_slabs_of(m, [&](const slab::Slab& slab) { passes[m]->pass2(slab); });
        passes[m]->reduce_pass2(second[m]);
      }
      if (transposed) RecordedSums::add_up(second);
      auto whole = passes[0]->finish();
      for (std::size_t m = 1; m < members; ++m) {
        auto part = passes[m]->finish();
        EXPECT_EQ(part.squared_norm, whole.squared_norm);
        part.squared_norm = 0;
        whole.merge(part);
      }
      test::expect_statistics(whole, module, DenseTruth(module), test::tolerance_of(GetParam()));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Backends, TeamTest, testing::Values(Backend::reference, Backend::cpu, Backend::torch),
                         [](const auto& backend) { return std::string(name(backend.param)); });

}  // namespace
}  // namespace winnow::compute
