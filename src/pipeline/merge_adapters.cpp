#include "merge_adapters.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <string>
#include <string_view>

#include "winnow/adapter/adapter.hpp"
#include "winnow/input/repeated_adapters.hpp"

namespace winnow::pipeline {
namespace {

/// Whether two adapters with the same weights have been scored with the same scales: on the same modules the same
/// norms.
bool have_same_norms(const ReportPart& a, std::size_t row_a, const ReportPart& b, std::size_t row_b) {
  const auto norms = [](const ReportPart& part, std::size_t row) {
    std::map<std::string_view, double> of_module;
    const auto* metric = part.report.find_metric("update_norm");
    for (std::size_t m = 0; metric != nullptr && m < part.report.modules.size(); ++m) {
      const auto value = metric->values[row * part.report.modules.size() + m];
      if (!std::isnan(value)) of_module[part.report.modules[m].name] = value;
    }
    return of_module;
  };
  const auto mine = norms(a, row_a), theirs = norms(b, row_b);
  return std::equal(mine.begin(), mine.end(), theirs.begin(), theirs.end(), [](const auto& one, const auto& other) {
    return one.first == other.first && about_equal(one.second, other.second);
  });
}

/// What an adapter of a part does. Another status is told apart: only one of both says what was found. Reports of
/// earlier versions have no digests: there the same weights with the same scales and norms are alike.
class Contents {
 public:
  explicit Contents(const std::vector<ReportPart>& parts) : parts_(parts) {}

  std::string of(const PartAdapter& adapter) {
    const auto& row = parts_[adapter.part].report.adapters[adapter.row];
    if (!row.digest.empty() || row.status != "ok") {
      return row.status + " " + input::content_of(row.digest, row.path, row.sha256);
    }
    auto& alike = without_digest_[row.sha256];
    const auto same =
        std::find_if(alike.begin(), alike.end(), [&](const auto& other) { return are_same(other, adapter); });
    const auto& first = same == alike.end() ? alike.emplace_back(adapter) : *same;
    return fmt::format("adapter {} of part {}", first.row, first.part);
  }

 private:
  bool are_same(const PartAdapter& a, const PartAdapter& b) const {
    const auto &one = parts_[a.part].report.adapters[a.row], &other = parts_[b.part].report.adapters[b.row];
    return one.rank == other.rank && one.alpha == other.alpha && one.scaling == other.scaling &&
           have_same_norms(parts_[a.part], a.row, parts_[b.part], b.row);
  }

  const std::vector<ReportPart>& parts_;
  std::map<std::string, std::vector<PartAdapter>> without_digest_;
};

}  // namespace

MergedAdapters adapters_of(const std::vector<ReportPart>& parts, const base::Log& log) {
  std::vector<PartAdapter> all;
  std::vector<input::Held> held;
  Contents contents(parts);
  for (std::size_t p = 0; p < parts.size(); ++p) {
    for (std::size_t n = 0; n < parts[p].report.adapters.size(); ++n) {
      all.push_back({p, n});
      held.push_back({parts[p].report.adapters[n].path, contents.of(all.back())});
    }
  }
  const auto judged = input::judged_as(held);
  std::map<std::string_view, std::size_t> first;  // of each content, the first that is kept
  std::vector<std::size_t> place(all.size());
  MergedAdapters merged;
  std::size_t repeated = 0;
  std::string example;
  const auto told = [&](std::size_t n) { return fmt::format("{} of {}", held[n].path, parts[all[n].part].path); };
  for (std::size_t n = 0; n < all.size(); ++n) {
    if (judged[n] == n) {
      place[n] = merged.kept.size();
      merged.kept.push_back(all[n]);
      first.try_emplace(held[n].content, n);
    } else if (repeated++ == 0) {
      example = fmt::format("{} is {}", told(n), told(judged[n]));
    }
  }
  merged.judged_as.resize(parts.size());
  merged.stands_for.resize(parts.size());
  for (std::size_t n = 0; n < all.size(); ++n) {
    merged.judged_as[all[n].part].push_back(place[judged[n]]);
    merged.stands_for[all[n].part].push_back(place[first.at(held[n].content)]);
  }
  if (repeated != 0) {
    log.warn(fmt::format("{} adapter{} in more than one report and count{} once: {}{}", repeated,
                         repeated == 1 ? " is" : "s are", repeated == 1 ? "s" : "", example,
                         repeated == 1 ? "" : ", for example"));
  }
  return merged;
}

void merge_adapters(const std::vector<ReportPart>& parts, const std::vector<PartAdapter>& adapters,
                    report::Report& merged) {
  std::vector<adapter::Adapter> named;
  for (const auto& [part, row] : adapters) {
    merged.adapters.push_back(parts[part].report.adapters[row]);
    named.emplace_back().path = merged.adapters.back().path;
  }
  adapter::assign_unique_names(named);
  for (std::size_t n = 0; n < named.size(); ++n) {
    merged.adapters[n].name = named[n].name;
    if (merged.adapters[n].status == "ok") merged.adapters[n].reason.clear();  // judge() tells anew
  }
}

void merge_copies(const std::vector<ReportPart>& parts, const MergedAdapters& adapters, report::Report& merged) {
  std::vector<input::Copy> copies;
  const auto add = [&](const std::string& path, std::size_t of) {
    if (!input::are_one_path(path, merged.adapters[of].path)) copies.push_back({path, of});
  };
  for (std::size_t p = 0; p < parts.size(); ++p) {
    const auto& part = parts[p].report;
    const auto& judged_as = adapters.judged_as[p];
    for (std::size_t n = 0; n < judged_as.size(); ++n) add(part.adapters[n].path, judged_as[n]);
    for (const auto& copy : part.copies) {
      const bool is_checkpoint = input::is_checkpoint(copy.path);  // then it leads to the very one
      add(copy.path, is_checkpoint ? judged_as.at(copy.of) : adapters.stands_for[p].at(copy.of));
    }
  }
  input::put_in_order(copies);
  for (const auto& copy : copies) merged.copies.push_back({copy.path, copy.of});
}

}  // namespace winnow::pipeline
