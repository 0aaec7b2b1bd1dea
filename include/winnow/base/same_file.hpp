// What is to be written must not be what was read.
#pragma once

#include <string>
#include <string_view>

namespace winnow::base {

/// Throws Error(usage) if writing `output` would replace `input`: they are one file or directory, by whichever names
/// and links, or `output` is a directory that `input` lies in. `option` names the output: "--html".
void require_not_an_input(const std::string& output, const std::string& input, std::string_view option);

}  // namespace winnow::base
