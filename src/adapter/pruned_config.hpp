// adapter_config.json of an adapter that lost some of its modules.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace winnow::adapter {

/// `text` with exactly the modules in `kept` targeted, and none in `pruned`, whatever selected them before (by
/// target_parameters those it selected), and without patterns that no module is left for. `text` has been parsed as a
/// PeftConfig.
std::string pruned_config(std::string_view text, const std::vector<std::string>& kept,
                          const std::vector<std::string>& pruned);

}  // namespace winnow::adapter
