#include "winnow/methods/table.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "winnow/base/error.hpp"

namespace winnow::methods {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

TEST(Table, NamesEveryDatasetOnceAndSaysWhatItIs) {
  std::set<std::string_view> methods, datasets;
  for (const auto* method : all()) {
    EXPECT_TRUE(methods.insert(method->name).second) << method->name;
    EXPECT_FALSE(method->what.empty()) << method->name;
    EXPECT_FALSE(method->source.empty()) << method->name;
    EXPECT_NE(method->sums, 0U) << method->name;
    EXPECT_TRUE(method->of_layer == nullptr || method->over_zoo == nullptr) << method->name;
    const bool makes_columns = method->of_layer != nullptr || method->over_zoo != nullptr;
    EXPECT_NE(makes_columns, method->columns.empty()) << method->name;
    EXPECT_TRUE(makes_columns || method->of_adapters != nullptr) << method->name;
    for (const auto& column : method->columns) {
      EXPECT_TRUE(datasets.insert(column.name).second) << column.name;
      EXPECT_FALSE(column.title.empty()) << column.name;
      EXPECT_FALSE(column.long_name.empty()) << column.name;
      EXPECT_EQ(find_column(column.name), &column);
      EXPECT_EQ(method_of(column.name), method);
      EXPECT_EQ(column.form == Form::category, !column.categories.empty()) << column.name;
    }
  }
}

TEST(Table, MakesADatasetBeforeItIsReadAndWithTheSumsOfItsReader) {
  std::set<std::string_view> made;
  std::uint32_t sums = 0;
  for (const auto* method : all()) {
    if (method->over_zoo != nullptr) {
      Zoo zoo;
      zoo.layout = {2, 5, {"q", "q", "q", "q", "q"}};
      zoo.elements.assign(5, 100);
      std::vector<double> values;
      for (std::size_t cell = 0; cell < zoo.cells(); ++cell) values.push_back(1 + 0.1 * static_cast<double>(cell));
      zoo.alignment_norms.assign(5, 1);
      zoo.probes.push_back({1, std::vector<double>(5, 2), std::vector<double>(zoo.cells(), 0.5),
                            std::vector<double>(zoo.cells(), 0.25)});
      sums = 0;
      zoo.dataset = [&](std::string_view name) -> const std::vector<double>& {
        EXPECT_TRUE(made.contains(name)) << method->name << " reads " << name;
        sums |= method_of(name)->sums;
        return values;
      };
      std::vector<std::vector<double>> columns(method->columns.size(), std::vector<double>(zoo.cells(), kUndefined));
      method->over_zoo(zoo, columns);
      EXPECT_EQ(sums & ~method->sums, 0U) << method->name << " reads datasets of sums that it does not ask for";
      for (const auto& column : columns) {
        ASSERT_EQ(column.size(), zoo.cells());
        EXPECT_FALSE(std::isnan(column.front())) << method->name;
      }
    }
    for (const auto& column : method->columns) made.insert(column.name);
  }
}

/// Values of an over_zoo method for layer 0 of adapter 0, after `change` of the datasets it reads.
template <class Change>
std::vector<double> of_first_layer(const Method& method, metrics::Population population, const Change& change) {
  Zoo zoo;
  zoo.layout = {8, 8, std::vector<std::string>(8, "q")};
  zoo.population = population;
  zoo.elements.assign(8, 100);
  zoo.alignment_norms.assign(8, 1);
  zoo.probes.push_back({1, std::vector<double>(8, 2), {}, {}});
  const auto values_of = [&](double offset) {
    std::vector<double> values;
    for (std::size_t cell = 0; cell < zoo.cells(); ++cell) {
      values.push_back(offset + 0.01 * static_cast<double>((cell * 29 + 31) % 64));
    }
    change(values);
    return values;
  };
  zoo.probes[0].dots = zoo.probes[0].blocks = values_of(0.1);
  std::map<std::string_view, std::vector<double>> made;
  zoo.dataset = [&](std::string_view name) -> const std::vector<double>& {
    return made.try_emplace(name, values_of(0.1 * static_cast<double>(name.size()))).first->second;
  };
  std::vector<std::vector<double>> columns(method.columns.size(), std::vector<double>(zoo.cells(), kUndefined));
  method.over_zoo(zoo, columns);
  std::vector<double> first;
  for (const auto& column : columns) first.push_back(column.front());
  return first;
}

// What the table says of peers is what the methods read: --scope zoo rests on it.
TEST(Table, SaysWhatAValueIsMeasuredAgainst) {
  using metrics::Population;
  const auto nothing = [](std::vector<double>&) {};
  const auto other_layers = [](std::vector<double>& values) {
    for (std::size_t m = 1; m < 8; ++m) values[m] *= 3 + static_cast<double>(m);
  };
  const auto other_adapters = [](std::vector<double>& values) {
    for (std::size_t cell = 8; cell < values.size(); ++cell) values[cell] *= 3 + static_cast<double>(cell % 7);
  };
  for (const auto* method : all()) {
    for (const auto& column : method->columns) {
      if (method->over_zoo == nullptr) {
        EXPECT_EQ(column.peers, Peers::none) << column.name;
      }
    }
    if (method->over_zoo == nullptr) continue;
    for (const auto population : {Population::role, Population::adapter, Population::zoo}) {
      const auto whole = of_first_layer(*method, population, nothing);
      const auto by_layers = of_first_layer(*method, population, other_layers);
      const auto by_adapters = of_first_layer(*method, population, other_adapters);
      for (std::size_t k = 0; k < whole.size(); ++k) {
        const auto& column = method->columns[k];
        if (column.form == Form::category) continue;  // a code may stay what it is
        SCOPED_TRACE(testing::Message() << column.name << ", population " << metrics::name(population));
        ASSERT_FALSE(std::isnan(whole[k]));
        EXPECT_EQ(whole[k] == by_layers[k], is_comparable(column.name, population));
        const bool by_zoo = column.peers == Peers::population && population == Population::zoo;
        EXPECT_EQ(whole[k] == by_adapters[k], !by_zoo);
      }
    }
  }
  EXPECT_FALSE(is_comparable("of_the_future", Population::zoo));
}

TEST(Table, NamesEveryNumberOfAnAdapterOnceAndMakesItOfWhatItsMethodAsksFor) {
  std::set<std::string_view> names;
  for (const auto* method : all()) {
    EXPECT_EQ(method->adapter_columns.empty(), method->of_adapters == nullptr) << method->name;
    for (const auto& column : method->adapter_columns) {
      EXPECT_TRUE(names.insert(column.name).second) << column.name;
      EXPECT_FALSE(column.long_name.empty()) << column.name;
    }
    if (method->of_adapters == nullptr) continue;
    Zoo zoo;
    zoo.layout = {2, 5, {"q", "q", "q", "q", "q"}};
    zoo.elements.assign(5, 100);
    zoo.alignment_norms.assign(5, 1);
    zoo.probes.push_back(
        {1, std::vector<double>(5, 2), std::vector<double>(zoo.cells(), 0.5), std::vector<double>(zoo.cells(), 0.25)});
    zoo.ids = {"a", "b"};
    zoo.bank = {{"c", "d"}, {{{0.1, 0.2}}, {{0.3, 0.4}}, {{0.5, 0.6}}}};
    const std::vector<double> earlier(2, 0.5);
    zoo.of_adapters = [&](std::string_view) { return &earlier; };
    const std::vector<double> values(zoo.cells(), 0.5);
    std::uint32_t sums = 0;
    zoo.dataset = [&](std::string_view name) -> const std::vector<double>& {
      sums |= method_of(name)->sums;
      return values;
    };
    std::vector<std::vector<double>> columns(method->adapter_columns.size(), std::vector<double>(2, kUndefined));
    method->of_adapters(zoo, columns);
    EXPECT_EQ(sums & ~method->sums, 0U) << method->name;
    for (const auto& column : columns) {
      for (const double value : column) EXPECT_FALSE(std::isnan(value)) << method->name;
    }
  }
  EXPECT_TRUE(names.contains(kBankRanking));
  EXPECT_TRUE(names.contains(kProbeAdapterRanking));
}

TEST(Table, RanksByProbesWhereThereAreSome) {
  EXPECT_EQ(default_ranking(kUpdateSums | kProbeSums), "probe_dot");
  EXPECT_EQ(default_ranking(~std::uint32_t{0}), "probe_dot");
  EXPECT_EQ(default_ranking(~std::uint32_t{0} & ~std::uint32_t{kProbeSums}), "ediem");
  EXPECT_THAT(rankable(kUpdateSums | kProbeSums),
              ElementsAre("update_norm", "spectral_norm", "spectral_sharpness", "probe_dot", "probe_cosine",
                          "probe_cosine_max", "probe_coefficient", "probe_share"));
  EXPECT_EQ(default_ranking(kUpdateSums | kWeightSums), "ablation");
  EXPECT_THAT(rankable(~std::uint32_t{0} & ~std::uint32_t{kProbeSums}), Not(Contains("probe_dot")));
}

/// Sums of a layer of rank 1, of which those that are not in `sums` are missing.
stats::LayerStatistics layer_with(std::uint32_t sums) {
  const auto value = [&](std::uint32_t sum, double number) { return (sums & sum) != 0 ? number : kUndefined; };
  stats::LayerStatistics layer;
  layer.rank = 1;
  layer.btb = {value(kUpdateSums, 4)};
  layer.ptp = {value(kProjectionSums, 3)};
  layer.ptb = {value(kProjectionSums, 2)};
  layer.dtd = {value(kProjectionSums, 1)};
  layer.yty = {value(kCrossCheckSums, 5)};
  layer.mtb = {value(kSubspaceSums, 0.5), value(kSubspaceSums, 0.25)};
  layer.zta = {value(kSubspaceSums, 0.3), value(kSubspaceSums, 0.1)};
  layer.y_a = value(kAlongSums, 0.25);
  return layer;
}

/// The same of the sweep over W.
stats::LayerStatistics of_weight_with(std::uint32_t sums) {
  stats::LayerStatistics layer;
  layer.rank = 1;
  const bool asked = (sums & kWeightSums) != 0;
  layer.yty = {asked ? 3 : kUndefined};
  layer.yta = {asked ? -1 : kUndefined};
  layer.y_a = asked ? 0.5 : kUndefined;
  const bool right = (sums & kWeightRightSums) != 0, sketch = (sums & kWeightSketchSums) != 0;
  layer.ptp = {right ? 5 : kUndefined};
  layer.ptb = {right ? -1 : kUndefined};
  for (auto* matrix : {&layer.mtp, &layer.mtb, &layer.zta}) matrix->assign(1, sketch ? 0.25 : kUndefined);
  return layer;
}

TEST(Table, MethodsReadNoSumThatTheyDoNotAskFor) {
  const std::vector<double> one{1};
  // Of two columns, each a half that finds one direction.
  const metrics::SafetySubspace subspace(std::vector<double>{1, 0, 0, 1}, std::vector<double>{1, 0, 0, 0.5}, 2, 1);
  stats::ModuleStatistics sketch;
  sketch.sketch_columns = 1;
  sketch.ztz = sketch.mtm = one;
  const ModuleFacts module{8, 4, 2, &subspace, kFloat32, 3, &sketch};
  auto without_sketch = module;
  without_sketch.weight_sketch = nullptr;
  for (const auto* method : all()) {
    if (method->of_layer == nullptr || (method->sums & kEntrySums) != 0) continue;
    // <G, X> of a NaN is NaN: what reads more than it asks for shows it.
    const auto whole = layer_with(~std::uint32_t{0}), asked = layer_with(method->sums | kUpdateSums);
    const std::vector<const Method*> only{method};
    const auto weight = of_weight_with(~std::uint32_t{0}), asked_weight = of_weight_with(method->sums);
    const compute::Spread spread{{0.25, 0.5}, {0.125, 0.75}};
    const auto* asked_spread = (method->sums & kSpreadSums) != 0 ? &spread : nullptr;
    const auto expected = layer_values(only, Layer(module, whole, one, 1, {.of_weight = &weight, .spread = &spread}));
    const auto found = layer_values(only, Layer((method->sums & kWeightSketchSums) != 0 ? module : without_sketch,
                                                asked, one, 1, {.of_weight = &asked_weight, .spread = asked_spread}));
    EXPECT_EQ(found, expected) << method->name;
    for (const double value : expected) EXPECT_FALSE(std::isnan(value)) << method->name;
  }
}

TEST(Table, ListsOfMethodsAreTheSumsOfTheirParts) {
  EXPECT_EQ(parse_sums("default"), kDefaultSums | kUpdateSums);
  EXPECT_EQ(parse_sums("all"), kAllSums | kUpdateSums);
  EXPECT_EQ(parse_sums("ablation"), kWeightSums | kUpdateSums);
  EXPECT_EQ(parse_sums("safe_lora,lox"), kProjectionSums | kAlongSums | kSubspaceSums | kUpdateSums);
  EXPECT_EQ(parse_sums("default,overlap"), kDefaultSums | kWeightSums | kUpdateSums);
  EXPECT_EQ(parse_sums("overlap_right"), kWeightSums | kWeightRightSums | kUpdateSums);
  EXPECT_EQ(parse_sums("intruders"), kWeightSums | kMoreWeightSums | kUpdateSums);
  EXPECT_EQ(kDefaultSums & kMoreWeightSums, 0U);
  for (const auto* method : all()) EXPECT_EQ(parse_sums(method->name), method->sums | kUpdateSums) << method->name;
  for (const auto* wrong : {"", "default,", ",all", "Default", "everything", "default ablation"}) {
    EXPECT_THROW(parse_sums(wrong), base::Error) << wrong;
  }
  try {
    parse_sums("default,ablatoin");
    FAIL();
  } catch (const base::Error& error) {
    EXPECT_THAT(error.what(), testing::AllOf(HasSubstr("ablatoin"), HasSubstr("did you mean ablation")));
  }
}

TEST(Table, TellsWhichEndIsWorse) {
  for (const auto* low : {"cosine", "subspace_energy", "alignment_cosine", "projected_norm"}) {
    EXPECT_EQ(sense_of(low), Sense::low_is_worse) << low;
  }
  for (const auto* high :
       {"ediem", "misalignment", "alignment_removed", "distance", "rms_distance", "of another time"}) {
    EXPECT_EQ(sense_of(high), Sense::high_is_worse) << high;
  }
  EXPECT_EQ(sense_of("pass_discrepancy"), Sense::none);
}

TEST(Table, RanksOnlyByWhatARunHas) {
  constexpr std::uint32_t kAll = ~std::uint32_t{0};
  EXPECT_THAT(rankable(kAll), Contains("diem"));
  EXPECT_THAT(rankable(kAll & ~kEntrySums), Not(Contains("diem")));
  EXPECT_THAT(rankable(kAll), Not(Contains("pass_discrepancy")));
  EXPECT_THAT(rankable(kUpdateSums), ElementsAre("update_norm", "spectral_norm", "spectral_sharpness"));
}

TEST(Nearest, NamesWhatIsMeant) {
  const auto names = rankable(~std::uint32_t{0});
  EXPECT_EQ(nearest("cosin", names).substr(0, 19), "did you mean cosine");
  EXPECT_EQ(nearest("missalignment", names), "did you mean misalignment?");
  EXPECT_THAT(nearest("ediem_published", names), ::testing::HasSubstr("ediem_published_std"));
  EXPECT_THAT(nearest("nothing of the kind at all", names), IsEmpty());
  EXPECT_THAT(nearest("", names), IsEmpty());
}

}  // namespace
}  // namespace winnow::methods
