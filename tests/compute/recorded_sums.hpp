// The sums of a team whose members run one after the other.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <span>
#include <variant>
#include <vector>

#include "winnow/compute/team.hpp"

namespace winnow::test {

/// A member's part of an all-reduce: what it gives is remembered, and replaced once all members have given theirs.
class RecordedSums final : public compute::TeamSums {
 public:
  void sum(std::span<float> values) override { given_.emplace_back(values); }
  void sum(std::span<double> values) override { given_.emplace_back(values); }

  static void add_up(const std::vector<RecordedSums>& members) {
    for (std::size_t k = 0; k < members.front().given_.size(); ++k) {
      std::visit([&](auto first) { add_up_one(members, k, first); }, members.front().given_[k]);
    }
  }

 private:
  template <class Real>
  static void add_up_one(const std::vector<RecordedSums>& members, std::size_t k, std::span<Real> first) {
    std::vector<Real> sum(first.size(), Real{0});
    for (const auto& member : members) {
      const auto values = std::get<std::span<Real>>(member.given_.at(k));
      ASSERT_EQ(values.size(), sum.size());
      for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += values[i];
    }
    for (const auto& member : members) {
      std::copy(sum.begin(), sum.end(), std::get<std::span<Real>>(member.given_.at(k)).begin());
    }
  }

  std::vector<std::variant<std::span<float>, std::span<double>>> given_;
};

}  // namespace winnow::test
