#include "adapter_notes.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <string>

#include "winnow/base/error.hpp"

namespace winnow::input {
namespace {

using base::Error;
using base::ErrorKind;

Error refused_adapter(const adapter::Adapter& adapter) {
  const bool named = adapter.reason.find(adapter.path) != std::string::npos;
  return Error(ErrorKind::invalid_input, adapter.reason)
      .file(named ? "" : adapter.path)
      .advice("leave out --strict to quarantine it and score the rest");
}

Error refused_module(const adapter::Adapter& adapter, const adapter::UnjudgedModule& module) {
  return Error(ErrorKind::invalid_input, fmt::format("module {} cannot be judged: {}", module.module, module.reason))
      .file(adapter.path)
      .advice("leave out --strict to score the rest");
}

}  // namespace

void require_whole(const adapter::Adapter& adapter) {
  if (adapter.status == adapter::AdapterStatus::quarantined) throw refused_adapter(adapter);
  for (const auto& module : adapter.unjudged) {
    if (module.mismatch) throw refused_module(adapter, module);
  }
  if (adapter.skipped.empty()) return;
  const auto& first = adapter.skipped.front();
  throw Error(ErrorKind::invalid_input,
              fmt::format("{} of the adapter cannot be judged, the first: {}",
                          adapter.skipped.size() == 1 ? "a tensor" : fmt::format("{} tensors", adapter.skipped.size()),
                          first.reason))
      .file(adapter.weights_file)
      .tensor(first.key)
      .advice("leave out --strict to score the rest");
}

void tell_about(const adapter::Adapter& adapter, const base::Log& log) {
  if (adapter.status == adapter::AdapterStatus::quarantined) {
    log.warn(fmt::format("adapter {} is quarantined: {}", adapter.name, adapter.reason));
  }
  if (!adapter.warnings.empty()) log.warn(fmt::format("adapter {}: {}", adapter.name, adapter.warnings));
  if (!adapter.skipped.empty()) {
    // One line an adapter: the same reason holds for most of its skipped tensors.
    const auto& first = adapter.skipped.front();
    log.info(fmt::format("adapter {}: {} tensor{} not scored, the first {}: {}", adapter.name, adapter.skipped.size(),
                         adapter.skipped.size() == 1 ? "" : "s", first.key, first.reason));
  }
}

void tell_of_change(const Standing& before, const adapter::Adapter& now, const base::Log& log) {
  if (now.status != before.status) {
    log.warn(fmt::format("adapter {} is quarantined: {}", now.name, now.reason));
  } else if (now.unjudged.size() > before.unjudged.size()) {
    const auto is_new = [&](const auto& module) {
      return std::none_of(before.unjudged.begin(), before.unjudged.end(),
                          [&](const auto& known) { return known.module == module.module; });
    };
    const auto first = std::find_if(now.unjudged.begin(), now.unjudged.end(), is_new);
    const auto count = now.unjudged.size() - before.unjudged.size();
    log.warn(fmt::format("adapter {}: {} module{} not judged, the first {}: {}", now.name, count,
                         count == 1 ? " is" : "s are", first->module, first->reason));
  }
}

}  // namespace winnow::input
