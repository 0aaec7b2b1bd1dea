// One line for what is wrong in many modules. Private to src/judge.
#pragma once

#include <fmt/format.h>

#include <cstddef>
#include <map>
#include <string>
#include <utility>

#include "winnow/base/log.hpp"

namespace winnow::judge {

/// Warnings of single modules. Of what many of them have in common one is given: of the first, with how many more.
class ModuleWarnings {
 public:
  /// `text` is of the task `module`, those of one `kind` are one warning.
  void add(const std::string& kind, std::size_t module, const std::string& text) {
    auto& known = of_kind_.try_emplace(kind, Warning{module, text}).first->second;
    if (module < known.module) known = {module, text, known.count};
    ++known.count;
  }

  /// In the order of their modules, whichever rank found what.
  void tell(const base::Log& log) const {
    std::map<std::pair<std::size_t, std::string>, const Warning*> in_order;
    for (const auto& [kind, warning] : of_kind_) in_order[{warning.module, kind}] = &warning;
    for (const auto& [place, warning] : in_order) log.warn(warning->text + more_modules(warning->count - 1));
  }

  static std::string more_modules(std::size_t count) {
    return count == 0 ? "" : fmt::format("; and {} more module{}", count, count == 1 ? "" : "s");
  }

 private:
  struct Warning {
    std::size_t module;
    std::string text;
    std::size_t count = 0;
  };
  std::map<std::string, Warning> of_kind_;
};

}  // namespace winnow::judge
