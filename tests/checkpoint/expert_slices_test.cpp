#include "winnow/checkpoint/expert_slices.hpp"

#include <gmock/gmock.h>

#include "winnow/base/bytes.hpp"

namespace winnow::checkpoint {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

TensorLocation located(std::vector<std::uint64_t> shape, std::uint64_t offset = 100) {
  TensorLocation location{2, offset, 2, base::DType::bf16, std::move(shape)};
  for (const auto size : location.shape) location.bytes *= size;
  return location;
}

TEST(ExpertSlices, AreMatricesWithinTheBlockAndInOrder) {
  Catalogue catalogue;
  catalogue.tensors.emplace("model.layers.7.mlp.experts.gate_up_proj", located({3, 8, 4}));
  catalogue.tensors.emplace("model.layers.7.mlp.gate.weight", located({3, 4}));
  add_expert_slices(catalogue);
  ASSERT_THAT(catalogue.experts, SizeIs(3));
  for (std::uint64_t expert = 0; expert < 3; ++expert) {
    const auto* slice = catalogue.find("model.layers.7.mlp.experts." + std::to_string(expert) + ".gate_up_proj.weight");
    ASSERT_NE(slice, nullptr);
    EXPECT_THAT(slice->shape, ElementsAre(8, 4));
    EXPECT_EQ(slice->offset, 100 + expert * 64);
    EXPECT_EQ(slice->bytes, 64U);
    EXPECT_EQ(slice->shard, 2U);
    EXPECT_EQ(slice->dtype, base::DType::bf16);
  }
  EXPECT_EQ(catalogue.find("model.layers.7.mlp.experts.3.gate_up_proj.weight"), nullptr);
  EXPECT_EQ(catalogue.total_bytes(), 192U + 24U) << "nothing counts twice";
}

TEST(ExpertSlices, GoFromRankToRank) {
  Catalogue catalogue;
  catalogue.tensors.emplace("h.0.experts.down_proj", located({2, 8, 4}));
  add_expert_slices(catalogue);
  base::ByteWriter out;
  catalogue.serialise(out);
  base::ByteReader in(out.bytes());
  const auto copy = Catalogue::deserialise(in);
  ASSERT_NE(copy.find("h.0.experts.1.down_proj.weight"), nullptr);
  EXPECT_EQ(copy.find("h.0.experts.1.down_proj.weight")->offset, 164U);
}

TEST(ExpertSlices, AreOfNothingElse) {
  Catalogue catalogue;
  for (const auto* name : {"model.conv.weight", "mixer.conv1d.weight", "model.layers.0.mlp.experts.up.weight",
                           "experts_of.gate_up_proj", "gate_up_proj"}) {
    catalogue.tensors.emplace(name, located({2, 8, 4}));
  }
  catalogue.tensors.emplace("m.experts.gate_up_proj_bias", located({2, 8}));
  catalogue.tensors.emplace("m.experts.down_proj_blocks", located({2, 8, 4, 16}));
  catalogue.tensors.emplace("m.experts.crowd", located({kMostExperts + 1, 1, 1}));
  catalogue.tensors.emplace("m.experts.nobody", located({0, 8, 4}));
  add_expert_slices(catalogue);
  EXPECT_THAT(catalogue.experts, IsEmpty());
}

TEST(ExpertSlices, OfGraniteAreBesideTheirBlock) {
  Catalogue catalogue;
  catalogue.tensors.emplace("model.layers.0.block_sparse_moe.input_linear.weight", located({2, 8, 4}));
  add_expert_slices(catalogue);
  EXPECT_NE(catalogue.find("model.layers.0.block_sparse_moe.1.input_linear.weight"), nullptr);
}

TEST(ExpertSlices, ATensorOfThatNameIsItself) {
  Catalogue catalogue;
  catalogue.tensors.emplace("experts.gate_up_proj", located({2, 8, 4}));
  catalogue.tensors.emplace("experts.1.gate_up_proj.weight", located({8, 4}, 7000));
  add_expert_slices(catalogue);
  EXPECT_THAT(catalogue.experts, SizeIs(1));
  EXPECT_EQ(catalogue.find("experts.1.gate_up_proj.weight")->offset, 7000U);
}

}  // namespace
}  // namespace winnow::checkpoint
