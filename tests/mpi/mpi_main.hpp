// main() of tests that run on several ranks: include in the one source file of the program. Every rank runs every test;
// rank 0 prints as usual, the others only their failures. Without a launcher the same tests run on one rank.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <memory>

#include "winnow/comm/communicator.hpp"

namespace winnow::test {

inline comm::Communicator*& world_pointer() {
  static comm::Communicator* world = nullptr;
  return world;
}
inline comm::Communicator& world() { return *world_pointer(); }

class OnlyFailures final : public ::testing::EmptyTestEventListener {
  void OnTestPartResult(const ::testing::TestPartResult& result) override {
    if (!result.failed()) return;
    std::fprintf(stderr, "rank %d: %s:%d: %s\n", world().rank(), result.file_name(), result.line_number(),
                 result.message());
  }
};

}  // namespace winnow::test

int main(int argc, char** argv) {
  auto world = winnow::comm::make_world(argc, argv);
  winnow::test::world_pointer() = world.get();
  ::testing::InitGoogleMock(&argc, argv);
  if (!world->is_coordinator()) {
    auto& listeners = ::testing::UnitTest::GetInstance()->listeners();
    delete listeners.Release(listeners.default_result_printer());
    listeners.Append(new winnow::test::OnlyFailures);
  }
  const int result = RUN_ALL_TESTS();
  return world->maximum(result) == 0 ? 0 : 1;
}
