#include "merge_probes.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "winnow/methods/layer.hpp"

namespace winnow::pipeline {
namespace {

using base::Error;
using base::ErrorKind;

constexpr double kSameNorm = 1e-6;

std::string text_of(const report::ProbeRow& probe) {
  return fmt::format("{} {} with digest {}", probe.effect, probe.form, probe.digest);
}

/// Bit for bit: pulls of a bank are copied from it.
void require_same_bank(const ReportPart& first, const ReportPart& other) {
  const auto same = [](double a, double b) { return a == b || (std::isnan(a) && std::isnan(b)); };
  const auto &theirs = first.report, &mine = other.report;
  const auto equal = [&](const std::vector<double>& x, const std::vector<double>& y) {
    return std::equal(x.begin(), x.end(), y.begin(), y.end(), same);
  };
  const bool equal_numbers = std::equal(
      theirs.bank_numbers.begin(), theirs.bank_numbers.end(), mine.bank_numbers.begin(), mine.bank_numbers.end(),
      [&](const auto& x, const auto& y) { return x.name == y.name && equal(x.values, y.values); });
  if (theirs.bank == mine.bank && theirs.bank_units == mine.bank_units && equal(theirs.bank_pulls, mine.bank_pulls) &&
      equal(theirs.bank_log_norms, mine.bank_log_norms) && equal_numbers) {
    return;
  }
  throw Error(ErrorKind::invalid_input, "the reports are not parts of one audit")
      .file(other.path)
      .expected(fmt::format("the bank of {}", first.path))
      .advice("audit that part again with the --bank of the others");
}

}  // namespace

bool about_equal(double a, double b) {
  return (std::isnan(a) && std::isnan(b)) || std::fabs(a - b) <= kSameNorm * std::max(std::fabs(a), std::fabs(b));
}

Error of_different_weights(const ReportPart& part, const report::ModuleRow& module, const std::string& expected) {
  return Error(ErrorKind::invalid_input, "the reports are of different weights")
      .file(part.path)
      .tensor(module.name)
      .expected(expected);
}

void require_same_probes(const ReportPart& first, const ReportPart& other) {
  const auto &theirs = first.report.probes, &mine = other.report.probes;
  for (std::size_t k = 0; k < std::max(theirs.size(), mine.size()); ++k) {
    const auto expected = k < theirs.size() ? text_of(theirs[k]) : "no further probe";
    const auto found = k < mine.size() ? text_of(mine[k]) : "none";
    if (expected == found) continue;
    throw Error(ErrorKind::invalid_input, "the reports are not parts of one audit")
        .file(other.path)
        .expected(fmt::format("probe {}: {} as in {}, found {}", k + 1, expected, first.path, found))
        .advice("audit that part again with the probes of the others");
  }
  require_same_bank(first, other);
}

bool has_low_rank(const report::Report& part, std::size_t module) {
  for (std::size_t n = 0; n < part.adapters.size(); ++n) {
    if (part.is_present(n, module)) return true;
  }
  return false;
}

void merge_probes(const std::vector<ReportPart>& parts, const std::vector<PartAdapter>& adapters,
                  const std::vector<std::vector<std::size_t>>& places, report::Report& merged) {
  merged.probes = parts.front().report.probes;
  merged.bank = parts.front().report.bank;
  merged.bank_units = parts.front().report.bank_units;
  merged.bank_pulls = parts.front().report.bank_pulls;
  merged.bank_log_norms = parts.front().report.bank_log_norms;
  merged.bank_numbers = parts.front().report.bank_numbers;
  const auto count = merged.probes.size(), modules = merged.modules.size(), all = merged.adapters.size();
  merged.probe_norms.assign(count * modules, methods::kUndefined);
  merged.probe_dots.assign(count * all * modules, methods::kUndefined);
  merged.probe_blocks = merged.probe_dots;
  for (std::size_t k = 0; k < count; ++k) {
    std::vector<bool> seen(modules, false), low_rank(modules, false);
    for (std::size_t p = 0; p < parts.size(); ++p) {
      const auto& part = parts[p].report;
      for (std::size_t m = 0; m < part.modules.size(); ++m) {
        const auto norm = part.probe_norms[k * part.modules.size() + m];
        auto& known = merged.probe_norms[k * modules + places[p][m]];
        if (seen[places[p][m]] && !about_equal(known, norm)) {
          throw of_different_weights(
              parts[p], part.modules[m],
              fmt::format("norm {} of probe {} as in an earlier part, found {}", known, merged.probes[k].name, norm));
        }
        seen[places[p][m]] = true;
        // As an audit does, which has a norm from LoRA on the module if there is any.
        const bool first_low_rank = !low_rank[places[p][m]] && has_low_rank(part, m);
        if (std::isnan(known) || first_low_rank) known = norm;
        if (first_low_rank) low_rank[places[p][m]] = true;
      }
    }
    for (std::size_t n = 0; n < all; ++n) {
      const auto& [p, row] = adapters[n];
      const auto& part = parts[p].report;
      for (std::size_t m = 0; m < part.modules.size(); ++m) {
        merged.probe_dots[(k * all + n) * modules + places[p][m]] =
            part.probe_dots[(k * part.adapters.size() + row) * part.modules.size() + m];
        if (part.probe_blocks.empty()) continue;
        merged.probe_blocks[(k * all + n) * modules + places[p][m]] =
            part.probe_blocks[(k * part.adapters.size() + row) * part.modules.size() + m];
      }
    }
  }
}

}  // namespace winnow::pipeline
