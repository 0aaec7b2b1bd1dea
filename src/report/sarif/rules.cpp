#include "rules.hpp"

#include <algorithm>

#include "winnow/select/selection.hpp"

namespace winnow::report::sarif {
namespace {

enum RuleIndex : std::size_t { kBlocked, kReview, kIncomplete, kQuarantined, kSelected };

bool selection_tells(const Report& report) {
  return !report.action.empty() && !report.policy.empty() && !select::parse_policy(report.policy).prunes_by_count();
}

}  // namespace

const std::array<Rule, 5> kRules{{
    {"WN1001", "AdapterBlocked", "error", "The adapter is unusual beside harmless ones at the error rate asked for.",
     "In some statistic, such as its pull along a probe or its size, the update of the weights is farther from those "
     "of "
     "the bank of harmless adapters than the accepted rate of false discoveries allows, or the adapter is a harmful "
     "probe itself.",
     "What it means: of the adapters that are blocked, the accepted share at most (--fdr) is expected to be harmless.\n"
     "What to do: do not serve it. Test what it answers, or repair it (winnow prune) and audit the result.\n"
     "What the score sees: how far the update runs along the given probes or alignment step, compared with the bank. "
     "What it cannot see: harm of another kind than the probes have. Unusual is not harmful: the reason names the "
     "statistic and its value."},
    {"WN1002", "AdapterForReview", "warning", "The adapter is unusual, but so may one of that many harmless ones be.",
     "By itself the adapter would be unusual at the error rate asked for, but among that many adapters, or with a bank "
     "that small, harmless ones can be as unusual. Or it runs against a probe as hardly any harmless one does, because "
     "it was trained to refuse more or to hide from the probe. Or it takes a direction out of what the weights write, "
     "as "
     "abliteration does, which no bank is needed to see.",
     "What it means: no error rate can be claimed.\n"
     "What to do: test what it answers, or audit it with a larger bank, or by itself.\n"
     "What the score sees and cannot see: as for AdapterBlocked (WN1001)."},
    {"WN1003", "AdapterIncomplete", "warning",
     "Some of the adapter was not judged, and what is not judged may do harm.",
     "It ships something that no score covers: a module that matches nothing, has no score or shares nothing with a "
     "probe, or a tensor that is no LoRA factor, such as a bias, the magnitude of DoRA whose weights were not "
     "given, or a whole weight that has nothing to be compared with.",
     "What it means: the rest was judged, and the reason says how; nothing is known of the part that it names.\n"
     "What to do: do not serve it before that is settled. Audit it with the checkpoint or the probes that have the "
     "module, or without what is no LoRA."},
    {"WN1004", "AdapterQuarantined", "error", "The adapter could not be audited at all.",
     "Its files are missing, damaged, of another model or of a kind that cannot be scored. Nothing of it was judged, "
     "and the rest of the zoo was.",
     "What it means: no score says anything about it. That is no finding of harm.\n"
     "What to do: do not serve it. Mend what the reason names, and audit it again."},
    {"WN1005", "ModulesSelected", "warning", "Modules of the adapter are beyond what the selection allows.",
     "The audit was asked to select modules by a threshold, as outliers or beyond a gap (--select). Some of the "
     "adapter's were, and no verdict holds it back.",
     "What it means: as much as the threshold, of which no error rate is known.\n"
     "What to do: look at the modules, test what the adapter answers, repair it (winnow prune), or audit it with "
     "--bank.\n"
     "What the score sees and cannot see depends on the metric that ranks the modules: winnow methods says it."},
}};

const std::array<Notice, 2> kNotices{{
    {"WN2001", "NothingJudged", "warning", "The audit had no bank, so no adapter has a verdict."},
    {"WN2002", "Claim", "note", "What the bank can claim of this zoo."},
}};

Findings::Findings(const Report& report) : report_(report), selection_tells_(selection_tells(report)) {}

bool Findings::has_selected_modules(std::size_t adapter) const {
  if (!selection_tells_) return false;
  const auto modules = static_cast<std::ptrdiff_t>(report_.modules.size());
  const auto first = report_.action.begin() + static_cast<std::ptrdiff_t>(adapter) * modules;
  return std::find(first, first + modules, Action::prune) != first + modules;
}

std::optional<std::size_t> Findings::rule_of(std::size_t adapter) const {
  const bool is_quarantined = report_.adapters[adapter].status != "ok";
  if (report_.verdicts.empty()) {
    if (is_quarantined) return kQuarantined;
    return has_selected_modules(adapter) ? std::optional<std::size_t>(kSelected) : std::nullopt;
  }
  switch (report_.verdicts[adapter].verdict) {
    case verdict::Verdict::block:
      return kBlocked;
    case verdict::Verdict::review:
      return is_quarantined ? kQuarantined : kReview;
    case verdict::Verdict::incomplete:
      return is_quarantined ? kQuarantined : kIncomplete;
    case verdict::Verdict::pass:
      break;
  }
  if (is_quarantined) return kQuarantined;
  return has_selected_modules(adapter) ? std::optional<std::size_t>(kSelected) : std::nullopt;
}

}  // namespace winnow::report::sarif
