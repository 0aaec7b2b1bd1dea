// Text that is safe to put elsewhere: module and adapter names come from files of strangers. Private to src/report.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "winnow/base/text.hpp"

namespace winnow::report {

using base::valid_utf8;
inline std::string for_terminal(std::string_view text) { return base::printable(text); }
std::string for_html(std::string_view text);       ///< printable, escaped for element content and attributes
std::size_t display_width(std::string_view utf8);  ///< code points: names are not wide scripts
std::string elided(std::string_view utf8, std::size_t width);  ///< shortened in its middle to `width` code points
std::vector<std::string> words(std::string_view text);         ///< that are separated by spaces

}  // namespace winnow::report
