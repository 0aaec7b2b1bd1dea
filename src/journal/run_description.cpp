#include "winnow/journal/run_description.hpp"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "winnow/base/bytes.hpp"
#include "winnow/base/error.hpp"
#include "winnow/base/sha256.hpp"
#include "winnow/methods/table.hpp"

namespace winnow::journal {
namespace {

using division::MemoryBudget;
using input::Inputs;
using input::ProbeInput;
using run::Measuring;
using run::Reading;
using Facts = std::map<std::string, report::Attribute>;
using json = nlohmann::ordered_json;

/// Entries of one list that are told; more say nothing more.
constexpr std::size_t kMostTold = 3;

json describe(const ProbeInput& probe) {
  return {{"name", probe.name},
          {"effect", std::string(probes::name(probe.source.effect))},
          {"form", std::string(probes::name(probe.source.form))},
          // Of a direction that of its headers, as of the checkpoints: the journal knows which of its weights count.
          {"digest", probe.is_direction() ? probe.weights.fingerprint : probe.digest},
          {"layers", layers_digest(probe.adapter)}};
}

json describe(const adapter::Adapter& adapter) {
  const bool ok = adapter.status == adapter::AdapterStatus::ok;
  return {{"name", adapter.name},     {"status", ok ? "ok" : "quarantined"},
          {"sha256", adapter.sha256}, {"alpha", adapter.alpha},
          {"scaling", adapter.scale}, {"layers", layers_digest(adapter)}};
}

json names_of(const std::vector<const methods::Method*>& methods) {
  json names = json::array();
  for (const auto* method : methods) names.push_back(method->name);
  return names;
}

/// The memory budget decides which layers are stacked, if they are not all stacked at once.
std::string stacking(const Inputs& inputs, const MemoryBudget& budget) {
  for (std::size_t m = 0; m < inputs.tasks.size(); ++m) {
    if (division::batch_size(inputs, m, 0, budget) < inputs.layers[m].size()) {
      return fmt::format("as fits a memory budget of {} bytes, {} of a GPU", budget.host, budget.device);
    }
  }
  return "all adapters at once";
}

std::string fact(const Facts& facts, const char* name) {
  const auto found = facts.find(name);
  const auto* text = found == facts.end() ? nullptr : std::get_if<std::string>(&found->second);
  return text == nullptr ? "" : *text;
}

json parse(std::string_view text, const std::string& path) {
  auto parsed = json::parse(text, nullptr, false);
  if (parsed.is_object()) return parsed;
  throw base::Error(base::ErrorKind::invalid_input, "the journal's description is damaged")
      .file(path)
      .advice("give another --journal: this one cannot be resumed");
}

std::string shown(const json& value) { return value.is_string() ? value.get<std::string>() : value.dump(); }

void compare(const std::string& where, const json& then, const json& now, std::vector<std::string>& found);

void compare_lists(const std::string& where, const json& then, const json& now, std::vector<std::string>& found) {
  if (then.size() != now.size()) found.push_back(fmt::format("{}: {} then, {} now", where, then.size(), now.size()));
  std::vector<std::string> entries;
  for (std::size_t k = 0; k < std::min(then.size(), now.size()); ++k) {
    const auto& entry = now[k];
    const auto name = entry.is_object() && entry.contains("name") ? shown(entry["name"]) : std::to_string(k);
    compare(fmt::format("{} {}", where, name), then[k], entry, entries);
  }
  const auto told = std::min(entries.size(), kMostTold);
  found.insert(found.end(), entries.begin(), entries.begin() + static_cast<std::ptrdiff_t>(told));
  if (told < entries.size()) found.push_back(fmt::format("{}: {} more", where, entries.size() - told));
}

void compare(const std::string& where, const json& then, const json& now, std::vector<std::string>& found) {
  if (then == now) return;
  if (then.is_array() && now.is_array()) return compare_lists(where, then, now, found);
  if (!then.is_object() || !now.is_object()) {
    found.push_back(fmt::format("{}: {} then, {} now", where, shown(then), shown(now)));
    return;
  }
  const auto below = [&](const std::string& key) { return where.empty() ? key : where + " " + key; };
  for (const auto& [key, value] : now.items()) compare(below(key), then.value(key, json("nothing")), value, found);
  for (const auto& [key, value] : then.items()) {
    if (!now.contains(key)) compare(below(key), value, json("nothing"), found);
  }
}

}  // namespace

std::string layers_digest(const adapter::Adapter& adapter) {
  base::ByteWriter out;
  for (const auto& lora : adapter.modules) {
    for (const auto& name : {lora.module(), lora.adapter_module(), lora.weight()}) out.put(name);
    out.put(lora.rank);
    out.put(lora.scale);
    out.put(lora.stored_transposed);
    out.put(lora.lora_a.offset);
    out.put(lora.lora_b.offset);
    out.put(lora.lora_b.first);
    out.put(lora.lora_b.step);
  }
  for (const auto& update : adapter.dense) {
    for (const auto& name : {update.module(), update.adapter_module(), update.names->weight}) out.put(name);
    out.put(update.weight.offset);
    out.put(update.rank);
    out.put(update.scale);
    out.put(update.lora_a.offset);
    out.put(update.lora_b.offset);
    out.put(update.magnitude.offset);
  }
  return base::sha256_hex(out.bytes());
}

std::string describe_run(const Inputs& inputs, const Reading& reading, const Measuring& measuring, const Facts& facts,
                         const MemoryBudget& budget, std::string_view arithmetic, int team) {
  json run{{"winnow", fmt::format("{} {}", fact(facts, "winnow_version"), fact(facts, "git_sha"))},
           {"base", inputs.base.fingerprint},
           {"aligned", inputs.aligned.fingerprint},
           {"arithmetic", arithmetic},
           {"subspace_rank", measuring.subspace_rank},
           {"seed", measuring.seed},
           {"scaling", reading.adapter.unit_scale ? "none" : "peft"},
           {"element_stats", measuring.element_statistics},
           {"heads", checkpoint::to_text(inputs.model.heads)},
           {"methods", names_of(methods::chosen(run::sums_of(reading, measuring)))},
           {"team", team},
           {"stacking", stacking(inputs, budget)},
           {"adapters", json::array()},
           {"probes", json::array()},
           {"modules", json::array()}};
  for (const auto& adapter : inputs.adapters) run["adapters"].push_back(describe(adapter));
  for (const auto& probe : inputs.probes) run["probes"].push_back(describe(probe));
  for (const auto& task : inputs.tasks) {
    const auto* const of = inputs.is_of_checkpoint(task) ? ""
                           : inputs.is_direction(task)   ? " along direction "
                           : inputs.is_dense(task)       ? " as a whole "
                                                         : " along adapters ";
    run["modules"].push_back(task.name + of + (inputs.is_of_checkpoint(task) ? "" : std::to_string(task.source)));
  }
  // A name that is not UTF-8 must not end the run.
  return run.dump(1, ' ', false, json::error_handler_t::replace) + "\n";
}

int described_team(std::string_view description, const std::string& path) {
  const auto run = parse(description, path);
  const auto team = run.find("team");
  return team != run.end() && team->is_number_integer() ? std::max(team->get<int>(), 1) : 1;
}

std::vector<std::string> differences(std::string_view then, std::string_view now, const std::string& path) {
  std::vector<std::string> found;
  if (then == now) return found;
  compare("", parse(then, path), parse(now, path), found);
  return found;
}

}  // namespace winnow::journal
