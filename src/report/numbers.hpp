// Numbers as people read them: short, whatever their size. Private to src/report.
#pragma once

#include <cstdint>
#include <string>

namespace winnow::report {

std::string number_text(double value, int digits = 2);  ///< "-" for NaN, exponent if very large or small
std::string significant_text(double value);             ///< 3 significant digits, for what has no usual size
std::string share_text(double value);                   ///< 3 decimals, for what lies between -1 and 1
std::string percent_text(double share);                 ///< "18 %"; "-" for NaN, "<1 %" if it would round to none
std::string bytes_text(double bytes);                   ///< "14.2 GB"
std::string grouped(std::uint64_t count);               ///< "2,240,000"

}  // namespace winnow::report
