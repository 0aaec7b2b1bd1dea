// What the renderings have in common: scores, order, cuts and summaries. Private to src/report.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "winnow/methods/table.hpp"
#include "winnow/metrics/quantile.hpp"
#include "winnow/report/report.hpp"

namespace winnow::report {

/// Above this share of the alignment step taken back a module is flagged (methods: alignment_removed).
inline constexpr double kRemovedFlag = 0.1;

/// What is said of a ranking without a probe; the figures are those of jobs/lab/README.md.
inline constexpr std::string_view kWithoutProbe =
    "No probe was given. On adapters that were really trained none of these scores says much about harm (in the "
    "laboratory E-DIEM has an AUROC of 0.41 to 0.57, where 0.50 is guessing, a direction 0.86 to 0.97): add "
    "--direction or --probe.";

/// The same of the aligned weights alone.
inline constexpr std::string_view kAlignedAlone =
    "Of the aligned weights alone two things show: a direction taken out of what they write (ablation) and updates "
    "that take the weights back. In the laboratory ablation has an AUROC of 1.00 of adapters that do the first and "
    "0.62 to 0.68 of all harm, where 0.50 is guessing: add --direction or --probe.";

/// What is said of this report's ranking if it has no probe; empty if it has one.
std::string_view without_probe_text(const Report& report);

/// One adapter, its scored modules worst first.
struct AdapterView {
  std::size_t index = 0;                                  ///< in Report::adapters
  std::vector<std::size_t> ranking;                       ///< modules with a score, worst first, ties by name
  std::vector<std::size_t> unscored;                      ///< modules with LoRA but without a score
  std::size_t pruned = 0, kept = 0, undoing = 0;          ///< undoing: alignment_removed > kRemovedFlag
  std::size_t zoo_rank = 0;                               ///< 1: the worst adapter; equal ones share it; 0: no score
  bool ablates = false;                                   ///< ablated_module() finds one
  double cut = std::numeric_limits<double>::quiet_NaN();  ///< score of the least misaligned pruned module; NaN: none

  /// Of the scored modules; NaN if there is none.
  double share_pruned() const {
    if (ranking.empty()) return std::numeric_limits<double>::quiet_NaN();
    return static_cast<double>(pruned) / static_cast<double>(ranking.size());
  }
};

/// Scores of some modules: those of one role, or of a few neighbouring layers, over all adapters.
struct Summary {
  std::string label;
  std::size_t scored = 0, pruned = 0, undoing = 0;
  double median = 0, worst = 0;  ///< of the metric that orders
  double compared = 0;           ///< the median of the dataset that it sets against peers; NaN if there is none
  double misalignment = 0;       ///< the largest
};

/// `report` must outlive it.
class Analysis {
 public:
  explicit Analysis(const Report& report);

  const Report& report() const { return report_; }
  const std::string& rank_by() const { return rank_by_; }  ///< the metric that orders; ediem if none is named
  bool low_is_worse() const { return low_is_worse_; }
  bool worse(double a, double b) const { return low_is_worse_ ? a < b : a > b; }

  double score(std::size_t n, std::size_t m) const { return value(score_, n, m); }
  double value(const Metric* metric, std::size_t n, std::size_t m) const;  ///< NaN if there is no such metric
  double value(std::string_view metric, std::size_t n, std::size_t m) const;
  Action action(std::size_t n, std::size_t m) const;

  const std::string& category(const Metric& metric, std::size_t n, std::size_t m) const;  ///< the name of its code
  bool undoing(std::size_t n, std::size_t m) const { return value(removed_, n, m) > kRemovedFlag; }

  double worst_score(const AdapterView& adapter) const;  ///< of the metric that orders; NaN for none
  /// What orders the adapters, high is worse: NaN for none. With probes a number of the whole adapter, named by
  /// `adapter_metric`; else, and then that is null, the worst of its modules.
  double adapter_score(const AdapterView& adapter) const;
  const Metric* adapter_metric() const { return adapter_metric_; }
  double worst_misalignment(const AdapterView& adapter) const;  ///< NaN for none

  /// Those that take alignment back, the largest share first.
  std::vector<std::size_t> undoing_modules(const AdapterView& adapter) const;

  bool knows_ablation() const { return report_.find_metric("ablation") != nullptr; }
  std::size_t ablating() const;  ///< adapters that take a direction out of what the weights write

  /// Those not quarantined: by verdict, if there are verdicts, and worst first.
  const std::vector<AdapterView>& adapters() const { return adapters_; }
  std::string order_text() const;                  ///< that order in words
  std::string first_text(std::size_t many) const;  ///< what the first so many are: "3 worst", "first 3"
  const std::vector<std::size_t>& quarantined() const { return quarantined_; }
  std::vector<Summary> by_role() const;                    ///< worst median first
  std::vector<Summary> by_depth(std::size_t bands) const;  ///< in layer order, modules without a layer last

  /// The dataset of single layers that the metric which orders sets against its peers; nullptr if it does not. Scores
  /// among peers of one role have a median of 0 in each role by their definition; this dataset's median tells.
  const methods::Column* compared() const;
  bool misalignment_beside() const;  ///< whether tables show it as well: if it is there and does not rank
  bool knows_alignment() const { return removed_ != nullptr; }  ///< whether what alignment did was compared with

  std::string selection_text() const;                      ///< what selected, in words
  std::string cut_text(const AdapterView& adapter) const;  ///< " (score >= 4.2)"; empty if nothing is

 private:
  AdapterView view(std::size_t n) const;
  Summary summarise(std::string label, const std::vector<std::size_t>& modules) const;

  const Report& report_;
  std::string rank_by_;
  bool low_is_worse_;
  const Metric* score_;
  const Metric* removed_;
  const Metric* adapter_metric_;
  std::map<const Metric*, std::vector<std::string>> categories_;
  std::vector<AdapterView> adapters_;
  std::vector<std::size_t> quarantined_;
};

/// What a bank of that many can tell; of a report that has one.
std::string bank_text(const Report& report);

/// The stages of a run over all ranks.
struct StageSummary {
  std::string stage;
  std::size_t ranks = 0;
  double seconds = 0;                                   ///< of the slowest rank
  std::uint64_t bytes_read = 0, peak_memory_bytes = 0;  ///< sum and largest
  std::string
      reading;  ///< of `read`, of the rank that storage gave most: "4 threads × 512 KiB: 1.90 GB/s"; mostly empty
};
std::vector<StageSummary> stages(const Report& report);  ///< in order of their first row

/// What all module names begin with, up to a dot: "model.layers.". In a table of many rows it only takes room.
std::string common_prefix(const std::vector<ModuleRow>& modules);

std::string_view name(Action action);

/// Names of the codes of a metric that holds categories.
std::vector<std::string> category_names(const Metric& metric);
std::string to_text(const Attribute& attribute);
using metrics::quantile;

}  // namespace winnow::report
