#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "command_line.hpp"
#include "commands.hpp"
#include "console.hpp"
#include "winnow/comm/together.hpp"
#include "winnow/methods/table.hpp"

namespace winnow::cli {
namespace {

using Json = nlohmann::ordered_json;

CommandLine command_line() {
  CommandLine line;
  line.command = "methods";
  line.usage =
      "usage: winnow methods [--json]\n\n"
      "Lists every method: the datasets it puts into a report, which end of each is worse,\nand what it needs.";
  line.options.add_options()("json", po::bool_switch(), "for programs");
  add_common_options(line.options);
  return line;
}

const char* worse_text(methods::Sense sense) {
  switch (sense) {
    case methods::Sense::high_is_worse:
      return "high";
    case methods::Sense::low_is_worse:
      return "low";
    case methods::Sense::none:
      break;
  }
  return "-";
}

/// What a value is measured against.
const char* peers_text(methods::Peers peers) {
  switch (peers) {
    case methods::Peers::adapter:
      return "adapter";
    case methods::Peers::population:
      return "population";
    case methods::Peers::none:
      break;
  }
  return "-";
}

/// What has to be read and given for these sums.
std::string needs_text(std::uint32_t sums) {
  using namespace methods;
  if ((sums & kProbeSums) != 0) return "--direction or --probe";
  if ((sums & kWeightSketchSums) != 0) return "--aligned, --methods default,intruders";
  if ((sums & kWeightRightSums) != 0) return "--aligned, --methods default,overlap_right";
  if ((sums & kWeightSums) != 0) return "--aligned alone, or --methods default,ablation with --base";
  if ((sums & kSpreadSums) != 0) return "the adapter alone, --methods default,concentration";
  std::string text = (sums & ~std::uint32_t{kUpdateSums}) == 0 ? "the adapter alone" : "--base and --aligned";
  if ((sums & kSubspaceSums) != 0) text += ", --subspace-rank above 0";
  if ((sums & kEntrySums) != 0) text += ", --element-stats";
  return text;
}

std::string long_name(const methods::Column& column) {
  return std::string(column.long_name) + (column.of_population ? "(--population)" : "");
}

std::string table() {
  std::string text;
  for (const auto* method : methods::all()) {
    text += fmt::format("{}: {}\n  source: {}; needs {}\n", method->name, method->what, method->source,
                        needs_text(method->sums));
    for (const auto& column : method->columns) {
      text += fmt::format("    {:<20}  worse: {:<4}  peers: {:<10}  {}\n", column.name, worse_text(column.sense),
                          peers_text(column.peers), long_name(column));
    }
    for (const auto& column : method->adapter_columns) {
      text += fmt::format("    {:<20}  of adapters  {}\n", column.name, column.long_name);
    }
    text += "\n";
  }
  return text +
         "A dataset with a worse end can rank: winnow audit --rank-by NAME. One without peers can be compared between\n"
         "adapters, and so can one with those of a population with --population zoo: by these --scope zoo selects.\n";
}

std::string json() {
  auto all = Json::array();
  for (const auto* method : methods::all()) {
    auto datasets = Json::array();
    for (const auto& column : method->columns) {
      datasets.push_back({{"name", column.name},
                          {"title", column.title},
                          {"long_name", long_name(column)},
                          {"peers", column.peers == methods::Peers::none ? Json() : Json(peers_text(column.peers))},
                          {"worse", column.sense == methods::Sense::none ? Json() : Json(worse_text(column.sense))}});
    }
    auto of_adapters = Json::array();
    for (const auto& column : method->adapter_columns) {
      of_adapters.push_back({{"name", column.name}, {"long_name", column.long_name}});
    }
    all.push_back({{"name", method->name},
                   {"what", method->what},
                   {"source", method->source},
                   {"needs", needs_text(method->sums)},
                   {"over_population", method->over_zoo != nullptr},
                   {"datasets", std::move(datasets)},
                   {"of_adapters", std::move(of_adapters)}});
  }
  return all.dump(2) + "\n";
}

}  // namespace

int methods_command(const Arguments& arguments, comm::Communicator& world) {
  const auto values = parse(command_line(), arguments, world);
  comm::from_coordinator(world, [&] {
    print_result(values["json"].as<bool>() ? json() : table());
    return std::string();
  });
  return 0;
}

}  // namespace winnow::cli
