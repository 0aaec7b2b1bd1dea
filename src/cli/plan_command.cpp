#include <fmt/format.h>

#include "audit_options.hpp"
#include "commands.hpp"
#include "console.hpp"
#include "winnow/base/byte_size.hpp"
#include "winnow/base/error.hpp"
#include "winnow/base/file.hpp"
#include "winnow/base/same_file.hpp"
#include "winnow/comm/together.hpp"
#include "winnow/forecast/calibrate.hpp"
#include "winnow/forecast/plan.hpp"
#include "winnow/forecast/prediction.hpp"
#include "winnow/report/hdf5_report.hpp"

namespace winnow::cli {
namespace {

CommandLine command_line() {
  CommandLine line;
  line.command = "plan";
  line.usage =
      "usage: winnow plan --base DIR --aligned DIR --adapter DIR ... [--ranks N] [options]\n\n"
      "A dry run of audit, with its options: name mapping, shards, bytes, flops, memory and the assignment\n"
      "to ranks, and how long it would take. Reads headers only and writes nothing, but for --calibrate.";
  add_audit_options(line.options);
  po::options_description output("Output of the audit: checked, not written", kHelpColumns);
  add_output_options(output);
  po::options_description plan("Plan", kHelpColumns);
  plan.add_options()                                                                       //
      ("ranks", count_value(), "plan for this many ranks; by default those plan runs on")  //
      ("modules", po::bool_switch(), "list every module")                                  //
      ("every-rank", po::bool_switch(), "list every rank, of however many");
  add_common_options(plan);
  po::options_description prediction("Prediction of seconds", kHelpColumns);
  prediction.add_options()                                                                              //
      ("ranks-per-node", count_value(), "ranks that share a node; by default as many as it has cores")  //
      ("storage-bandwidth", text_value("SIZE/s"),
       "what storage gives one node, such as 7GB/s; by default as measured")         //
      ("warm", po::bool_switch(), "for weights that are in the page cache already")  //
      ("calibrate", po::bool_switch(),
       "measure the constants of this machine first, some ten seconds, and keep them in --constants")  //
      ("constants", text_value("FILE"), "of the model; by default ~/.cache/winnow/constants.json")     //
      ("check", po::value<std::vector<std::string>>()->multitoken()->value_name("REPORT.h5..."),
       "compare the model with what audits of the same inputs and options have recorded")  //
      ("json", text_value("FILE"), "write the prediction as JSON; - for stdout, instead of the text");
  line.options.add(output).add(prediction).add(plan);
  return line;
}

/// Without --ranks-per-node that is 0 here: the constants will tell.
forecast::Site site(const po::variables_map& values, int threads) {
  forecast::Site site;
  site.threads = threads;
  site.warm = values["warm"].as<bool>();
  site.ranks_per_node = 0;
  if (values.count("ranks-per-node") != 0) {
    const auto ranks = count(values, "ranks-per-node");
    if (ranks < 1 || ranks > forecast::kMostRanks) {
      throw base::Error(base::ErrorKind::usage, fmt::format("--ranks-per-node {} is impossible", ranks))
          .expected(fmt::format("1 to {}", forecast::kMostRanks));
    }
    site.ranks_per_node = static_cast<int>(ranks);
  }
  if (const auto given_bandwidth = given(values, "storage-bandwidth")) {
    std::string_view text = *given_bandwidth;
    if (text.ends_with("/s")) text.remove_suffix(2);
    site.node_bandwidth = static_cast<double>(base::parse_byte_size(text, "--storage-bandwidth"));
    if (site.node_bandwidth == 0) {
      throw base::Error(base::ErrorKind::usage, "--storage-bandwidth is 0").expected("a rate such as 7GB/s");
    }
  }
  return site;
}

/// Measures them first if that is asked for.
void calibrate(const po::variables_map& values, const forecast::AuditPlan& plan, const run::AuditOptions& options,
               double start_up_seconds, comm::Communicator& world) {
  const auto file = comm::from_coordinator(world, [&] {
    auto path = given(values, "constants").value_or(forecast::default_constants_path());
    if (!path.empty()) return path;
    throw base::Error(base::ErrorKind::usage, "no place for constants: HOME is not set").advice("add --constants FILE");
  });
  const auto constants = forecast::calibrate(plan.inputs, run::sums_of(options.read, options.measure), options.means,
                                             options.seams, start_up_seconds, world);
  comm::from_coordinator(world, [&] {
    forecast::write_constants(constants, file);
    return std::string();
  });
}

/// What goes to standard output.
std::string results(const po::variables_map& values, const forecast::AuditPlan& plan, const run::Means& means,
                    const run::Measuring& measuring, forecast::Site where) {
  const auto known = forecast::known_constants(given(values, "constants").value_or(""));
  if (where.ranks_per_node == 0) where.ranks_per_node = known.constants.cores;
  if (const auto json = given(values, "json")) {
    auto text = forecast::prediction_json(plan, known, where);
    if (*json == "-") return text;
    if (values.count("check") != 0) {
      for (const auto& path : values["check"].as<std::vector<std::string>>()) {
        base::require_not_an_input(*json, path, "--json");
      }
    }
    base::atomic_write_file(*json, text);
  }
  auto text = forecast::render_plan(plan, {values["modules"].as<bool>(), values["every-rank"].as<bool>()}) +
              forecast::render_prediction(plan, known, where);
  if (values.count("check") == 0) return text;
  for (const auto& path : values["check"].as<std::vector<std::string>>()) {
    text += forecast::render_check(plan, report::read_hdf5(path), path, known, means, measuring, where);
  }
  return text;
}

struct Planned {
  run::AuditOptions options;
  int ranks = 1;
  forecast::Site where;
};

/// What is to be planned, as the command line says. Throws Error(usage).
Planned planned(const po::variables_map& values, int size) {
  Planned task;
  task.options = audit_options(values, "plan");
  if (task.options.means.device == compute::Device::cuda) {
    throw base::Error(base::ErrorKind::usage, "plan does not predict GPUs").advice("leave out --device cuda");
  }
  const auto target = compute::choose_target(task.options.means.backend, compute::Device::cpu, {});
  task.options.means.backend = target.backend;
  task.options.means.device = target.device;
  ProgressMeter::parse_style(values["progress"].as<std::string>());
  const auto ranks = values.count("ranks") != 0 ? count(values, "ranks") : static_cast<std::uint64_t>(size);
  if (ranks < 1 || ranks > forecast::kMostRanks) {
    throw base::Error(base::ErrorKind::usage, fmt::format("cannot plan for {} ranks", ranks))
        .expected(fmt::format("--ranks from 1 to {}", forecast::kMostRanks));
  }
  task.ranks = static_cast<int>(ranks);
  task.where = site(values, task.options.means.threads);
  return task;
}

}  // namespace

int plan_command(const Arguments& arguments, comm::Communicator& world) {
  const double start_up_seconds = forecast::process_age_seconds();
  const auto values = parse(command_line(), arguments, world);
  const auto task = comm::result_together(world, [&] { return planned(values, world.size()); });
  const auto plan = forecast::plan_audit(task.options, task.ranks, world, console_log(log_level(values), world.rank()));
  if (values["calibrate"].as<bool>()) calibrate(values, plan, task.options, start_up_seconds, world);
  comm::from_coordinator(world, [&] {
    print_result(results(values, plan, task.options.means, task.options.measure, task.where));
    return std::string();
  });
  return 0;
}

}  // namespace winnow::cli
