// What would otherwise fail only when hours of work are to be written down. For the coordinator alone.
#pragma once

#include <string>
#include <vector>

#include "winnow/input/inputs.hpp"
#include "winnow/run/writing.hpp"

namespace winnow::output {

/// Whether a report can be written to `path`. Throws as check_destinations() does.
void check_report(const std::string& path);

/// Whether --report, --journal and --repaired-dir can be written to; the report of a bank is read. Throws Error(usage)
/// for a place that cannot be meant, Error(runtime) for one that cannot be written.
void check_destinations(const run::Writing& writing, const run::Journalling& journalling, const std::string& bank);

/// Whether every repaired adapter has its place below --repaired-dir. Throws Error(usage).
void check_repaired_adapters(const input::Inputs& inputs, const run::Writing& writing);

/// Where repaired adapters go, in adapter order: one directory each, directly below --repaired-dir. A name that is part
/// of a path (a, a/checkpoint-500) must not put one adapter inside another.
std::vector<std::string> repaired_directories(const std::vector<adapter::Adapter>& adapters,
                                              const std::string& repaired_dir);

}  // namespace winnow::output
