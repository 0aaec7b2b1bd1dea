// Everything of a report that must not depend on ranks, threads or interruptions: all but the run's facts.
#pragma once

#include <string>

#include "winnow/base/sha256.hpp"
#include "winnow/report/report.hpp"

namespace winnow::test {

inline std::string report_fingerprint(const report::Report& report) {
  std::string bytes;
  const auto add = [&](const auto& number) { bytes.append(reinterpret_cast<const char*>(&number), sizeof(number)); };
  for (const auto& metric : report.metrics) {
    bytes += metric.name;
    bytes.append(reinterpret_cast<const char*>(metric.values.data()), metric.values.size() * sizeof(double));
  }
  for (const auto& module : report.modules) {
    bytes += module.name + module.role;
    add(module.alignment_norm);
    add(module.flags);
    bytes += module.base_digest + module.aligned_digest;
  }
  for (const auto& adapter : report.adapters) bytes += adapter.name + adapter.status + adapter.reason + adapter.sha256;
  for (const auto& metric : report.of_adapters) {
    bytes += metric.name;
    bytes.append(reinterpret_cast<const char*>(metric.values.data()), metric.values.size() * sizeof(double));
  }
  for (const auto& probe : report.probes) bytes += probe.name + probe.effect + probe.form + probe.digest;
  for (const auto& judgement : report.verdicts)
    bytes += std::string(verdict::name(judgement.verdict)) + judgement.reason;
  for (const double norm : report.probe_norms) add(norm);
  for (const double dot : report.probe_dots) add(dot);
  for (const double block : report.probe_blocks) add(block);
  if (report.heads) {
    for (const auto& row : report.heads->attention) bytes += row.name;
    for (const auto& row : report.heads->headless) bytes += row.module + row.reason;
    for (const double dot : report.heads->dots) add(dot);
  }
  for (const auto action : report.action) bytes += static_cast<char>(action);
  for (const auto present : report.present) bytes += static_cast<char>(present);
  return base::sha256_hex(bytes);
}

}  // namespace winnow::test
