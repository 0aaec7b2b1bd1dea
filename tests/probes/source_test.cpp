#include "winnow/probes/source.hpp"

#include <gtest/gtest.h>

#include "winnow/base/error.hpp"

namespace winnow::probes {
namespace {

TEST(ProbeSource, SaysEffectAndPlace) {
  EXPECT_EQ(parse_source("harmful=a/b", Form::direction, "--direction"),
            (Source{Effect::harmful, Form::direction, "a/b"}));
  EXPECT_EQ(parse_source("safe=a=b", Form::adapter, "--probe"), (Source{Effect::safe, Form::adapter, "a=b"}));
}

TEST(ProbeSource, RefusesWhatDoesNotSayIt) {
  for (const auto* text : {"", "a/b", "harmful", "harmful=", "=a", "evil=a", "harmful =a"}) {
    EXPECT_THROW(parse_source(text, Form::adapter, "--probe"), base::Error) << text;
  }
}

}  // namespace
}  // namespace winnow::probes
