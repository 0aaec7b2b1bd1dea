#include "adapters.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <set>

#include "checkpoint.hpp"
#include "places.hpp"
#include "winnow/adapter/adapter.hpp"
#include "winnow/base/error.hpp"
#include "winnow/base/file_type.hpp"
#include "winnow/base/sha256.hpp"
#include "winnow/base/text.hpp"
#include "winnow/checkpoint/catalogue.hpp"

namespace winnow::verify {
namespace {

namespace fs = std::filesystem;
using base::Error;
using base::ErrorKind;

Kind adapter_kind() { return {"adapters", {}, {}, false, "adapter"}; }
Kind copy_kind() { return {"copies", {}, {}, false, "copy"}; }

/// Of the zoo and named ones, each once.
std::vector<std::string> given_directories(const Request& request, const base::Log& log) {
  std::vector<std::string> all;
  if (!request.zoo.empty()) all = adapter::find_adapters(request.zoo, false, log);
  all.insert(all.end(), request.adapters.begin(), request.adapters.end());
  std::set<std::string> known;
  std::erase_if(all, [&](const std::string& directory) {
    std::error_code ignored;
    const auto path = fs::weakly_canonical(directory, ignored).string();
    return !known.insert(path.empty() ? directory : path).second;
  });
  return all;
}

/// What a direction is known by (input/probe_input.hpp).
Item direction(const report::ProbeRow& probe, const base::Log& log) try {
  const auto weights = checkpoint::read_checkpoint(probe.path, log);
  const bool is_same = base::sha256_hex(weights.fingerprint + weights.sample) == probe.digest;
  return {probe.name, is_same ? State::same : State::changed, "headers or samples"};
} catch (const Error& error) {
  if (error.kind() != ErrorKind::invalid_input) throw;
  return {probe.name, State::changed, error.what()};
}

}  // namespace

AdapterCheck::AdapterCheck(const report::Report& report, const Request& request, Jobs& jobs, const base::Log& log)
    : report_(report) {
  const auto scaling = text_of(report, "scaling");
  knows_options_ = report.attributes.contains("dora") && !scaling.empty();
  jobs.unit_scale = scaling == "none";

  for (const auto& row : report.adapters) recorded_.push_back(row.path);
  for (const auto& copy : report.copies) recorded_.push_back(copy.path);
  all_expected_ = request.adapters.empty() || !request.zoo.empty();
  if (!request.adapters.empty() || !request.zoo.empty()) given_ = given_directories(request, log);
  first_ = jobs.adapters.size();
  for (const auto& directory : given_.value_or(recorded_)) jobs.adapters.push_back({directory});

  for (const auto& probe : report.probes) {
    of_probe_.emplace_back();
    if (base::type_of(probe.path) == fs::file_type::not_found) {
      absent_probes_.push_back(base::printable(probe.name));
    } else if (probe.form == "direction") {
      directions_.push_back(direction(probe, log));
    } else {
      of_probe_.back() = jobs.adapters.size();
      jobs.adapters.push_back({probe.path});
    }
  }
}

std::size_t AdapterCheck::row_of(std::size_t recorded) const {
  const auto rows = report_.adapters.size();
  return recorded < rows ? recorded : static_cast<std::size_t>(report_.copies.at(recorded - rows).of);
}

State AdapterCheck::compare_content(std::size_t row, const FoundAdapter& found) const {
  const auto& then = report_.adapters[row];
  if (!found.is_there) return then.sha256.empty() ? State::unrecorded : State::missing;
  if (found.is_unreadable) return State::unreadable;
  if (then.sha256.empty()) return State::unrecorded;
  const bool same_scales = then.digest.empty() || !knows_options_ || found.digest == then.digest;
  return found.sha256 == then.sha256 && same_scales ? State::same : State::changed;
}

Item AdapterCheck::compare_one(std::size_t recorded, const FoundAdapter& found) const {
  const auto& then = report_.adapters[row_of(recorded)];
  const bool is_copy = recorded >= report_.adapters.size();
  Item item{is_copy ? recorded_[recorded] : then.name, compare_content(row_of(recorded), found), {}};
  if (item.state == State::unreadable) item.how = found.reason;
  if (item.state != State::changed) return item;
  const auto* const what = found.sha256 != then.sha256 ? "weights" : "scales, by its configuration";
  item.how = found.reason.empty() ? what : fmt::format("{}: {}", what, found.reason);
  return item;
}

std::vector<Kind> AdapterCheck::compare_given(const Found& found) const {
  const auto at = [&](std::size_t directory) -> const FoundAdapter& { return found.adapters.at(first_ + directory); };
  const auto place = match_places(*given_, recorded_, [&](std::size_t directory, std::size_t recorded) {
    return compare_content(row_of(recorded), at(directory)) == State::same;
  });
  std::vector<std::optional<std::size_t>> directory_of(recorded_.size());
  std::vector<Item> others;
  for (std::size_t d = 0; d < given_->size(); ++d) {
    if (place[d]) {
      directory_of[*place[d]] = d;
      continue;
    }
    bool is_known = false;
    for (std::size_t n = 0; n < report_.adapters.size() && !is_known; ++n) {
      is_known = compare_content(n, at(d)) == State::same;
    }
    others.push_back({(*given_)[d], is_known ? State::copy : at(d).is_there ? State::not_audited : State::missing, {}});
  }
  auto adapters = adapter_kind(), copies = copy_kind();
  for (std::size_t r = 0; r < recorded_.size(); ++r) {
    const bool is_adapter = r < report_.adapters.size();
    auto& kind = is_adapter ? adapters : copies;
    if (directory_of[r]) {
      kind.items.push_back(compare_one(r, at(*directory_of[r])));
    } else if (all_expected_) {
      kind.items.push_back(compare_one(r, {}));
    } else {
      kind.items.push_back({is_adapter ? report_.adapters[r].name : recorded_[r], State::unchecked, {}});
    }
  }
  return {
      std::move(adapters), std::move(copies), {"other directories", std::move(others), {}, false, "other directory"}};
}

Kind AdapterCheck::probes(const Found& found) const {
  Kind kind{"probes", directions_, {}, false, "probe"};
  for (std::size_t k = 0; k < of_probe_.size(); ++k) {
    if (!of_probe_[k]) continue;
    const auto& now = found.adapters.at(*of_probe_[k]);
    const auto state = now.is_unreadable                        ? State::unreadable
                       : now.digest == report_.probes[k].digest ? State::same
                                                                : State::changed;
    kind.items.push_back({report_.probes[k].name, state, state == State::same ? std::string() : now.reason});
  }
  if (absent_probes_.empty()) return kind;
  kind.note = fmt::format("not there and not checked: {}", fmt::join(absent_probes_, ", "));
  return kind;
}

std::vector<Kind> AdapterCheck::compare(const Found& found) const {
  std::vector<Kind> kinds;
  if (given_) {
    kinds = compare_given(found);
  } else {
    kinds = {adapter_kind(), copy_kind()};
    for (std::size_t r = 0; r < recorded_.size(); ++r) {
      auto& kind = kinds.at(r < report_.adapters.size() ? 0 : 1);
      kind.items.push_back(compare_one(r, found.adapters.at(first_ + r)));
      if (kind.items.back().state == State::missing) {
        kind.note = "--zoo PATH or --adapter DIR says where they are now";
      }
    }
  }
  kinds.push_back(probes(found));
  return kinds;
}

}  // namespace winnow::verify
