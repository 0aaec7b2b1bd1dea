#include "winnow/watch/record.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cmath>
#include <nlohmann/json.hpp>
#include <utility>

#include "winnow/base/error.hpp"
#include "winnow/base/file.hpp"
#include "winnow/base/file_type.hpp"
#include "winnow/base/text.hpp"

namespace winnow::watch {
namespace {

using base::Error;
using base::ErrorKind;
using Json = nlohmann::ordered_json;

constexpr std::uint64_t kMaxLogBytes = std::uint64_t{1} << 30;

Json number(double value) { return std::isfinite(value) ? Json(value) : Json(nullptr); }
double number(const Json& value) { return value.is_null() ? Record::kUnknown : value.get<double>(); }

/// Closes what POSIX opens.
struct Descriptor {
  int number;
  explicit Descriptor(int opened) : number(opened) {}
  ~Descriptor() {
    if (number >= 0) ::close(number);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
};

Error cannot(const char* what, const std::string& path) {
  const int error_number = errno;
  return Error(ErrorKind::runtime, what).file(path).os_error(error_number);
}

Descriptor open_to_append(const std::string& path) {
  return Descriptor(::open(path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666));
}

}  // namespace

std::string to_line(const Record& record) {
  Json json;
  json["winnow_watch"] = 1;  // version of the format
  json["time"] = record.time;
  json["run"] = base::valid_utf8(record.run);
  json["step"] = record.place.step;
  json["checkpoint"] = base::valid_utf8(record.place.name);
  json["metric"] = record.score_name;
  json["score"] = number(record.score);
  json["threshold"] = number(record.threshold);
  json["above"] = record.is_above;
  json["bank_p"] = number(record.p);
  json["verdict"] = record.verdict.empty() ? Json(nullptr) : Json(record.verdict);
  json["reason"] = base::valid_utf8(record.reason);
  json["trend"] = number(record.slope);
  json["reaches"] = number(record.reaches);
  json["heading"] = record.is_heading;
  json["content"] = record.content;
  json["compared"] = record.compared;
  return json.dump() + "\n";
}

std::optional<Record> from_line(std::string_view line) try {
  const auto json = Json::parse(line);
  if (!json.is_object() || json.at("winnow_watch") != 1) return std::nullopt;
  Record record;
  record.time = json.at("time").get<std::string>();
  record.run = json.at("run").get<std::string>();
  record.place = {json.at("step").get<std::uint64_t>(), json.at("checkpoint").get<std::string>()};
  record.score_name = json.at("metric").get<std::string>();
  record.score = number(json.at("score"));
  record.threshold = number(json.at("threshold"));
  record.is_above = json.at("above").get<bool>();
  record.p = number(json.at("bank_p"));
  record.verdict = json.at("verdict").is_null() ? "" : json.at("verdict").get<std::string>();
  record.reason = json.at("reason").get<std::string>();
  record.slope = number(json.at("trend"));
  record.reaches = number(json.at("reaches"));
  record.is_heading = json.at("heading").get<bool>();
  record.content = json.at("content").get<std::string>();
  record.compared = json.at("compared").get<std::string>();
  return record;
} catch (const nlohmann::json::exception&) {
  return std::nullopt;
}

RecordFile::RecordFile(std::string path, const base::Log& log) : path_(std::move(path)) {
  if (path_.empty()) return;
  const auto type = base::type_of(path_);
  if (type != std::filesystem::file_type::not_found && type != std::filesystem::file_type::regular) {
    throw Error(ErrorKind::usage, "the log is no plain file").file(path_).expected("a file to append to");
  }
  const auto text = base::read_text_file_if_exists(path_, kMaxLogBytes).value_or("");
  std::size_t bad = 0;
  for (std::size_t begin = 0; begin < text.size();) {
    const auto end = std::min(text.find('\n', begin), text.size());
    auto record = from_line(std::string_view(text).substr(begin, end - begin));
    if (!record && begin == 0) {
      throw Error(ErrorKind::usage, "the file is no log of winnow watch")
          .file(path_)
          .expected("a new file, or one that it wrote")
          .advice("give another --log");
    }
    if (record) {
      earlier_.push_back(*std::move(record));
    } else {
      ++bad;
    }
    begin = end + 1;
  }
  if (bad > 0) {
    log.warn(fmt::format("{} of the lines of the log are not whole, they are left as they are: {}", bad, path_));
  }
  // Tried now: a log that cannot be written to is not found out after an hour.
  const auto file = open_to_append(path_);
  if (file.number < 0) throw cannot("cannot append to the log", path_);
  if (text.empty() || text.back() == '\n') return;  // a line that was cut short is ended, so that the next is whole
  if (::write(file.number, "\n", 1) != 1) throw cannot("cannot append to the log", path_);
}

std::map<Place, Record> RecordFile::records(const std::string& run, const std::string& compared) const {
  std::map<Place, Record> found;
  for (const auto& record : earlier_) {
    if (record.run == run && record.compared == compared) found.insert_or_assign(record.place, record);
  }
  return found;
}

void RecordFile::append(const Record& record) const {
  if (path_.empty()) return;
  const auto line = to_line(record);
  const auto file = open_to_append(path_);  // anew: a log may be moved away or live on a network file system
  if (file.number < 0) throw cannot("cannot append to the log", path_);
  errno = 0;
  if (::write(file.number, line.data(), line.size()) != static_cast<ssize_t>(line.size())) {
    throw cannot("cannot append to the log", path_);
  }
}

}  // namespace winnow::watch
