// Which adapters a merged report has, and which directories hold copies of them.
#pragma once

#include <cstddef>
#include <vector>

#include "merge_probes.hpp"
#include "winnow/base/log.hpp"
#include "winnow/pipeline/merge.hpp"

namespace winnow::pipeline {

/// Adapters of several reports in one.
struct MergedAdapters {
  std::vector<PartAdapter> kept;
  std::vector<std::vector<std::size_t>> judged_as;   ///< [parts][adapters of the part]: among those that are kept
  std::vector<std::vector<std::size_t>> stands_for;  ///< likewise: what an audit would have judged a copy of it as
};

/// The adapters of all parts, each once, whatever it is called: those that one audit would have kept. One warning tells
/// of all that are in several parts.
MergedAdapters adapters_of(const std::vector<ReportPart>& parts, const base::Log& log);

/// Adds them to `merged`. Names are unique within a run: those of a part may not be any more.
void merge_adapters(const std::vector<ReportPart>& parts, const std::vector<PartAdapter>& adapters,
                    report::Report& merged);

/// Adds the copies of the parts, and their adapters that another stands for now: every directory once beside one
/// adapter, and none that is an adapter's own.
void merge_copies(const std::vector<ReportPart>& parts, const MergedAdapters& adapters, report::Report& merged);

}  // namespace winnow::pipeline
