#include "winnow/pipeline/prune.hpp"

#include <gmock/gmock.h>

#include "input/tiny_family.hpp"
#include "winnow/base/error.hpp"
#include "winnow/comm/communicator.hpp"
#include "winnow/pipeline/audit.hpp"

namespace winnow::pipeline {
namespace {

using base::Error;
using test::TinyFamily;
using ::testing::HasSubstr;
using ::testing::SizeIs;

class Prune : public ::testing::Test {
 protected:
  Prune() : adapter_(family_.write_adapter("one", TinyFamily::adapter(1))) {
    auto options = family_.options({adapter_});
    options.judge.policy = {select::Policy::Kind::prune_top, 3};
    const auto world = comm::make_self();
    report_ = audit(options, *world, {}).report;
  }

  std::string message_of(const std::string& directory, const std::optional<std::string>& select = {},
                         const std::optional<std::string>& rank_by = {}) {
    try {
      modules_to_prune(report_, directory, {select, rank_by}, {});
    } catch (const Error& error) {
      return error.what();
    }
    return "nothing thrown";
  }

  TinyFamily family_;
  std::string adapter_;
  report::Report report_;
};

TEST_F(Prune, FollowsTheReportsSelection) {
  std::vector<std::string> selected;
  for (std::size_t m = 0; m < report_.modules.size(); ++m) {
    if (report_.action[m] == report::Action::prune) selected.push_back(report_.modules[m].name);
  }
  EXPECT_THAT(selected, SizeIs(3));
  EXPECT_EQ(modules_to_prune(report_, adapter_, {}, {}), selected);
}

TEST_F(Prune, SelectsAnewByAnotherMetric) {
  const auto pruned = modules_to_prune(report_, adapter_, {.select = "prune-top:1", .rank_by = "update_norm"}, {});
  const auto& norms = report_.find_metric("update_norm")->values;
  const auto worst = std::max_element(norms.begin(), norms.end()) - norms.begin();
  EXPECT_THAT(pruned, ::testing::ElementsAre(report_.modules[static_cast<std::size_t>(worst)].name));
}

TEST_F(Prune, SelectsAnewOverTheZoo) {
  const auto other = family_.write_adapter("two", TinyFamily::adapter(2));
  auto options = family_.options({adapter_, other});
  options.judge.policy = {select::Policy::Kind::prune_top, 1};
  options.judge.rank_by = "cosine";
  report_ = audit(options, *comm::make_self(), {}).report;
  const auto both = [&](const Anew& anew) {
    return modules_to_prune(report_, adapter_, anew, {}).size() + modules_to_prune(report_, other, anew, {}).size();
  };
  EXPECT_EQ(both({}), 2U) << "one each";
  EXPECT_EQ(both({.scope = "zoo"}), 1U);
  EXPECT_EQ(both({.select = "prune-top:5", .scope = "zoo"}), 5U);
  EXPECT_EQ(both({.select = "prune-top:5"}), 10U) << "as the audit did";
  options.judge.scope = select::Scope::zoo;
  report_ = audit(options, *comm::make_self(), {}).report;
  EXPECT_EQ(both({}), 1U);
  EXPECT_EQ(both({.select = "prune-top:3"}), 3U) << "as the audit did";
  EXPECT_EQ(both({.scope = "adapter"}), 2U);
  EXPECT_THAT(message_of(adapter_, {}, "ediem"), HasSubstr("--scope zoo cannot select by ediem"));
}

TEST_F(Prune, FindsTheAdapterWhereverItLies) {
  const auto moved = family_.write_adapter("moved/elsewhere", TinyFamily::adapter(1));
  EXPECT_THAT(modules_to_prune(report_, moved, {}, {}), SizeIs(3));
}

TEST_F(Prune, RefusesAnAdapterTheReportIsNotAbout) {
  const auto other = family_.write_adapter("other", TinyFamily::adapter(2));
  EXPECT_THAT(message_of(other), HasSubstr("the report does not know this adapter"));
  EXPECT_THAT(message_of(family_.directory / "nowhere"), HasSubstr("no such adapter directory"));
}

TEST_F(Prune, RefusesAMetricTheReportLacks) {
  EXPECT_THAT(message_of(adapter_, {}, "diem"), HasSubstr("--rank-by diem is not in the report"));
}

}  // namespace
}  // namespace winnow::pipeline
