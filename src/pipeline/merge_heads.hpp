// The part of a merge about attention heads. Private to src/pipeline.
#pragma once

#include <vector>

#include "merge_probes.hpp"
#include "winnow/pipeline/merge.hpp"

namespace winnow::pipeline {

/// Throws Error(invalid_input) if one of the parts was made with --heads and another without, or of other heads.
void require_same_heads(const ReportPart& first, const ReportPart& other);

/// The products of each adapter, where its attentions are now.
void merge_heads(const std::vector<ReportPart>& parts, const std::vector<PartAdapter>& adapters,
                 report::Report& merged);

}  // namespace winnow::pipeline
