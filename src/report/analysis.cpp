#include "analysis.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <span>

#include "numbers.hpp"
#include "text.hpp"
#include "winnow/methods/table.hpp"
#include "winnow/metrics/alongside.hpp"
#include "winnow/report/ablated_module.hpp"
#include "winnow/report/adapter_summary.hpp"
#include "winnow/report/verdicts.hpp"

namespace winnow::report {

namespace {

/// Null if the worst of an adapter's modules ranks it.
const Metric* adapter_ranking(const Report& report) {
  if (report.probes.empty() && report.bank.empty()) return nullptr;
  if (!report.bank.empty()) return report.find_of_adapters(methods::kBankRanking);
  const auto* pulls = report.find_of_adapters(methods::kProbeAdapterRanking);
  return pulls != nullptr ? pulls : report.find_of_adapters(methods::kProbeAdapterAngle);
}

template <class Number>
std::vector<double> along_probes(const Report& report, Number number) {
  const auto modules = report.modules.size(), adapters = report.adapters.size();
  const auto* norms = report.find_metric("update_norm");
  std::vector<double> all(report.probes.size() * adapters, std::numeric_limits<double>::quiet_NaN());
  for (std::size_t k = 0; norms != nullptr && k < report.probes.size(); ++k) {
    const auto of_probe = std::span(report.probe_norms).subspan(k * modules, modules);
    for (std::size_t n = 0; n < adapters; ++n) {
      const auto dots = std::span(report.probe_dots).subspan((k * adapters + n) * modules, modules);
      const auto of_adapter = std::span(norms->values).subspan(n * modules, modules);
      all[k * adapters + n] = number(metrics::alongside(dots, of_adapter, of_probe));
    }
  }
  return all;
}

}  // namespace

std::string_view without_probe_text(const Report& report) {
  if (!report.probes.empty()) return {};
  const bool alone = report.find_metric("alignment_removed") == nullptr && report.find_metric("ablation") != nullptr;
  return alone ? kAlignedAlone : kWithoutProbe;
}

Analysis::Analysis(const Report& report)
    : report_(report),
      rank_by_(report.rank_by.empty() ? std::string(methods::kDefaultRanking) : report.rank_by),
      low_is_worse_(methods::sense_of(rank_by_) == methods::Sense::low_is_worse),
      score_(report.find_metric(rank_by_)),
      removed_(report.find_metric("alignment_removed")),
      adapter_metric_(adapter_ranking(report)) {
  for (const auto& metric : report.metrics) {
    if (!metric.categories.empty()) categories_.emplace(&metric, category_names(metric));
  }
  for (std::size_t n = 0; n < report.adapters.size(); ++n) {
    if (report.adapters[n].status == "quarantined") {
      quarantined_.push_back(n);
    } else {
      adapters_.push_back(view(n));
    }
  }
  std::stable_sort(adapters_.begin(), adapters_.end(), [&](const AdapterView& a, const AdapterView& b) {
    const double one = adapter_score(a), other = adapter_score(b);
    if (std::isnan(one) || std::isnan(other)) return !std::isnan(one) && std::isnan(other);
    return one > other;
  });
  for (std::size_t i = 0; i < adapters_.size() && !std::isnan(adapter_score(adapters_[i])); ++i) {
    const bool tied = i > 0 && adapter_score(adapters_[i]) == adapter_score(adapters_[i - 1]);
    adapters_[i].zoo_rank = tied ? adapters_[i - 1].zoo_rank : i + 1;
  }
  std::stable_sort(adapters_.begin(), adapters_.end(), [&](const AdapterView& a, const AdapterView& b) {
    return verdict_place(report, a.index) < verdict_place(report, b.index);
  });
}

double Analysis::value(const Metric* metric, std::size_t n, std::size_t m) const {
  if (metric == nullptr) return std::numeric_limits<double>::quiet_NaN();
  return metric->values[n * report_.modules.size() + m];
}

double Analysis::value(std::string_view metric, std::size_t n, std::size_t m) const {
  return value(report_.find_metric(metric), n, m);
}

Action Analysis::action(std::size_t n, std::size_t m) const {
  return report_.action.empty() ? Action::none : report_.action[n * report_.modules.size() + m];
}

const std::string& Analysis::category(const Metric& metric, std::size_t n, std::size_t m) const {
  const auto code = value(&metric, n, m);
  return categories_.at(&metric).at(std::isnan(code) ? 0 : static_cast<std::size_t>(code));
}

AdapterView Analysis::view(std::size_t n) const {
  AdapterView out;
  out.index = n;
  out.ablates = ablated_module(report_, n).has_value();
  for (std::size_t m = 0; m < report_.modules.size(); ++m) {
    const auto at = score(n, m);
    if (action(n, m) == Action::prune) {
      ++out.pruned;
      if (std::isnan(out.cut) || worse(out.cut, at)) out.cut = at;
    }
    if (action(n, m) == Action::keep) ++out.kept;
    if (undoing(n, m)) ++out.undoing;
    if (!std::isnan(at)) {
      out.ranking.push_back(m);
      continue;
    }
    if (report_.is_present(n, m)) out.unscored.push_back(m);
  }
  std::sort(out.ranking.begin(), out.ranking.end(), [&](std::size_t a, std::size_t b) {
    const auto left = score(n, a), right = score(n, b);
    return left != right ? worse(left, right) : report_.modules[a].name < report_.modules[b].name;
  });
  return out;
}

double Analysis::worst_score(const AdapterView& adapter) const {
  return adapter.ranking.empty() ? std::numeric_limits<double>::quiet_NaN()
                                 : score(adapter.index, adapter.ranking.front());
}

double Analysis::adapter_score(const AdapterView& adapter) const {
  if (adapter_metric_ != nullptr) return adapter_metric_->values[adapter.index];
  return low_is_worse_ ? -worst_score(adapter) : worst_score(adapter);
}

std::size_t Analysis::ablating() const {
  return static_cast<std::size_t>(
      std::count_if(adapters_.begin(), adapters_.end(), [](const AdapterView& adapter) { return adapter.ablates; }));
}

bool Analysis::misalignment_beside() const {
  return rank_by_ != "misalignment" && report_.find_metric("misalignment") != nullptr;
}

double Analysis::worst_misalignment(const AdapterView& adapter) const {
  const auto* metric = report_.find_metric("misalignment");
  auto worst = std::numeric_limits<double>::quiet_NaN();
  for (std::size_t m = 0; m < report_.modules.size(); ++m) worst = std::fmax(worst, value(metric, adapter.index, m));
  return worst;
}

std::vector<std::size_t> Analysis::undoing_modules(const AdapterView& adapter) const {
  std::vector<std::size_t> modules;
  for (std::size_t m = 0; m < report_.modules.size(); ++m) {
    if (undoing(adapter.index, m)) modules.push_back(m);
  }
  std::stable_sort(modules.begin(), modules.end(), [&](std::size_t a, std::size_t b) {
    return value(removed_, adapter.index, a) > value(removed_, adapter.index, b);
  });
  return modules;
}

Summary Analysis::summarise(std::string label, const std::vector<std::size_t>& modules) const {
  Summary out;
  out.label = std::move(label);
  std::vector<double> scores;
  for (const auto& adapter : adapters_) {
    for (const auto m : modules) {
      if (action(adapter.index, m) == Action::prune) ++out.pruned;
      if (undoing(adapter.index, m)) ++out.undoing;
      if (const auto at = score(adapter.index, m); !std::isnan(at)) scores.push_back(at);
    }
  }
  out.misalignment = out.compared = std::numeric_limits<double>::quiet_NaN();
  if (const auto* column = compared()) {
    std::vector<double> values;
    for (const auto& adapter : adapters_) {
      for (const auto m : modules) {
        if (const auto at = value(column->name, adapter.index, m); !std::isnan(at)) values.push_back(at);
      }
    }
    out.compared = quantile(std::move(values), 0.5);
  }
  const auto* misalignment = report_.find_metric("misalignment");
  for (const auto& adapter : adapters_) {
    for (const auto m : modules) out.misalignment = std::fmax(out.misalignment, value(misalignment, adapter.index, m));
  }
  out.scored = scores.size();
  out.worst = scores.empty()  ? std::numeric_limits<double>::quiet_NaN()
              : low_is_worse_ ? *std::min_element(scores.begin(), scores.end())
                              : *std::max_element(scores.begin(), scores.end());
  out.median = quantile(std::move(scores), 0.5);
  return out;
}

std::vector<Summary> Analysis::by_role() const {
  std::map<std::string, std::vector<std::size_t>> roles;
  for (std::size_t m = 0; m < report_.modules.size(); ++m) roles[report_.modules[m].role].push_back(m);
  std::vector<Summary> out;
  for (const auto& [role, modules] : roles) {
    auto summary = summarise(role, modules);
    if (summary.scored != 0) out.push_back(std::move(summary));
  }
  std::stable_sort(out.begin(), out.end(), [&](const Summary& a, const Summary& b) { return worse(a.worst, b.worst); });
  return out;
}

std::vector<Summary> Analysis::by_depth(std::size_t bands) const {
  std::map<std::int64_t, std::vector<std::size_t>> layers;
  std::vector<std::size_t> elsewhere;
  for (std::size_t m = 0; m < report_.modules.size(); ++m) {
    const auto layer = report_.modules[m].layer;
    (layer < 0 ? elsewhere : layers[layer]).push_back(m);
  }
  const auto per_band = std::max<std::size_t>(1, (layers.size() + bands - 1) / std::max<std::size_t>(1, bands));
  std::vector<Summary> out;
  for (auto at = layers.begin(); at != layers.end();) {
    const auto first = at->first;
    auto last = first;
    std::vector<std::size_t> modules;
    for (std::size_t i = 0; i < per_band && at != layers.end(); ++i, ++at) {
      last = at->first;
      modules.insert(modules.end(), at->second.begin(), at->second.end());
    }
    out.push_back(summarise(first == last ? fmt::format("{}", first) : fmt::format("{}-{}", first, last), modules));
  }
  if (!elsewhere.empty()) out.push_back(summarise("none", elsewhere));
  std::erase_if(out, [](const Summary& summary) { return summary.scored == 0; });
  return out;
}

const methods::Column* Analysis::compared() const {
  const auto* column = methods::find_column(rank_by_);
  if (column == nullptr || column->compares.empty() || report_.find_metric(column->compares) == nullptr) return nullptr;
  return methods::find_column(column->compares);
}

std::string Analysis::order_text() const {
  return report_.verdicts.empty() ? "worst first" : "by verdict, then worst first";
}

std::string Analysis::first_text(std::size_t many) const {
  return report_.verdicts.empty() ? fmt::format("{} worst", many) : fmt::format("first {}", many);
}

std::string Analysis::selection_text() const {
  auto text = fmt::format("{} by {}", report_.policy.empty() ? "no selection" : report_.policy, rank_by_);
  text += low_is_worse_ ? " (low = misaligned)" : " (high = misaligned)";
  if (report_.scope == select::name(select::Scope::zoo)) text += ", over all adapters together";
  const auto* column = methods::find_column(rank_by_);
  const bool has_peers = column == nullptr || column->of_population;
  if (!report_.population.empty() && has_peers) text += fmt::format(", population {}", report_.population);
  return text;
}

std::string Analysis::cut_text(const AdapterView& adapter) const {
  if (adapter.pruned == 0) return {};
  // So many digits that none beyond the cut is printed as if it were within.
  return fmt::format(" ({} {} {:.5g})", rank_by_, low_is_worse_ ? "<=" : ">=", adapter.cut);
}

Metric adapter_scores(const Report& report) {
  const Analysis analysis(report);
  Metric scores;
  if (const auto* metric = analysis.adapter_metric()) {
    scores = *metric;
  } else {
    scores.name = analysis.rank_by();
    scores.long_name = (analysis.low_is_worse() ? "the worst " + scores.name + " of its modules, negated"
                                                : "the worst " + scores.name + " of its modules");
    scores.values.assign(report.adapters.size(), std::numeric_limits<double>::quiet_NaN());
    for (const auto& adapter : analysis.adapters()) scores.values[adapter.index] = analysis.adapter_score(adapter);
  }
  return scores;
}

/// What rate can be claimed of it is said with the verdicts.
std::string bank_text(const Report& report) {
  const auto members = report.bank.size();
  return fmt::format("compared with a bank of {} harmless adapters: bank_p is at least 1/{}", members, members + 1);
}

std::vector<double> probe_cosines(const Report& report) {
  return along_probes(report, [](const metrics::Alongside& along) { return along.cosine(); });
}

std::vector<double> probe_pulls(const Report& report) {
  return along_probes(report, [](const metrics::Alongside& along) { return along.pull(); });
}

std::vector<StageSummary> stages(const Report& report) {
  std::vector<StageSummary> out;
  double fastest = 0;
  for (const auto& row : report.run) {
    auto found =
        std::find_if(out.begin(), out.end(), [&](const StageSummary& stage) { return stage.stage == row.stage; });
    if (found == out.end()) {
      found = out.insert(out.end(), StageSummary());
      found->stage = row.stage;
    }
    if (row.bytes_per_second > fastest) {
      fastest = row.bytes_per_second;
      found->reading = fmt::format("{} thread{} × {} KiB: {}/s", row.readers, row.readers == 1 ? "" : "s",
                                   row.bytes_of_a_read / 1024, bytes_text(row.bytes_per_second));
    }
    ++found->ranks;
    found->seconds = std::max(found->seconds, row.seconds);
    found->bytes_read += row.bytes_read;
    found->peak_memory_bytes = std::max(found->peak_memory_bytes, row.peak_memory_bytes);
  }
  return out;
}

std::string common_prefix(const std::vector<ModuleRow>& modules) {
  if (modules.size() < 2) return {};
  const auto& first = modules.front().name;
  auto length = first.size();
  for (const auto& row : modules) {
    const auto end = first.begin() + static_cast<std::ptrdiff_t>(std::min(length, row.name.size()));
    length = static_cast<std::size_t>(std::mismatch(first.begin(), end, row.name.begin()).first - first.begin());
  }
  const auto dot = first.substr(0, length).rfind('.');
  return dot == std::string::npos ? "" : first.substr(0, dot + 1);
}

std::string_view name(Action action) {
  constexpr std::array<std::string_view, 3> kNames{"none", "keep", "prune"};
  return kNames.at(static_cast<std::size_t>(action));
}

std::vector<std::string> category_names(const Metric& metric) { return words(metric.categories); }

std::string to_text(const Attribute& attribute) {
  if (const auto* text = std::get_if<std::string>(&attribute)) return *text;
  if (const auto* integer = std::get_if<std::int64_t>(&attribute)) return fmt::format("{}", *integer);
  return fmt::format("{}", std::get<double>(attribute));
}

}  // namespace winnow::report
