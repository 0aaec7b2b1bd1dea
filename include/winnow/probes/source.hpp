// A probe as a user names it: an update, or a direction of the weights, of which the effect is known.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace winnow::probes {

/// What the model does more of along a probe.
enum class Effect : std::uint8_t {
  harmful,  ///< answers what it should refuse: an update along it is worse
  safe,     ///< refuses: an update along it is better
};

/// What a probe is made of.
enum class Form : std::uint8_t {
  direction,  ///< a checkpoint-shaped directory of safetensors, its tensors named and shaped like the weights
  adapter,    ///< a PEFT adapter directory
};

struct Source {
  Effect effect = Effect::harmful;
  Form form = Form::direction;
  std::string path;
  bool operator==(const Source&) const = default;
};

/// "harmful=DIR" or "safe=DIR", as --direction and --probe take it. Throws Error(usage), naming `option`.
Source parse_source(std::string_view text, Form form, std::string_view option);

std::string_view name(Effect effect);
/// Of a name that a report has; harmful if it is none.
Effect effect_of(std::string_view name);
std::string_view name(Form form);

/// Which sign makes a cosine with the probe higher for a worse update.
constexpr double sign(Effect effect) { return effect == Effect::harmful ? 1.0 : -1.0; }

/// Whether an update with this cosine with a probe is the probe itself, however it is stored and scaled, or, of a safe
/// one, the probe turned round. Ordinary updates have a few hundredths.
constexpr bool is_harm_itself(Effect effect, double cosine) { return sign(effect) * cosine >= 0.99; }

}  // namespace winnow::probes
