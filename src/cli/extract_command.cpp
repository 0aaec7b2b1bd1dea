#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <string>
#include <string_view>

#include "command_line.hpp"
#include "commands.hpp"
#include "console.hpp"
#include "winnow/base/error.hpp"
#include "winnow/base/parallel.hpp"
#include "winnow/base/same_file.hpp"
#include "winnow/base/text.hpp"
#include "winnow/comm/together.hpp"
#include "winnow/extract/extract.hpp"

namespace winnow::cli {
namespace {

using base::Error;
using base::ErrorKind;

struct NamedType {
  std::string_view name;
  base::DType dtype;
};
constexpr std::array<NamedType, 3> kTypes{
    {{"float32", base::DType::f32}, {"float16", base::DType::f16}, {"bfloat16", base::DType::bf16}}};

CommandLine command_line() {
  CommandLine line;
  line.command = "extract";
  line.usage =
      "usage: winnow extract --from DIR --merged DIR --output DIR [options]\n\n"
      "Makes a PEFT adapter of what was merged into a checkpoint, to be audited, compared and repaired\n"
      "like any other: D = W_merged - W_from of every linear layer, and of each the smallest rank that\n"
      "leaves nothing but rounding. What else differs is named. Exit code 3 if there is nothing to write.";
  line.options.add_options()                                                                              //
      ("from", text_value("DIR"), "checkpoint before the adapter was merged")                             //
      ("merged", text_value("DIR"), "checkpoint after it")                                                //
      ("output", text_value("DIR"), "directory of the adapter")                                           //
      ("rank", text_value("auto|N", "auto"), "rank of each module; auto: what each weight's change has")  //
      ("max-rank", count_value(256), "largest rank that auto tries")                                      //
      ("dtype", text_value("TYPE", "float32"), "of the factors: float32, float16 or bfloat16")            //
      ("progress", text_value("STYLE", "auto"), "auto, bar, lines or none")                               //
      ("names", count_value(10), "tensors named in a line; 0 names all");
  add_common_options(line.options);
  return line;
}

base::DType dtype_of(const std::string& name) {
  const auto found = std::find_if(kTypes.begin(), kTypes.end(), [&](const auto& type) { return type.name == name; });
  if (found == kTypes.end()) {
    throw Error(ErrorKind::usage, fmt::format("unknown --dtype {}", name)).expected("float32, float16 or bfloat16");
  }
  return found->dtype;
}

repair::RankRule rule_of(const po::variables_map& values) {
  repair::RankRule rule;
  rule.largest = count(values, "max-rank");
  const auto text = values["rank"].as<std::string>();
  if (text != "auto") {
    std::uint64_t rank = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), rank);
    if (error != std::errc{} || end != text.data() + text.size() || rank == 0) {
      throw Error(ErrorKind::usage, fmt::format("--rank {} is no rank", text)).expected("auto, or a number from 1");
    }
    rule.rank = rank;
  }
  if (rule.largest == 0) throw Error(ErrorKind::usage, "--max-rank is at least 1");
  return rule;
}

extract::Request request_of(const po::variables_map& values) {
  extract::Request request{required(values, "extract", "from"), required(values, "extract", "merged"),
                           required(values, "extract", "output"), rule_of(values),
                           dtype_of(values["dtype"].as<std::string>())};
  for (const auto& input : {request.from, request.merged}) {
    base::require_not_an_input(request.output, input, "--output");
  }
  return request;
}

/// The first `most` of them; 0: all.
template <class Items, class Text>
std::string listed(const Items& items, std::uint64_t most, const Text& text) {
  std::string list;
  const auto shown = most == 0 ? items.size() : std::min<std::size_t>(most, items.size());
  for (std::size_t n = 0; n < shown; ++n) list += fmt::format("    {}\n", text(items[n]));
  if (shown < items.size()) list += fmt::format("    and {} more (--names 0 names all)\n", items.size() - shown);
  return list;
}

std::string counted(std::size_t count, std::string_view what) {
  return fmt::format("{} {}{}", count, what, count == 1 ? "" : "s");
}

/// Of all weights that differ, and how well the adapter holds it.
std::string fit_text(const extract::Result& result) {
  double norm = 0, residual = 0, rounding = 0, equal = 0, elements = 0;
  for (const auto& module : result.modules) {
    norm = std::hypot(norm, module.norm);
    residual = std::hypot(residual, module.residual);
    rounding = std::hypot(rounding, module.rounding);
    equal += module.share_equal * static_cast<double>(module.elements);
    elements += static_cast<double>(module.elements);
  }
  return fmt::format(
      "left out: {:.3g} % of the change's norm, {:.2f} of what storing {} rounds off; merged again,\n"
      "{:.1f} % of the changed weights' elements are those of the merged checkpoint, bit for bit\n",
      100 * residual / norm, residual / rounding, base::name(result.modules.front().dtype), 100 * equal / elements);
}

std::string text_of(const extract::Result& result, const extract::Request& request, std::uint64_t names) {
  std::vector<extract::Extracted> none, high;
  for (const auto& module : result.modules) {
    if (module.rank == 0) none.push_back(module);
    if (!module.is_low_rank) high.push_back(module);
  }
  auto text =
      fmt::format("wrote {}: rank {} from {} that differ; {} equal, bit for bit\n{}", base::printable(request.output),
                  result.rank, counted(result.modules.size() - none.size(), "weight"),
                  counted(result.equal, "tensor") + (result.equal == 1 ? " is" : " are"), fit_text(result));
  if (!high.empty()) {
    text += fmt::format("of no low rank are {}, a share of whose change is left out:\n{}",
                        counted(high.size(), "weight"), listed(high, names, [](const auto& module) {
                          return fmt::format("{}: {:.3g} % of its norm", base::printable(module.module),
                                             100 * module.residual / module.norm);
                        }));
  }
  if (!none.empty()) {
    text += fmt::format("rounding alone explains the change of {}:\n{}", counted(none.size(), "weight"),
                        listed(none, names, [](const auto& module) { return base::printable(module.module); }));
  }
  return text;
}

void print(const extract::Result& result, const extract::Request& request, std::uint64_t names) {
  std::string rest;
  if (!result.remaining.empty()) {
    rest = fmt::format("not in the adapter, though the checkpoints differ there: {}\n{}",
                       counted(result.remaining.size(), "tensor"), listed(result.remaining, names, [](const auto& one) {
                         return fmt::format("{} ({})", base::printable(one.tensor), one.reason);
                       }));
  }
  if (result.rank == 0) {
    print_result(rest);
    throw Error(ErrorKind::invalid_input, result.modules.empty()
                                              ? "no weight of a linear layer differs, so no adapter is written"
                                              : "nothing but rounding differs, so no adapter is written")
        .file(request.merged)
        .expected(fmt::format("a checkpoint into which an adapter of {} was merged", request.from));
  }
  print_result(text_of(result, request, names) + rest);
}

}  // namespace

int extract_command(const Arguments& arguments, comm::Communicator& world) {
  const auto values = parse(command_line(), arguments, world);
  const auto log = console_log(log_level(values), world.rank());
  auto style = ProgressMeter::Style::none;
  auto request = comm::result_together(world, [&] {
    style = ProgressMeter::parse_style(values["progress"].as<std::string>());
    return request_of(values);
  });
  ProgressMeter meter(style, world.size());
  if (world.is_coordinator()) request.progress = [&](const run::Progress& progress) { meter.update(progress); };
  const auto result = extract::extract(request, world, base::default_threads(world.node_size()), log);
  meter.finish();
  comm::from_coordinator(world, [&] {
    print(result, request, count(values, "names"));
    return std::string();
  });
  return 0;
}

}  // namespace winnow::cli
