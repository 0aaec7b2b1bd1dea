#include "numbers.hpp"

#include <fmt/format.h>

#include <array>
#include <cmath>
#include <cstddef>

namespace winnow::report {

/// A score this small is a median compared with itself; 3.7e-16 would only distract.
constexpr double kRoundingNoise = 1e-12;

std::string number_text(double value, int digits) {
  if (std::isnan(value)) return "-";
  const auto size = std::abs(value) < kRoundingNoise ? 0.0 : std::abs(value);
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  if (size != 0 && (size >= 1e5 || size < 0.5 * std::pow(10.0, -digits))) return fmt::format("{:.1e}", value);
  return fmt::format("{:.{}f}", size == 0 ? 0.0 : value, digits);
}

std::string grouped(std::uint64_t count) {
  auto text = fmt::format("{}", count);
  for (auto at = text.size(); at > 3; at -= 3) text.insert(at - 3, ",");
  return text;
}

std::string significant_text(double value) { return std::isnan(value) ? "-" : fmt::format("{:.3g}", value); }

std::string share_text(double value) {
  if (std::abs(value) < 0.0005) return "0.000";  // never "-0.000"
  return std::abs(value) < 100 ? number_text(value, 3) : number_text(value, 0);
}

std::string percent_text(double share) {
  if (std::isnan(share)) return "-";
  if (share > 0 && share < 0.005) return "<1 %";
  const auto percent = 100 * share;  // of a share that knows no bounds: alpha may be 1e300
  return std::abs(percent) < 1e5 ? fmt::format("{:.0f} %", percent) : number_text(percent) + " %";
}

std::string bytes_text(double bytes) {
  constexpr std::array<const char*, 6> kUnits{"B", "kB", "MB", "GB", "TB", "PB"};
  std::size_t unit = 0;
  while (bytes >= 1000 && unit + 1 < kUnits.size()) bytes /= 1000, ++unit;
  return unit == 0 ? fmt::format("{:.0f} B", bytes) : fmt::format("{:.1f} {}", bytes, kUnits.at(unit));
}

}  // namespace winnow::report
