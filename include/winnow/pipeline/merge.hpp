// One report of several: of a zoo that was audited in parts, such as by a job array.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "winnow/base/log.hpp"
#include "winnow/report/report.hpp"

namespace winnow::pipeline {

struct ReportPart {
  std::string path;  ///< names it in errors and in /run
  report::Report report;
};

/// The report of one audit over all adapters, in the order given: metrics that need peers and the selection are
/// computed anew from the metrics of single layers, with the same code. Bit for bit what that audit would give, as far
/// as its single layers are (a stack of other adapters moves their seventh digit, as teams do). /run names the part.
///
/// An adapter that is in several of them, by its digest, counts once, with a warning; if it was called otherwise, it is
/// among the copies. Which stands for which is input::judged_as()'s, as in an audit.
/// Throws Error(invalid_input), naming the file and what differs, if the parts are not of the same checkpoints and
/// options: by the digests of weights that they share, and by the samples of those that they do not. Reports of earlier
/// versions have neither: merged among each other with a warning, never with newer ones.
report::Report merge_reports(std::vector<ReportPart> parts, const base::Log& log);

/// Reads the parts, each file once, merges them, adds `facts` as attributes and writes the result to `path`. Throws
/// Error(usage) for a place that cannot be meant, among them one of the parts.
report::Report merge_report_files(std::vector<std::string> parts, const std::string& path,
                                  const std::map<std::string, report::Attribute>& facts, const base::Log& log);

}  // namespace winnow::pipeline
