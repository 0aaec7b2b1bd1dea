// Text that is safe to put elsewhere: module and adapter names come from files of strangers. Private to src/report.
#pragma once

#include <string>
#include <string_view>

namespace winnow::report {

std::string valid_utf8(std::string_view text);     ///< each byte that is not UTF-8 replaced by U+FFFD
std::string for_terminal(std::string_view text);   ///< valid UTF-8 without control characters (escape sequences)
std::string for_html(std::string_view text);       ///< valid UTF-8, escaped for element content and attributes
std::size_t display_width(std::string_view utf8);  ///< code points: names are not wide scripts
std::string elided(std::string_view utf8, std::size_t width);  ///< shortened in its middle to `width` code points

}  // namespace winnow::report
