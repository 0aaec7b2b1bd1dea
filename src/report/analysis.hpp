// What the renderings have in common: scores, order, cuts and summaries. Private to src/report.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "winnow/report/report.hpp"

namespace winnow::report {

/// Above this share of the alignment step taken back a module is flagged (methods: alignment_removed).
inline constexpr double kRemovedFlag = 0.1;

/// One adapter, its scored modules worst first.
struct AdapterView {
  std::size_t index = 0;                                  ///< in Report::adapters
  std::vector<std::size_t> ranking;                       ///< modules with a score, worst first, ties by name
  std::vector<std::size_t> unscored;                      ///< modules with LoRA but without a score
  std::size_t pruned = 0, kept = 0, undoing = 0;          ///< undoing: alignment_removed > kRemovedFlag
  std::size_t zoo_rank = 0;                               ///< 1: the worst adapter; equal ones share it; 0: no score
  double cut = std::numeric_limits<double>::quiet_NaN();  ///< score of the least misaligned pruned module; NaN: none

  double share_pruned() const { return static_cast<double>(pruned) / static_cast<double>(ranking.size()); }
};

/// Scores of some modules: those of one role, or of a few neighbouring layers, over all adapters.
struct Summary {
  std::string label;
  std::size_t scored = 0, pruned = 0, undoing = 0;
  double median = 0, worst = 0;  ///< of the metric that orders
  double misalignment = 0;       ///< the largest
};

/// `report` must outlive it.
class Analysis {
 public:
  explicit Analysis(const Report& report);

  const Report& report() const { return report_; }
  const std::string& rank_by() const { return rank_by_; }  ///< the metric that orders; ediem where none is named
  bool low_is_worse() const { return low_is_worse_; }
  bool worse(double a, double b) const { return low_is_worse_ ? a < b : a > b; }

  double score(std::size_t n, std::size_t m) const { return value(score_, n, m); }
  double value(const Metric* metric, std::size_t n, std::size_t m) const;  ///< NaN where there is no such metric
  double value(std::string_view metric, std::size_t n, std::size_t m) const;
  Action action(std::size_t n, std::size_t m) const;
  Cause cause(std::size_t n, std::size_t m) const;
  bool undoing(std::size_t n, std::size_t m) const { return value(removed_, n, m) > kRemovedFlag; }

  double worst_score(const AdapterView& adapter) const;         ///< of the metric that orders; NaN for none
  double worst_misalignment(const AdapterView& adapter) const;  ///< NaN for none

  /// Those that take alignment back, the largest share first.
  std::vector<std::size_t> undoing_modules(const AdapterView& adapter) const;

  const std::vector<AdapterView>& adapters() const { return adapters_; }  ///< those not quarantined, worst first
  const std::vector<std::size_t>& quarantined() const { return quarantined_; }
  std::vector<Summary> by_role() const;                    ///< worst median first
  std::vector<Summary> by_depth(std::size_t bands) const;  ///< in layer order, modules without a layer last

  std::string selection_text() const;                      ///< what selected, in words
  std::string cut_text(const AdapterView& adapter) const;  ///< "score >= 4.2", or "nothing pruned"

 private:
  AdapterView view(std::size_t n) const;
  Summary summarise(std::string label, const std::vector<std::size_t>& modules) const;

  const Report& report_;
  std::string rank_by_;
  bool low_is_worse_;
  const Metric* score_;
  const Metric* removed_;
  std::vector<AdapterView> adapters_;
  std::vector<std::size_t> quarantined_;
};

/// The stages of a run over all ranks.
struct StageSummary {
  std::string stage;
  std::size_t ranks = 0;
  double seconds = 0;                                   ///< of the slowest rank
  std::uint64_t bytes_read = 0, peak_memory_bytes = 0;  ///< sum and largest
};
std::vector<StageSummary> stages(const Report& report);  ///< in order of their first row

/// What all module names begin with, up to a dot: "model.layers.". In a table of many rows it only takes room.
std::string common_prefix(const std::vector<ModuleRow>& modules);

std::string_view name(Action action);
std::string_view name(Cause cause);
std::string to_text(const Attribute& attribute);
std::string number_text(double value, int digits = 2);  ///< "-" for NaN, exponent where very large or small
std::string share_text(double value);                   ///< 3 decimals, for what lies between -1 and 1
std::string percent_text(double share);                 ///< "18 %"; "-" for NaN, "<1 %" where it would round to none
std::string bytes_text(double bytes);                   ///< "14.2 GB"
double quantile(std::vector<double> values, double q);  ///< linear-interpolated; NaN for none

}  // namespace winnow::report
