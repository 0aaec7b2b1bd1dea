#include "winnow/output/repair_order.hpp"

#include <cstdint>
#include <utility>

namespace winnow::output {

std::string serialise(const std::vector<RepairOrder>& orders) {
  base::ByteWriter out;
  for (const auto& order : orders) {
    out.put(order.source);
    out.put(order.destination);
    out.put<std::uint64_t>(order.adapter);
    out.put(order.only.has_value());
    if (!order.only) continue;
    out.put<std::uint64_t>(order.only->size());
    for (const auto& module : *order.only) out.put(module);
  }
  return std::move(out).bytes();
}

std::vector<RepairOrder> deserialise_orders(const std::string& bytes) {
  std::vector<RepairOrder> orders;
  base::ByteReader in(bytes);
  while (!in.at_end()) {
    auto& order = orders.emplace_back();
    order.source = in.get_string();
    order.destination = in.get_string();
    order.adapter = in.get<std::uint64_t>();
    if (!in.get<bool>()) continue;
    order.only.emplace(in.get<std::uint64_t>());
    for (auto& module : *order.only) module = in.get_string();
  }
  return orders;
}

void RepairOutcome::serialise(base::ByteWriter& out) const {
  out.put(nothing_left);
  out.put(remark);
  out.put(fault.has_value());
  if (fault) {
    fault->serialise(out);
    return;
  }
  const auto& done = written.value();
  for (const auto value : {std::uint64_t(done.replaced), std::uint64_t(done.kept), done.rank_before, done.rank_after}) {
    out.put(value);
  }
  out.put(done.limits);
}

RepairOutcome RepairOutcome::deserialise(base::ByteReader& in) {
  RepairOutcome outcome;
  outcome.nothing_left = in.get<bool>();
  outcome.remark = in.get_string();
  if (in.get<bool>()) {
    outcome.fault = base::Error::deserialise(in);
    return outcome;
  }
  auto& done = outcome.written.emplace();
  done.replaced = in.get<std::uint64_t>();
  done.kept = in.get<std::uint64_t>();
  done.rank_before = in.get<std::uint64_t>();
  done.rank_after = in.get<std::uint64_t>();
  done.limits = in.get_string();
  return outcome;
}

}  // namespace winnow::output
