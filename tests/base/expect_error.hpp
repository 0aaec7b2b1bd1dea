// Checks of refusals: that there is one, of the right kind, and what it says.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "winnow/base/error.hpp"

namespace winnow::test {

/// Expects that `call` throws a winnow Error of this kind whose line matches `line` (a string or a matcher).
template <class Call, class Line>
void expect_error(base::ErrorKind kind, const Line& line, Call call) {
  try {
    call();
  } catch (const base::Error& error) {
    EXPECT_EQ(static_cast<int>(error.kind()), static_cast<int>(kind)) << error.what();
    EXPECT_THAT(std::string(error.what()), line);
    return;
  }
  ADD_FAILURE() << "no error, where one was expected";
}

}  // namespace winnow::test
