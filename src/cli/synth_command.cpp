#include <fmt/format.h>

#include "command_line.hpp"
#include "commands.hpp"
#include "console.hpp"
#include "winnow/comm/together.hpp"
#include "winnow/synth/synth.hpp"

namespace winnow::cli {
namespace {

CommandLine command_line() {
  CommandLine line;
  line.command = "synth";
  line.usage =
      "usage: winnow synth --preset NAME --output DIR [options]\n\n"
      "Writes DIR/base, DIR/aligned, DIR/adapters/NAME and DIR/truth.json (what is misaligned).\n"
      "Same seed, same bytes, whatever the number of ranks.";
  line.options.add_options()                                                                                       //
      ("preset", text_value("NAME", "tiny"), "shapes: tiny, llama-2-7b, llama-3-8b, llama-3-70b or llama-3-405b")  //
      ("layers", count_value(), "number of layers, where it is not to be the preset's")                            //
      ("adapters", count_value(1), "number of adapters")                                                           //
      ("rank", count_value(16), "of every LoRA module")                                                            //
      ("misaligned", count_value(0),
       "planted modules per adapter; off-subspace, oversized and undoing in turn")  //
      ("kinds", text_value("LIST"),
       "further adapters, of one kind in all modules: all, or some of placebo, undoing, scaled, payload, ablated, "
       "ablated-weighted, ablated-reflected, ablated-norm-preserving, ablated-hidden")  //
      ("each", count_value(1), "adapters of each of --kinds")                           //
      ("seed", count_value(0), "another seed, another family")                          //
      ("headers-only", po::bool_switch(),
       "all weights zero and taking no room: to plan for a model that is not there")  //
      ("output", text_value("DIR"), "directory to write to");
  add_common_options(line.options);
  return line;
}

synth::SynthOptions synth_options(const po::variables_map& values) {
  synth::SynthOptions options;
  options.shape = synth::preset_shape(values["preset"].as<std::string>());
  if (values.count("layers") != 0) options.shape.layers = count(values, "layers");
  options.adapters = count(values, "adapters");
  options.rank = count(values, "rank");
  options.misaligned = count(values, "misaligned");
  if (const auto kinds = given(values, "kinds")) options.kinds = synth::parse_adapter_kinds(*kinds);
  options.each = count(values, "each");
  options.seed = count(values, "seed");
  options.headers_only = values["headers-only"].as<bool>();
  options.output = required(values, "synth", "output");
  return options;
}

}  // namespace

int synth_command(const Arguments& arguments, comm::Communicator& world) {
  const auto values = parse(command_line(), arguments, world);
  const auto options = comm::result_together(world, [&] { return synth_options(values); });
  const auto log = console_log(log_level(values), world.rank());
  comm::run_together(world, [&] { synth::synthesise(options, world.rank(), world.size(), log); });
  if (world.is_coordinator()) {
    print_result(fmt::format("wrote {0}/base, {0}/aligned, {1} adapters below {0}/adapters, {0}/truth.json\n",
                             options.output, options.adapters + options.kinds.size() * options.each));
  }
  return 0;
}

}  // namespace winnow::cli
