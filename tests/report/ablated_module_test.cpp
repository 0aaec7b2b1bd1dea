#include "winnow/report/ablated_module.hpp"

#include <gtest/gtest.h>

#include <cmath>

namespace winnow::report {
namespace {

TEST(AblatedModule, IsTheWorstFromTheThresholdOn) {
  const double nan = std::nan("");
  Report report;
  report.adapters.resize(5);
  report.modules.resize(3);
  EXPECT_FALSE(ablated_module(report, 0)) << "not measured";
  report.metrics = {{"ablation",
                     "1",
                     "",
                     {nan, 0.89999, nan,  //
                      nan, nan, 0.9,      //
                      0.95, 1.0, 0.95,    //
                      0.95, nan, 0.95,    //
                      nan, nan, nan},
                     ""}};
  EXPECT_FALSE(ablated_module(report, 0));
  EXPECT_EQ(ablated_module(report, 1), 2U);
  EXPECT_EQ(ablated_module(report, 2), 1U);
  EXPECT_EQ(ablated_module(report, 3), 0U) << "of equal ones the first";
  EXPECT_FALSE(ablated_module(report, 4));
}

}  // namespace
}  // namespace winnow::report
