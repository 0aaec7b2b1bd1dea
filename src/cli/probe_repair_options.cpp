#include "probe_repair_options.hpp"

#include <fmt/format.h>

#include <charconv>
#include <utility>

#include "winnow/base/error.hpp"

namespace winnow::cli {
namespace {

using base::Error;
using base::ErrorKind;

double parse_lambda(const std::string& text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error == std::errc() && end == text.data() + text.size()) return value;
  throw Error(ErrorKind::usage, fmt::format("--lambda {} is not a number", text))
      .expected(fmt::format("a number above 0, at most {:g}", repair::kMostStrength));
}

}  // namespace

void add_probe_repair_options(po::options_description& options) {
  options.add_options()  //
      ("side", text_value("SIDE"),
       "deflect: block (default) takes out U U^T dW V V^T, left U U^T dW, right dW V V^T; left and right keep "
       "the rank")                                                                                          //
      ("directions", count_value(), "deflect: leading singular vectors of each probe, 1 to 64; default 4")  //
      ("lambda", text_value("X"), "deflect, subtract: how much of it is taken out, above 0 to 100; default 1");
}

std::optional<run::ProbeRepair::Kind> probe_repair_kind(const std::string& repair) {
  if (repair == "deflect") return run::ProbeRepair::Kind::deflect;
  if (repair == "subtract") return run::ProbeRepair::Kind::subtract;
  return std::nullopt;
}

run::ProbeRepair probe_repair(const po::variables_map& values, run::ProbeRepair::Kind kind,
                              std::vector<probes::Source> probes) {
  run::ProbeRepair repair;
  repair.kind = kind;
  repair.probes = std::move(probes);
  if (kind == run::ProbeRepair::Kind::subtract) refuse_with(values, "subtract", {"side", "directions"}, "deflect");
  if (const auto side = given(values, "side")) {
    const auto parsed = repair::parse_side(*side);
    if (!parsed)
      throw Error(ErrorKind::usage, fmt::format("unknown --side {}", *side)).expected("block, left or right");
    repair.side = *parsed;
  }
  if (values.count("directions") != 0) repair.directions = count(values, "directions");
  if (const auto lambda = given(values, "lambda")) repair.lambda = parse_lambda(*lambda);
  run::check(repair);
  return repair;
}

/// Nothing is ignored in silence.
void refuse_with(const po::variables_map& values, const std::string& repair, std::initializer_list<const char*> options,
                 const char* where) {
  for (const auto* option : options) {
    if (values.count(option) == 0) continue;
    throw Error(ErrorKind::usage, fmt::format("--{} says nothing with --repair {}", option, repair))
        .expected(fmt::format("it with --repair {}", where))
        .advice("leave it out");
  }
}

}  // namespace winnow::cli
