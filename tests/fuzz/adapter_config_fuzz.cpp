// Whatever the bytes: an adapter_config.json is refused with an Error that names the file, or its scaling rules answer
// in bounded time. The first line of the input is a module's name, the rest the config; the whole is tried as a
// pattern.
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "require.hpp"
#include "winnow/adapter/peft_config.hpp"
#include "winnow/adapter/treatment.hpp"
#include "winnow/base/error.hpp"

namespace {

using winnow::base::Error;
using winnow::base::ErrorKind;

template <class Call>
void require_answer_or_refusal(Call call) {
  try {
    call();
  } catch (const Error& error) {
    require(error.kind() == ErrorKind::invalid_input, "a refusal is the fault of the input");
    require(std::string_view(error.what()).find('\n') == std::string_view::npos, "a refusal is one line");
  }
}

void check_config(std::string_view text, std::string_view module) {
  const auto config = winnow::adapter::parse_peft_config(text, "fuzz", winnow::base::Log());
  require(!config.peft_type.empty() || text.find("\"\"") != std::string_view::npos, "there is a peft_type");
  require(std::isfinite(config.r) && std::isfinite(config.lora_alpha), "numbers are finite");
  const auto reason = winnow::adapter::quarantine_reason(config, true);
  require(config.peft_type == "LORA" || !reason.empty(), "other methods are not scored");
  const winnow::adapter::ScalingRules rules(config);
  const auto scaling = rules.scaling(module, 4);
  require(std::isfinite(scaling.scale), "a scale is finite");
  require(std::isfinite(rules.configured_rank(module)), "a rank is finite");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view input =
      size == 0 ? std::string_view() : std::string_view(reinterpret_cast<const char*>(data), size);
  const auto line = input.find('\n');
  const auto module = input.substr(0, line).substr(0, 200);
  const auto text = line == std::string_view::npos ? input : input.substr(line + 1);
  require_answer_or_refusal([&] { check_config(text, module); });
  require_answer_or_refusal([&] { winnow::adapter::pattern_matches(text.substr(0, 512), module); });
  return 0;
}
