#include "statement.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>
#include <vector>

#include "winnow/base/error.hpp"
#include "winnow/base/file.hpp"
#include "winnow/base/text.hpp"
#include "winnow/report/in_toto.hpp"

namespace winnow::verify {
namespace {

using base::Error;
using base::ErrorKind;
using Json = nlohmann::json;

/// What winnow writes is less than ten deep; what is compared or freed member by member must fit the stack.
constexpr int kDeepest = 64;
constexpr std::size_t kLongestShown = 80;  // a digest and a bit
/// A statement of this report that was laid out otherwise is no larger than this many times what winnow writes. A
/// larger file is not read, for JSON takes many times its size in memory.
constexpr std::uint64_t kMostTimesLarger = 4;
constexpr std::uint64_t kAlwaysRead = std::uint64_t{64} << 20U;  // of other reports, to say that they are of those

Error no_statement(const std::string& path, std::string_view what) {
  return Error(ErrorKind::invalid_input, std::string(what)).file(path).expected("what winnow report --in-toto writes");
}

Json parse(const std::string& text, const std::string& path) {
  std::vector<std::set<std::string>> members;  // of the objects that are open
  const auto watch = [&](int depth, Json::parse_event_t event, Json& parsed) {
    if (depth > kDeepest) throw no_statement(path, fmt::format("statement is nested more than {} deep", kDeepest));
    if (event == Json::parse_event_t::object_start) members.emplace_back();
    if (event == Json::parse_event_t::object_end) members.pop_back();
    if (event == Json::parse_event_t::key && !members.back().insert(parsed.get<std::string>()).second) {
      throw no_statement(path, fmt::format("statement has a member twice: {}",
                                           base::abbreviated(parsed.get<std::string>(), kLongestShown)));
    }
    return true;
  };
  try {
    return Json::parse(text, watch);
  } catch (const Json::parse_error& error) {
    throw no_statement(path, fmt::format("statement is not JSON, at byte {}", error.byte));
  } catch (const Json::exception&) {
    throw no_statement(path, "statement is not JSON that can be read");
  }
}

bool is(const Json& object, const char* member, const char* value) {
  const auto found = object.find(member);
  return found != object.end() && *found == value;
}

void require_statement(const Json& found, const std::string& path) {
  if (!found.is_object()) throw no_statement(path, "statement is no JSON object");
  if (found.contains("payload") || found.contains("dsseEnvelope")) {
    throw no_statement(path, "this is a signed envelope around a statement")
        .advice(
            "check its signature with cosign verify-blob-attestation, then give the statement: jq -r "
            "'(.dsseEnvelope // .).payload' FILE | base64 -d");
  }
  if (!is(found, "_type", report::kInTotoStatement))
    throw no_statement(path, "this is no in-toto statement, version 1");
  if (!is(found, "predicateType", report::kInTotoPredicate)) {
    throw no_statement(path, "this is an in-toto statement of something else")
        .advice(fmt::format("its predicateType should be {}", report::kInTotoPredicate));
  }
}

std::string shown(const Json& value) {
  if (value.is_structured()) return value.type_name();
  return base::abbreviated(value.is_string() ? value.get<std::string>() : value.dump(), kLongestShown);
}

std::string below(const std::string& where, const std::string& member) {
  return where.empty() ? member : where + " " + member;
}

class Comparison {
 public:
  void compare(const std::string& where, const Json& statement, const Json& report) {
    if (statement == report) return;
    if (statement.is_object() && report.is_object()) return compare_objects(where, statement, report);
    if (statement.is_array() && report.is_array()) return compare_arrays(where, statement, report);
    items_.push_back(
        {where, State::changed, fmt::format("{} in the statement, {} in the report", shown(statement), shown(report))});
  }
  std::vector<Item> take() && { return std::move(items_); }

 private:
  void compare_objects(const std::string& where, const Json& statement, const Json& report) {
    for (const auto& [member, value] : report.items()) {
      const auto found = statement.find(member);
      if (found == statement.end()) {
        items_.push_back({below(where, member), State::missing, "in the statement"});
      } else {
        compare(below(where, member), *found, value);
      }
    }
    for (const auto& [member, value] : statement.items()) {
      if (!report.contains(member)) items_.push_back({below(where, member), State::not_audited, "not in the report"});
    }
  }

  /// The text member of an entry; empty if it has none.
  static std::string text(const Json& entry, const char* member) {
    if (!entry.is_object()) return {};
    const auto found = entry.find(member);
    return found != entry.end() && found->is_string() ? found->get<std::string>() : std::string();
  }

  /// What an entry of a list is called: an input by its role, name and path; others by their name or value.
  static std::string name_of(const Json& entry) {
    if (!entry.is_object()) return shown(entry);
    const auto about = entry.find("annotations");
    const auto role = about == entry.end() ? std::string() : text(*about, "role");
    const auto path = about == entry.end() ? std::string() : text(*about, "path");
    return below(role, text(entry, "name")) + (path.empty() ? "" : fmt::format(" ({})", path));
  }

  /// By names, in order if there are several of one: one entry more must not make all after it differ.
  void compare_arrays(const std::string& where, const Json& statement, const Json& report) {
    const auto before = items_.size();
    std::map<std::string, std::vector<const Json*>> by_name;
    for (const auto& entry : statement) by_name[name_of(entry)].push_back(&entry);
    std::map<std::string, std::size_t> taken;
    for (const auto& entry : report) {
      const auto name = name_of(entry);
      const auto named = by_name.find(name);
      if (named == by_name.end() || taken[name] == named->second.size()) {
        items_.push_back({below(where, name), State::missing, "in the statement"});
      } else {
        compare(below(where, name), *named->second[taken[name]++], entry);
      }
    }
    for (const auto& [name, entries] : by_name) {
      for (auto more = taken[name]; more < entries.size(); ++more) {
        items_.push_back({below(where, name), State::not_audited, "not in the report"});
      }
    }
    if (items_.size() == before) items_.push_back({where, State::changed, "their order"});
  }

  std::vector<Item> items_;
};

}  // namespace

Kind compare_statement(const std::string& path, const report::ReportFile& report) {
  const auto title = "statement " + path;
  if (report.seal.empty()) return {title, {}, "not compared: no statement is of a report without a seal"};
  const auto expected = report::render_in_toto(report);
  const auto most = std::max(kAlwaysRead, kMostTimesLarger * expected.size());
  const auto text = base::read_text_file(path, most);
  if (text == expected) return {title, {{"the statement", State::same, {}}}, {}, true};
  auto found = parse(text, path);
  require_statement(found, path);
  auto wanted = Json::parse(expected);
  // First whether it is of this report at all: of another one much else differs, and names are told in part.
  Comparison comparison;
  comparison.compare("subject", found["subject"], wanted["subject"]);
  found.erase("subject");
  wanted.erase("subject");
  comparison.compare("", found, wanted);
  auto items = std::move(comparison).take();
  if (items.empty()) items.push_back({"the statement", State::same, {}});
  return {title, std::move(items), {}, true};
}

}  // namespace winnow::verify
