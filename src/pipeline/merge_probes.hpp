// What a merge makes of probes and banks.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "winnow/base/error.hpp"
#include "winnow/pipeline/merge.hpp"

namespace winnow::pipeline {

/// An adapter of one of the parts.
struct PartAdapter {
  std::size_t part = 0, row = 0;
};

/// But for what a stack of other adapters, or a team, may change of a sum. NaN equals NaN.
bool about_equal(double a, double b);

base::Error of_different_weights(const ReportPart& part, const report::ModuleRow& module, const std::string& expected);

/// Throws Error(invalid_input) for parts that were compared with other probes, in another order, or with another bank.
void require_same_probes(const ReportPart& first, const ReportPart& other);

/// Products with probes, every value where its adapter and module are now: `adapters` of the merged report, `places`
/// [parts][modules of the part]. Throws Error(invalid_input) for a direction that differs in the norm of a module: its
/// digest is one of a sample.
void merge_probes(const std::vector<ReportPart>& parts, const std::vector<PartAdapter>& adapters,
                  const std::vector<std::vector<std::size_t>>& places, report::Report& merged);

/// Whether any adapter of a part has LoRA on the module.
bool has_low_rank(const report::Report& part, std::size_t module);

}  // namespace winnow::pipeline
