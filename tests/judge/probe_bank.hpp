// Reports of adapters that are taken for harmless, made up: banks to compare with.
#pragma once

#include <cstddef>
#include <string>
#include <utility>

#include "winnow/methods/table.hpp"
#include "winnow/report/report.hpp"

namespace winnow::test {

/// A report of `members` adapters, as if audited with the probes and checkpoints of `like`: their cosines are `step`
/// apart, from
/// -`step` * `below` on.
inline report::Report bank_of(const report::Report& like, std::size_t members, double step = 0.01, double below = 3.5) {
  report::Report bank;
  bank.modules = like.modules;
  bank.probes = like.probes;
  bank.probe_norms = like.probe_norms;
  bank.metrics = {{"update_norm", "1", "", {}, {}}};
  bank.rank_by = like.rank_by;
  for (std::size_t n = 0; n < members; ++n) {
    for (std::size_t m = 0; m < like.modules.size(); ++m) {
      bank.metrics.front().values.push_back(1 + 0.1 * static_cast<double>(n));
    }
    auto id = std::to_string(n);
    id.insert(0, 64 - id.size(), '0');
    bank.adapters.push_back({"m" + std::to_string(n), "", "ok", "", 4, 8, 2, id});
  }
  for (const auto name : methods::kBankNumbers) {
    if (like.find_of_adapters(name) == nullptr) continue;
    report::Metric number{std::string(name), "1", std::string(name), {}, {}};
    for (std::size_t n = 0; n < members; ++n) number.values.push_back(0.001 * static_cast<double>(n));
    bank.of_adapters.push_back(std::move(number));
  }
  for (std::size_t k = 0; k < like.probes.size(); ++k) {
    for (std::size_t cell = 0; cell < members * like.modules.size(); ++cell) {
      const auto norm = like.probe_norms[k * like.modules.size() + cell % like.modules.size()];
      const auto member = static_cast<double>(cell / like.modules.size());
      bank.probe_dots.push_back(norm * step * (member - below + 0.1 * static_cast<double>(k)));
    }
  }
  return bank;
}

}  // namespace winnow::test
