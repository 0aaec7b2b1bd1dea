// Repairs an adapter by probes: no checkpoint is read, and no report is needed.
#pragma once

#include <memory>
#include <string>

#include "winnow/adapter/replaced_adapter.hpp"
#include "winnow/base/log.hpp"
#include "winnow/run/probe_repair.hpp"

namespace winnow::output {

/// Repairs one adapter after the other: probes are opened, hashed and taken apart once for all of them.
class ProbeRepairer {
 public:
  /// `threads` take directions apart. Throws as check() does, and Error(invalid_input) for a probe that an audit would
  /// quarantine. `repair` is copied.
  ProbeRepairer(const run::ProbeRepair& repair, int threads, const base::Log& log);
  ~ProbeRepairer();
  ProbeRepairer(const ProbeRepairer&) = delete;
  ProbeRepairer& operator=(const ProbeRepairer&) = delete;

  /// Writes the adapter in `source` to `destination` (adapter::write_replaced_adapter()) with the probes taken out of
  /// every module that one of them has. Modules that none has, or that have nothing along any, stay bit for bit.
  /// Of a direction each tensor is read once, whole, when an adapter first has its module.
  /// Throws Error(invalid_input) for an adapter that an audit would quarantine, factors and tensors that are not
  /// finite, a probe module of another shape, probes without a module in common with the adapter, and a result that the
  /// adapter's dtype cannot hold.
  adapter::WrittenReplacements write(const std::string& source, const std::string& destination, const base::Log& log);

 private:
  class Implementation;
  std::unique_ptr<Implementation> implementation_;
};

}  // namespace winnow::output
