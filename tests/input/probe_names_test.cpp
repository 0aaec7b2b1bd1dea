// What adapters are mapped on if there is no checkpoint: the modules of all probes.
#include <gmock/gmock.h>

#include "winnow/base/error.hpp"
#include "winnow/checkpoint/expert_slices.hpp"
#include "winnow/input/probe_input.hpp"

namespace winnow::input {
namespace {

using testing::ElementsAre;

const std::string kBlock = "model.layers.0.mlp.experts.down_proj";
const std::string kExpert = "model.layers.0.mlp.experts.1.down_proj.weight";

checkpoint::TensorLocation shaped(std::vector<std::uint64_t> shape) {
  checkpoint::TensorLocation location;
  location.shape = std::move(shape);
  return location;
}

/// An adapter does not know how a model stores its experts: [out, in].
ProbeInput adapter_probe(std::vector<std::uint64_t> shape = {8, 6}) {
  ProbeInput probe;
  probe.source.form = probes::Form::adapter;
  for (const auto* expert : {"0", "1"}) {
    probe.weights.tensors.emplace(std::string("model.layers.0.mlp.experts.") + expert + ".down_proj.weight",
                                  shaped(shape));
  }
  return probe;
}

ProbeInput direction(std::vector<std::uint64_t> shape = {2, 6, 8}) {
  ProbeInput probe;
  probe.source.form = probes::Form::direction;
  probe.weights.tensors.emplace(kBlock, shaped(std::move(shape)));
  checkpoint::add_expert_slices(probe.weights);
  return probe;
}

TEST(ProbeNames, ExpertsAreStoredAsADirectionHasThemInWhateverOrder) {
  for (const auto& probes : std::vector<std::vector<ProbeInput>>{{adapter_probe(), direction()},
                                                                 {direction(), adapter_probe()},
                                                                 {adapter_probe(), direction(), adapter_probe()},
                                                                 {adapter_probe(), adapter_probe(), direction()}}) {
    const auto names = names_of(probes);
    ASSERT_NE(names.find(kExpert), nullptr);
    EXPECT_THAT(names.find(kExpert)->shape, ElementsAre(6, 8));
  }
  EXPECT_THAT(names_of({adapter_probe()}).find(kExpert)->shape, ElementsAre(8, 6));
}

TEST(ProbeNames, ProbesOfOtherShapesAreOfAnotherModel) {
  EXPECT_THROW(names_of({adapter_probe(), adapter_probe({6, 8})}), base::Error) << "two adapters tell alike";
  EXPECT_THROW(names_of({direction(), direction({2, 8, 6})}), base::Error);
  EXPECT_THROW(names_of({adapter_probe(), direction({2, 6, 9})}), base::Error);
}

}  // namespace
}  // namespace winnow::input
