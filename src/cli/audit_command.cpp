#include <fmt/format.h>

#include "audit_options.hpp"
#include "commands.hpp"
#include "console.hpp"
#include "findings.hpp"
#include "run_facts.hpp"
#include "stop_signals.hpp"
#include "winnow/base/text.hpp"
#include "winnow/comm/together.hpp"
#include "winnow/pipeline/audit.hpp"
#include "winnow/report/render.hpp"

namespace winnow::cli {
namespace {

CommandLine command_line() {
  CommandLine line;
  line.command = "audit";
  line.usage =
      "usage: winnow audit --direction harmful=DIR --zoo DIR --report FILE.h5 [options]\n"
      "       winnow audit --aligned DIR --zoo DIR --report FILE.h5 [options]\n"
      "       winnow audit --base DIR --aligned DIR --adapter DIR ... --report FILE.h5 [options]\n\n"
      "Compares every LoRA layer of the adapters with directions or adapters of known effect, or with what\n"
      "alignment did to the weights; selects globally, writes a report and, with --repair, pruned adapters.";
  add_audit_options(line.options);
  po::options_description output("Output", kHelpColumns);
  add_output_options(output);
  add_common_options(output);
  line.options.add(output);
  return line;
}

}  // namespace

int audit_command(const Arguments& arguments, comm::Communicator& world) {
  const auto values = parse(command_line(), arguments, world);
  auto style = ProgressMeter::Style::none;
  auto options = comm::result_together(world, [&] {
    auto parsed = audit_options(values, "audit");
    required(values, "audit", "report");
    parsed.write.facts = run_facts("audit", arguments);
    parsed.write.facts["device"] = std::string("cpu");
    style = ProgressMeter::parse_style(values["progress"].as<std::string>());
    return parsed;
  });
  const auto log = console_log(log_level(values), world.rank());
  ProgressMeter meter(style, world.size());
  if (world.is_coordinator()) options.progress = [&](const run::Progress& progress) { meter.update(progress); };

  if (!options.journal.directory.empty()) options.stop.requested = note_stop_signals();

  const auto result = pipeline::audit(options, world, log);
  meter.finish();
  int findings = 0;
  comm::from_coordinator(world, [&] {
    print_result(report::render_table(result.report));
    for (const auto& adapter : result.repaired) {
      if (adapter.written) {
        print_result(fmt::format("repaired: {} ({} modules {}, {} {})\n", base::printable(adapter.path), adapter.kept,
                                 options.write.module_repair ? "as they were" : "kept", adapter.pruned,
                                 options.write.module_repair ? "repaired" : "pruned"));
      } else {
        print_result(fmt::format("repaired: {}: {}, no adapter written\n", base::printable(adapter.name),
                                 adapter.nothing_left ? "every module is pruned" : "it cannot be"));
      }
    }
    print_result(fmt::format("report: {}\n", options.write.report));
    findings = has_findings(result.report) ? 1 : 0;
    if (values["fail-on-findings"].as<bool>()) warn_of_reviews(result.report, log);
    return std::string();
  });
  if (!values["fail-on-findings"].as<bool>()) return 0;
  return world.maximum(findings) > 0 ? 4 : 0;
}

}  // namespace winnow::cli
