// Products by attention head on any number of ranks: the report of one rank, bit for bit; of teams, but for rounding.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>

#include "compute/built_backend.hpp"
#include "input/head_family.hpp"
#include "mpi/golden_audit.hpp"
#include "mpi/mpi_main.hpp"
#include "mpi/report_fingerprint.hpp"

namespace winnow {
namespace {

using test::HeadFamily;
using test::world;

/// The family as the coordinator has written it, known to all ranks.
class SharedFamily {
 public:
  ~SharedFamily() { world().barrier(); }

  run::AuditOptions options(bool pair) const {
    auto options = family.options(pair);  // in a place of this rank's own
    for (auto* path : {&options.read.base, &options.read.aligned}) share(*path);
    for (auto& adapter : options.read.adapters) share(adapter);
    for (auto& probe : options.read.probes) share(probe.path);
    return options;
  }

  HeadFamily family;

 private:
  static void share(std::string& path) { world().broadcast(path, comm::kCoordinator); }
};

TEST(Heads, AreBitIdenticalOnAnyNumberOfRanksAndEqualDenseMatrices) {
  for (const bool transposed : {false, true}) {
    SharedFamily shared;
    shared.family.transposed = transposed;
    for (const auto backend : test::built_backends()) {
      for (const bool pair : {true, false}) {
        if (transposed && !pair) continue;  // nothing tells which way round
        SCOPED_TRACE(testing::Message() << compute::name(backend) << (pair ? " with" : " without") << " a pair"
                                        << (transposed ? ", transposed" : ""));
        auto options = shared.options(pair);
        options.means.backend = backend;
        options.means.team = 1;
        const auto report = pipeline::audit(options, world(), {}).report;
        if (!world().is_coordinator()) continue;
        test::expect_heads(report, shared.family);
        EXPECT_EQ(test::report_fingerprint(report),
                  test::report_fingerprint(pipeline::audit(options, *comm::make_self(), {}).report));
      }
    }
  }
}

// A head may lie with two members, and a member have a part of one.
TEST(Heads, OfTeamsAreTheSameButForRounding) {
  for (const bool transposed : {false, true}) {
    SharedFamily shared;
    shared.family.transposed = transposed;
    for (const auto backend : test::built_backends()) {
      for (const int team : {2, 3, 5}) {
        SCOPED_TRACE(testing::Message() << compute::name(backend) << ", teams of " << team
                                        << (transposed ? ", transposed" : ""));
        auto options = shared.options(transposed);
        options.means.backend = backend;
        options.means.team = team;
        const auto report = pipeline::audit(options, world(), {}).report;
        if (!world().is_coordinator()) continue;
        test::expect_heads(report, shared.family);
      }
    }
  }
}

}  // namespace
}  // namespace winnow
