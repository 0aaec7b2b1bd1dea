#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>
#include <vector>

#include "winnow/base/text.hpp"
#include "winnow/verify/verify.hpp"

namespace winnow::verify {
namespace {

struct Wording {
  State state;
  std::string_view text;
};
constexpr std::array kWordings{
    Wording{State::same, "as audited"},
    Wording{State::copy, "with the content of an audited adapter"},
    Wording{State::unrecorded, "without a digest in the report"},
    Wording{State::unchecked, "not checked"},
    Wording{State::changed, "changed"},
    Wording{State::missing, "missing"},
    Wording{State::unreadable, "unreadable"},
    Wording{State::not_audited, "not audited"},
};

/// "1 changed: NAME (weights)"; the names of differences alone. Empty if there is none.
std::string part_of(const Kind& kind, const Wording& wording, std::size_t names) {
  std::vector<std::string> named;
  std::size_t count = 0;
  for (const auto& item : kind.items) {
    if (item.state != wording.state) continue;
    if (count++ >= names && names != 0) continue;
    const auto how = item.how.empty() ? std::string() : fmt::format(" ({})", base::printable(item.how));
    named.push_back(base::printable(item.name) + how);
  }
  if (count == 0) return {};
  auto text = kind.is_one ? std::string(wording.text) : fmt::format("{} {}", count, wording.text);
  if (!is_difference(wording.state)) return text;
  text += fmt::format(": {}", fmt::join(named, ", "));
  if (named.size() < count) text += fmt::format(" and {} more", count - named.size());
  return text;
}

std::string line_of(const Kind& kind, std::size_t names) {
  const auto title = base::printable(kind.items.size() == 1 && !kind.is_one ? kind.singular : kind.title);
  if (kind.items.empty()) return fmt::format("{}: {}\n", title, kind.note);
  std::vector<std::string> parts;
  for (const auto& wording : kWordings) {
    if (kind.is_one && wording.state == State::same && kind.differences() != 0) continue;
    if (auto text = part_of(kind, wording, names); !text.empty()) parts.push_back(std::move(text));
  }
  return fmt::format("{}{}: {}{}\n", kind.is_one ? std::string() : fmt::format("{} ", kind.items.size()), title,
                     fmt::join(parts, ", "), kind.note.empty() ? "" : "; " + kind.note);
}

}  // namespace

std::size_t Kind::differences() const {
  return static_cast<std::size_t>(
      std::count_if(items.begin(), items.end(), [](const Item& item) { return is_difference(item.state); }));
}

std::size_t Result::differences() const {
  std::size_t count = 0;
  for (const auto& kind : kinds) count += kind.differences();
  return count;
}

std::string render(const Result& result, std::size_t names) {
  std::string text;
  for (const auto& kind : result.kinds) {
    if (!kind.items.empty() || !kind.note.empty()) text += line_of(kind, names);
  }
  if (const auto count = result.differences(); count != 0) {
    return text + fmt::format("{} {} from what was audited\n", count, count == 1 ? "differs" : "differ");
  }
  return text + "what was checked is what was audited\n";
}

}  // namespace winnow::verify
