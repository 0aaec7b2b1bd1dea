#include "winnow/probes/source.hpp"

#include <fmt/format.h>

#include "winnow/base/error.hpp"

namespace winnow::probes {

Source parse_source(std::string_view text, Form form, std::string_view option) {
  const auto equals = text.find('=');
  const auto effect = text.substr(0, equals);
  const auto path = equals == std::string_view::npos ? std::string_view{} : text.substr(equals + 1);
  for (const auto known : {Effect::harmful, Effect::safe}) {
    if (effect == name(known) && !path.empty()) return {known, form, std::string(path)};
  }
  throw base::Error(base::ErrorKind::usage, fmt::format("{} {} does not say what the probe does", option, text))
      .expected("harmful=DIR or safe=DIR");
}

Effect effect_of(std::string_view text) { return text == name(Effect::safe) ? Effect::safe : Effect::harmful; }

std::string_view name(Effect effect) { return effect == Effect::harmful ? "harmful" : "safe"; }
std::string_view name(Form form) { return form == Form::direction ? "direction" : "adapter"; }

}  // namespace winnow::probes
