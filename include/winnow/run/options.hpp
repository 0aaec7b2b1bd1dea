// What an audit is asked to do, in the parts that its functions take.
#pragma once

#include <functional>

#include "winnow/run/judging.hpp"
#include "winnow/run/means.hpp"
#include "winnow/run/measuring.hpp"
#include "winnow/run/progress.hpp"
#include "winnow/run/reading.hpp"
#include "winnow/run/seams.hpp"
#include "winnow/run/stopping.hpp"
#include "winnow/run/writing.hpp"

namespace winnow::run {

struct AuditOptions {
  Reading read;
  Measuring measure;
  Judging judge;
  Means means;
  Writing write;
  Journalling journal;
  Stopping stop;
  std::function<void(const Progress&)> progress;  ///< called after each module; may be empty
  Seams seams;
};

/// Throws Error(usage) for options that contradict each other, before anything is read.
void validate(const AuditOptions& options);

}  // namespace winnow::run
