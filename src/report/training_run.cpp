#include "winnow/report/training_run.hpp"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <optional>

#include "analysis.hpp"
#include "winnow/base/training_checkpoint.hpp"

namespace winnow::report {
namespace {

namespace fs = std::filesystem;

constexpr double kSmallestRise = 1e-9;  // less is the same score, computed from other columns of a block

struct Place {
  std::string run;
  std::uint64_t step = 0;
};

std::optional<Place> place_of(const std::string& path) {
  auto clean = fs::path(path).lexically_normal();
  if (!clean.has_filename()) clean = clean.parent_path();  // a trailing slash
  const auto step = base::checkpoint_number(clean.filename().string());
  if (!step) return std::nullopt;
  return Place{clean.has_parent_path() ? clean.parent_path().string() : ".", *step};
}

TrainingStep describe(const Analysis& analysis, std::uint64_t number, std::size_t n) {
  const auto& report = analysis.report();
  TrainingStep step;
  step.step = number;
  step.adapter = n;
  const auto* ediem = report.find_metric("ediem");
  const auto* misalignment = report.find_metric("misalignment");
  const auto* removed = report.find_metric("alignment_removed");
  for (std::size_t m = 0; m < report.modules.size(); ++m) {
    const auto score = analysis.value(ediem, n, m);
    if (!std::isnan(score) && !(score <= step.worst_ediem)) step.worst_ediem = score, step.worst_module = m;
    step.worst_misalignment = std::fmax(step.worst_misalignment, analysis.value(misalignment, n, m));
    step.most_removed = std::fmax(step.most_removed, analysis.value(removed, n, m));
    if (analysis.undoing(n, m)) ++step.undoing;
    if (analysis.action(n, m) == Action::prune) ++step.pruned;
  }
  step.scored = !std::isnan(step.worst_ediem) || !std::isnan(step.worst_misalignment);
  return step;
}

std::vector<ModuleRise> rises(const Analysis& analysis, const TrainingRun& run) {
  const auto *first = run.first_scored(), *last = run.last_scored();
  std::vector<ModuleRise> out;
  if (first == last) return out;
  const auto& report = analysis.report();
  const auto* ediem = report.find_metric("ediem");
  for (std::size_t m = 0; m < report.modules.size(); ++m) {
    const ModuleRise one{m, analysis.value(ediem, first->adapter, m), analysis.value(ediem, last->adapter, m)};
    if (std::isfinite(one.rise()) && one.rise() > kSmallestRise) out.push_back(one);
  }
  std::sort(out.begin(), out.end(), [&](const ModuleRise& a, const ModuleRise& b) {
    return a.rise() != b.rise() ? a.rise() > b.rise() : report.modules[a.module].name < report.modules[b.module].name;
  });
  return out;
}

/// The last component of each path, or all of it if another run has the same.
void name_apart(std::vector<TrainingRun>& runs) {
  const auto last = [](const TrainingRun& run) {
    const auto name = fs::path(run.path).filename().string();
    return name.empty() ? run.path : name;
  };
  std::map<std::string, std::size_t> users;
  for (const auto& run : runs) ++users[last(run)];
  for (auto& run : runs) run.name = users[last(run)] == 1 ? last(run) : run.path;
}

}  // namespace

const TrainingStep* TrainingRun::first_scored() const {
  const auto found = std::find_if(steps.begin(), steps.end(), [](const auto& step) { return step.scored; });
  return found == steps.end() ? nullptr : &*found;
}

const TrainingStep* TrainingRun::last_scored() const {
  const auto found = std::find_if(steps.rbegin(), steps.rend(), [](const auto& step) { return step.scored; });
  return found == steps.rend() ? nullptr : &*found;
}

std::size_t TrainingRun::quarantined() const {
  return static_cast<std::size_t>(
      std::count_if(steps.begin(), steps.end(), [](const auto& step) { return !step.scored; }));
}

std::vector<TrainingRun> training_runs(const Report& report) {
  std::map<std::string, std::map<std::uint64_t, std::size_t>> found;  // run -> step -> adapter
  for (std::size_t n = 0; n < report.adapters.size(); ++n) {
    const auto place = place_of(report.adapters[n].path);
    if (!place) continue;
    auto& held = found[place->run].try_emplace(place->step, n).first->second;
    if (report.adapters[held].status == "quarantined") held = n;
  }
  std::erase_if(found, [](const auto& entry) { return entry.second.size() < 2; });
  std::vector<TrainingRun> runs;
  if (found.empty()) return runs;
  const Analysis analysis(report);
  for (const auto& [path, steps] : found) {
    TrainingRun run;
    run.path = path;
    for (const auto& [number, n] : steps) run.steps.push_back(describe(analysis, number, n));
    run.risen = rises(analysis, run);
    runs.push_back(std::move(run));
  }
  name_apart(runs);
  return runs;
}

void sort_worst_first(std::vector<TrainingRun>& runs) {
  const auto key = [](const TrainingRun& run) {
    const auto* last = run.last_scored();
    const bool known = last != nullptr && !std::isnan(last->worst_ediem);
    return known ? last->worst_ediem : -std::numeric_limits<double>::infinity();
  };
  std::stable_sort(runs.begin(), runs.end(), [&](const auto& a, const auto& b) { return key(a) > key(b); });
}

}  // namespace winnow::report
