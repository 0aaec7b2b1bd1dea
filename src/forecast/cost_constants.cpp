#include "winnow/forecast/cost_constants.hpp"

#include <fmt/format.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string_view>

#include "winnow/base/error.hpp"
#include "winnow/base/file.hpp"

namespace winnow::forecast {
namespace {

using Json = nlohmann::ordered_json;
using base::Error;
using base::ErrorKind;

constexpr int kFormat = 1;
constexpr std::uint64_t kMaxFileBytes = 1ULL << 20;
constexpr int kMaxCores = 1 << 20;

Json to_json(const std::vector<ArithmeticRate>& rates) {
  auto rows = Json::array();
  for (const auto& rate : rates) {
    rows.push_back({{"columns", rate.columns}, {"pass1_flops", rate.pass1}, {"pass2_flops", rate.pass2}});
  }
  return rows;
}

Json to_json(const StorageRate& rate) {
  return {{"way", rate.way},
          {"rank_bytes_per_second", rate.rank},
          {"node_bytes_per_second", rate.node},
          {"overlap", rate.overlap}};
}

/// Takes fields of one JSON object, and knows the file for its errors.
class Fields {
 public:
  Fields(const Json& object, const std::string& path) : object_(object), path_(path) {}

  Error error(std::string_view expectation) const {
    return Error(ErrorKind::invalid_input, "not a file of constants")
        .file(path_)
        .expected(expectation)
        .advice("measure them again with winnow plan --calibrate");
  }
  bool has(const char* name) const { return object_.is_object() && object_.contains(name); }
  const Json& at(const char* name) const {
    const auto found = object_.is_object() ? object_.find(name) : object_.end();
    if (!object_.is_object() || found == object_.end()) throw error(fmt::format("a field {}", name));
    return *found;
  }
  std::string text(const char* name) const {
    if (!at(name).is_string()) throw error(fmt::format("text in {}", name));
    return at(name).get<std::string>();
  }
  double number(const char* name, bool may_be_zero = false) const {
    const auto& value = at(name);
    const double number = value.is_number() ? value.get<double>() : -1.0;
    if (!std::isfinite(number) || number < 0 || (number == 0 && !may_be_zero)) {
      throw error(fmt::format("a positive number in {}", name));
    }
    return number;
  }
  std::uint64_t count(const char* name, std::uint64_t most) const {
    const auto& value = at(name);
    if (!value.is_number_unsigned() || value.get<std::uint64_t>() < 1 || value.get<std::uint64_t>() > most) {
      throw error(fmt::format("a whole number from 1 in {}", name));
    }
    return value.get<std::uint64_t>();
  }
  Fields object(const char* name) const { return {at(name), path_}; }
  std::vector<ArithmeticRate> rates(const char* name) const {
    std::vector<ArithmeticRate> rates;
    if (!at(name).is_array()) throw error(fmt::format("a list in {}", name));
    for (const auto& row : at(name)) {
      const Fields fields(row, path_);
      rates.push_back({fields.count("columns", std::uint64_t{1} << 40U), fields.number("pass1_flops"),
                       fields.number("pass2_flops")});
      if (rates.size() > 1 && rates[rates.size() - 2].columns >= rates.back().columns) {
        throw error(fmt::format("rising columns in {}", name));
      }
    }
    if (rates.empty()) throw error(fmt::format("one entry at least in {}", name));
    return rates;
  }
  StorageRate storage(const char* name) const {
    const auto fields = object(name);
    StorageRate rate{fields.text("way"), fields.number("rank_bytes_per_second"), fields.number("node_bytes_per_second"),
                     fields.number("overlap", true)};
    if (rate.overlap > 1) throw error(fmt::format("an overlap of at most 1 in {}", name));
    return rate;
  }

 private:
  const Json& object_;
  const std::string& path_;
};

}  // namespace

CostConstants default_constants(int cores) {
  CostConstants constants;
  constants.machine = "unknown";
  constants.backend = "cpu";
  constants.cores = cores;
  constants.start_up_seconds = 2.0;
  constants.one_thread = {{8, 5e9, 5e9}, {24, 10e9, 10e9}, {256, 20e9, 20e9}};
  constants.all_threads = constants.one_thread;
  constants.cold = {"direct", 1e9, 1e9, 0.5};
  constants.warm = {"mmap", 4e9, 4e9, 0.5};
  constants.factor_bytes_per_second = 0.3e9;
  constants.sketch_values_per_second = 10e6;
  constants.gram_seconds = 2e-9;
  constants.metric_seconds = 2e-9;
  constants.intruder_seconds = 2e-9;
  constants.entry_seconds = 2e-9;
  constants.entry_product_seconds = 1e-10;
  constants.message_seconds = 1e-4;
  return constants;
}

CostConstants read_constants(const std::string& path) {
  const auto json = Json::parse(base::read_text_file(path, kMaxFileBytes), nullptr, false);
  const Fields fields(json, path);
  if (json.is_discarded()) throw fields.error("JSON");
  if (fields.count("format", 1000) != kFormat) throw fields.error(fmt::format("format {}", kFormat));
  CostConstants constants;
  constants.machine = fields.text("machine");
  constants.created_utc = fields.text("created_utc");
  constants.backend = fields.text("backend");
  constants.cores = static_cast<int>(fields.count("cores", kMaxCores));
  constants.start_up_seconds = fields.number("start_up_seconds", true);
  constants.one_thread = fields.rates("one_thread");
  constants.all_threads = fields.rates("all_threads");
  constants.cold = fields.storage("cold");
  constants.warm = fields.storage("warm");
  constants.streams = static_cast<int>(fields.count("streams", kMaxCores));
  constants.factor_bytes_per_second = fields.number("factor_bytes_per_second");
  constants.sketch_values_per_second = fields.number("sketch_values_per_second");
  constants.gram_seconds = fields.number("gram_seconds");
  constants.metric_seconds = fields.number("metric_seconds");
  // Older files lack these.
  const auto defaults = default_constants(1);
  const auto newer = [&](const char* name, double usual) { return fields.has(name) ? fields.number(name) : usual; };
  constants.intruder_seconds = newer("intruder_seconds", defaults.intruder_seconds);
  constants.entry_seconds = newer("entry_seconds", defaults.entry_seconds);
  constants.entry_product_seconds = newer("entry_product_seconds", defaults.entry_product_seconds);
  constants.message_seconds = fields.number("message_seconds", true);
  return constants;
}

void write_constants(const CostConstants& constants, const std::string& path) {
  const Json json{{"format", kFormat},
                  {"machine", constants.machine},
                  {"created_utc", constants.created_utc},
                  {"backend", constants.backend},
                  {"cores", constants.cores},
                  {"start_up_seconds", constants.start_up_seconds},
                  {"one_thread", to_json(constants.one_thread)},
                  {"all_threads", to_json(constants.all_threads)},
                  {"cold", to_json(constants.cold)},
                  {"warm", to_json(constants.warm)},
                  {"streams", constants.streams},
                  {"factor_bytes_per_second", constants.factor_bytes_per_second},
                  {"sketch_values_per_second", constants.sketch_values_per_second},
                  {"gram_seconds", constants.gram_seconds},
                  {"metric_seconds", constants.metric_seconds},
                  {"intruder_seconds", constants.intruder_seconds},
                  {"entry_seconds", constants.entry_seconds},
                  {"entry_product_seconds", constants.entry_product_seconds},
                  {"message_seconds", constants.message_seconds}};
  const auto directory = std::filesystem::absolute(path).parent_path();
  std::error_code failure;
  std::filesystem::create_directories(directory, failure);
  if (failure) {
    throw Error(ErrorKind::runtime, "cannot make directory").os_error(failure.value()).file(directory.string());
  }
  base::check_replaceable(path);
  base::atomic_write_file(path, json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
}

std::string default_constants_path() {
  const char* cache = std::getenv("XDG_CACHE_HOME");
  if (cache != nullptr && *cache == '/')
    return std::string(cache) + "/winnow/constants.json";  // others are to be ignored
  const char* home = std::getenv("HOME");
  if (home == nullptr || *home == '\0') return {};
  return std::string(home) + "/.cache/winnow/constants.json";
}

}  // namespace winnow::forecast
