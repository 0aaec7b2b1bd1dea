#include <fmt/format.h>

#include "command_line.hpp"
#include "commands.hpp"
#include "console.hpp"
#include "findings.hpp"
#include "run_facts.hpp"
#include "winnow/base/error.hpp"
#include "winnow/comm/together.hpp"
#include "winnow/pipeline/merge.hpp"
#include "winnow/report/render.hpp"

namespace winnow::cli {
namespace {

CommandLine command_line() {
  CommandLine line;
  line.command = "merge";
  line.usage =
      "usage: winnow merge --report FILE.h5 PART.h5 ...\n\n"
      "Makes one report of those of several audits: same checkpoints and options, different adapters.\n"
      "Metrics that need peers, the selection and the verdicts are computed anew over all adapters.";
  line.options.add_options()                                     //
      ("report", text_value("FILE.h5"), "HDF5 report to write")  //
      ("part", po::value<std::vector<std::string>>()->value_name("PART.h5"),
       "a report to merge; may be repeated, and given without --part")  //
      ("fail-on-findings", po::bool_switch(),
       "exit with 4 if a verdict is block or incomplete, or a module is selected by threshold, outliers or gap");
  add_common_options(line.options);
  line.rest = "part";
  return line;
}

}  // namespace

int merge_command(const Arguments& arguments, comm::Communicator& world) {
  const auto values = parse(command_line(), arguments, world);
  int findings = 0;
  const bool may_fail = values["fail-on-findings"].as<bool>();
  comm::from_coordinator(world, [&] {
    const auto path = required(values, "merge", "report");
    if (values.count("part") == 0) {
      throw base::Error(base::ErrorKind::usage, "no reports to merge")
          .expected("winnow merge --report FILE.h5 PART.h5 ...")
          .advice("see winnow merge --help");
    }
    const auto merged =
        pipeline::merge_report_files(values["part"].as<std::vector<std::string>>(), path, run_facts("merge", arguments),
                                     console_log(log_level(values), world.rank()));
    findings = has_findings(merged) ? 1 : 0;
    if (may_fail) {
      const auto log = console_log(log_level(values), world.rank());
      require_findings_possible(merged);
      warn_of_small_bank(merged, log);
      warn_of_reviews(merged, log);
    }
    print_result(report::render_table(merged));
    print_result(fmt::format("report: {}\n", path));
    return std::string();
  });
  return may_fail && world.maximum(findings) > 0 ? 4 : 0;
}

}  // namespace winnow::cli
