#include "repair_options.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <utility>

#include "winnow/base/error.hpp"

namespace winnow::cli {
namespace {

using base::Error;
using base::ErrorKind;

double parse_number(const std::string& text, const char* option, const std::string& expected) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error == std::errc() && end == text.data() + text.size()) return value;
  throw Error(ErrorKind::usage, fmt::format("--{} {} is not a number", option, text)).expected(expected);
}

std::string above_zero() { return fmt::format("a number above 0, at most {:g}", repair::kMostStrength); }
std::string from_zero() { return fmt::format("a number from 0 to {:g}", repair::kMostStrength); }

/// The value of an option without which the repair means nothing.
std::string needed(const po::variables_map& values, const repair::Repair& repair, const char* option,
                   const char* example) {
  if (auto value = given(values, option)) return *std::move(value);
  throw Error(ErrorKind::usage, fmt::format("--repair {} needs --{}", repair.name, option))
      .advice(fmt::format("add --{} {}", option, example));
}

std::vector<double> parse_weights(const std::string& text) {
  std::vector<double> weights;
  for (std::size_t at = 0; at <= text.size();) {
    const auto end = std::min(text.find(',', at), text.size());
    weights.push_back(
        parse_number(text.substr(at, end - at), "weights", "numbers with commas between, such as 0.8,0.2"));
    at = end + 1;
  }
  return weights;
}

std::string directions_help() {
  std::string defaults;
  for (const auto& repair : repair::repairs()) {
    if (repair.directions == 0) continue;
    defaults += fmt::format("{}{} of {}", defaults.empty() ? "" : ", ", repair.directions, repair.name);
  }
  return fmt::format("{}: leading singular vectors, 1 to {}; by default {}", repair::those_that_take("directions"),
                     repair::kMostDirections, defaults);
}

}  // namespace

void add_repair_options(po::options_description& options) {
  options.add_options()  //
      ("side", text_value("SIDE"),
       "deflect: block (default) takes out U U^T dW V V^T, left U U^T dW, right dW V V^T; left and right keep "
       "the rank")                                              //
      ("directions", count_value(), directions_help().c_str())  //
      ("lambda", text_value("X"),
       fmt::format("{}: how much of it, above 0 to {:g}; default 1", repair::those_that_take("lambda"),
                   repair::kMostStrength)
           .c_str())  //
      ("project-by", text_value("WHAT"),
       "project: operator (default) C*dW as published; subspace U_k U_k^T dW, U_k the leading left singular vectors "
       "of V; rescaled C*dW as large as dW was")  //
      ("threshold", text_value("X"),
       fmt::format("unablate: ablation above which a direction is taken out, 0 to 1; default {:g}", methods::kAblated)
           .c_str())  //
      ("with", po::value<std::vector<std::string>>()->value_name("DIR"),
       "merge: PEFT adapter that is added, such as a safe one; may be repeated")                              //
      ("weights", text_value("W,W"), "merge: weight of the adapter, then of each --with, 0 to 100: 0.8,0.2")  //
      ("factor", text_value("X"), "scale: what the update is multiplied by, 0 to 100");
}

std::string repairs_help() {
  std::vector<std::string_view> selected, all;
  for (const auto& repair : repair::repairs()) (repair.of_selection ? selected : all).push_back(repair.name);
  return fmt::format("write adapters: {} of what is selected, or {} (winnow prune --help says what each does)",
                     repair::listed(selected), repair::listed(all));
}

/// Nothing is ignored in silence.
void refuse_untaken(const po::variables_map& values, const repair::Repair* repair,
                    const std::vector<std::string_view>& options) {
  for (const auto option : options) {
    if (values.count(std::string(option)) == 0 || (repair != nullptr && repair::takes(*repair, option))) continue;
    throw Error(ErrorKind::usage,
                fmt::format("--{} says nothing with --repair {}", option, repair == nullptr ? "none" : repair->name))
        .expected(fmt::format("it with --repair {}", repair::those_that_take(option)))
        .advice("leave it out");
  }
}

run::ModuleRepair module_repair(const po::variables_map& values, const repair::Repair& repair,
                                std::vector<probes::Source> probes) {
  run::ModuleRepair result;
  result.kind = repair.kind;
  result.probes = std::move(probes);
  if (const auto side = given(values, "side")) {
    const auto parsed = repair::parse_side(*side);
    if (!parsed)
      throw Error(ErrorKind::usage, fmt::format("unknown --side {}", *side)).expected("block, left or right");
    result.side = *parsed;
  }
  if (const auto by = given(values, "project-by")) {
    const auto parsed = repair::parse_projection(*by);
    if (!parsed) {
      throw Error(ErrorKind::usage, fmt::format("unknown --project-by {}", *by))
          .expected("operator, subspace or rescaled");
    }
    result.projection = *parsed;
  }
  if (repair::takes(repair, "aligned")) result.aligned = given(values, "aligned").value_or("");
  if (repair::takes(repair, "base")) result.base = given(values, "base").value_or("");
  if (repair.directions != 0) result.directions = repair.directions;
  if (values.count("directions") != 0) result.directions = count(values, "directions");
  if (const auto lambda = given(values, "lambda")) result.lambda = parse_number(*lambda, "lambda", above_zero());
  if (const auto threshold = given(values, "threshold")) {
    result.threshold = parse_number(*threshold, "threshold", "a number above 0, below 1");
  }
  if (repair::takes(repair, "factor")) {
    result.factor = parse_number(needed(values, repair, "factor", "0.5"), "factor", from_zero());
  }
  if (repair::takes(repair, "with")) {
    if (values.count("with") != 0) result.with = values["with"].as<std::vector<std::string>>();
    result.weights = parse_weights(needed(values, repair, "weights", "0.8,0.2"));
  }
  if (values.count("directions") != 0 && repair.kind == repair::Kind::project &&
      result.projection != repair::Projection::by_subspace) {
    throw Error(ErrorKind::usage,
                fmt::format("--directions says nothing with --project-by {}", repair::name(result.projection)))
        .expected("it with --project-by subspace")
        .advice("leave it out");
  }
  run::check(result);
  return result;
}

}  // namespace winnow::cli
