#include "pairing.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "winnow/adapter/mapping.hpp"
#include "winnow/base/error.hpp"
#include "winnow/input/checkpoints.hpp"

namespace winnow::input {
namespace {

using base::Error;
using LoraList = base::SharedList<adapter::LoraModule>;

/// The weights that cannot be compared, and why. One that every adapter needs is a fault of the checkpoints, and
/// thrown: they are no pair. Otherwise the adapters that need it lose that module, and the others nothing. Nor is it
/// the pair's fault if the aligned model has a larger vocabulary, which many have.
std::map<std::string, Error> unpaired_weights(const Inputs& inputs) {
  std::map<const void*, std::pair<const LoraList*, std::size_t>> lists;  // and of how many adapters each is
  std::size_t scored = 0;
  for (const auto& adapter : inputs.adapters) {
    if (adapter.status != adapter::AdapterStatus::ok) continue;
    ++scored;
    auto& [list, count] = lists[adapter.modules.id()];
    list = &adapter.modules;
    ++count;
  }
  std::map<std::string, std::size_t> users;
  std::set<std::string> heads;
  for (const auto& [id, list] : lists) {
    for (const auto& lora : *list.first) {
      users[lora.weight()] += list.second;
      if (adapter::is_output_head(lora.adapter_module())) heads.insert(lora.weight());
    }
  }
  std::map<std::string, Error> faults;
  for (const auto& [weight, count] : users) {
    auto fault = weight_fault(inputs.names(), inputs.aligned, weight);
    if (!fault) continue;
    if (count == scored && !heads.contains(weight)) throw *std::move(fault);
    faults.emplace(weight, *std::move(fault));
  }
  return faults;
}

}  // namespace

void leave_out_unpaired(Inputs& inputs) {
  const auto faults = unpaired_weights(inputs);
  if (faults.empty()) return;
  const auto is_unpaired = [&](const adapter::LoraModule& lora) { return faults.contains(lora.weight()); };
  std::map<const void*, LoraList> left;  // of each list that has such modules, which adapters share as before
  std::vector<LoraList> kept_alive;      // so that no other list takes the place of one in memory
  for (auto& adapter : inputs.adapters) {
    const auto first = std::find_if(adapter.modules.begin(), adapter.modules.end(), is_unpaired);
    if (first == adapter.modules.end()) continue;
    const auto& reason = faults.at(first->weight());
    adapter.unjudged.edit([&](auto& unjudged) {
      for (auto lora = first; lora != adapter.modules.end(); ++lora) {
        const auto fault = faults.find(lora->weight());
        if (fault != faults.end()) unjudged.push_back({lora->adapter_module(), fault->second.summary(), true});
      }
      std::sort(unjudged.begin(), unjudged.end(), [](const auto& a, const auto& b) { return a.module < b.module; });
    });
    const auto [known, is_new] = left.try_emplace(adapter.modules.id(), adapter.modules);
    if (is_new) {
      kept_alive.push_back(adapter.modules);
      known->second.edit([&](auto& modules) { std::erase_if(modules, is_unpaired); });
    }
    adapter.modules = known->second;
    if (!adapter.modules.empty() || !adapter.dense.empty()) continue;
    adapter.status = adapter::AdapterStatus::quarantined;
    adapter.reason = reason.what();
    adapter.unjudged.clear();
  }
}

void quarantine_contradicting_orientation(Inputs& inputs) {
  std::map<std::string_view, std::pair<bool, std::string_view>> seen;  // module -> stored_transposed, first adapter
  std::set<const void*> agreeing;                                      // lists that contradict nothing
  for (auto& adapter : inputs.adapters) {
    if (adapter.status != adapter::AdapterStatus::ok || agreeing.contains(adapter.modules.id())) continue;
    for (const auto& lora : adapter.modules) {
      const auto& [transposed, first] =
          seen.try_emplace(lora.module(), lora.stored_transposed, adapter.name).first->second;
      if (transposed == lora.stored_transposed) continue;
      adapter.status = adapter::AdapterStatus::quarantined;
      adapter.reason =
          fmt::format("fan_in_fan_out contradicts that of adapter {} for the square weight {}", first, lora.weight());
      break;
    }
    if (adapter.status == adapter::AdapterStatus::ok) agreeing.insert(adapter.modules.id());
  }
}

}  // namespace winnow::input
