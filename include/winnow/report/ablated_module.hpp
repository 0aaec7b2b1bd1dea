// Whether an adapter is an ablation: it takes a direction out of what a weight writes.
#pragma once

#include <cstddef>
#include <optional>

#include "winnow/report/report.hpp"

namespace winnow::report {

/// The module of adapter `n` whose `ablation` is largest, if that is methods::kAblated at least; of equal ones the
/// first. None if no module's is, or if `ablation` was not measured. Verdicts, exit codes, tables and pages ask it.
std::optional<std::size_t> ablated_module(const Report& report, std::size_t n);

}  // namespace winnow::report
