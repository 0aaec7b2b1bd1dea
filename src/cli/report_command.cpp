#include <fmt/format.h>

#include <array>
#include <filesystem>
#include <functional>
#include <optional>
#include <string_view>

#include "command_line.hpp"
#include "commands.hpp"
#include "console.hpp"
#include "winnow/base/error.hpp"
#include "winnow/base/file.hpp"
#include "winnow/base/same_file.hpp"
#include "winnow/comm/together.hpp"
#include "winnow/report/hdf5_report.hpp"
#include "winnow/report/in_toto.hpp"
#include "winnow/report/render.hpp"
#include "winnow/synth/evaluation.hpp"
#include "winnow/synth/planting.hpp"
#include "winnow/synth/truth.hpp"

namespace winnow::cli {
namespace {

namespace fs = std::filesystem;
using report::ReportFile;
using report::Sink;

CommandLine command_line() {
  CommandLine line;
  line.command = "report";
  line.usage =
      "usage: winnow report FILE.h5 [--html OUT] [--csv DIR] [--json OUT] [--sarif OUT]\n"
      "                     [--bom OUT] [--in-toto OUT] [--truth truth.json]\n\n"
      "Prints a table, or writes the report in other forms.";
  line.options.add_options()                                                       //
      ("file", text_value("FILE.h5"), "the report; may be given without --file")   //
      ("html", text_value("FILE"), "write one self-contained page; - for stdout")  //
      ("csv", text_value("DIR"),
       "write modules.csv, adapters.csv, copies.csv, metrics.csv and drift.csv to this directory")  //
      ("json", text_value("FILE"), "write everything as JSON; - for stdout")                        //
      ("sarif", text_value("FILE"),
       "write what was found of adapters as SARIF 2.1.0; - for stdout")                                            //
      ("bom", text_value("FILE"), "write a CycloneDX 1.6 bill of materials of models and adapters; - for stdout")  //
      ("in-toto", text_value("FILE"),
       "write an in-toto statement of the report, its options and the digests of its inputs, to be signed; - for "
       "stdout")                                                                                   //
      ("worst", count_value(10), "modules listed per adapter")                                     //
      ("adapters", count_value(50), "adapters listed, by verdict, then worst first; 0 lists all")  //
      ("width", count_value(100), "columns of the table")                                          //
      ("truth", text_value("FILE"),
       "print how many planted modules and kinds of adapters each metric finds (truth.json of synth)");
  add_common_options(line.options);
  line.positional = {"file"};
  return line;
}

/// Writes to stdout for "-", else to a file that appears whole or not at all. In pieces of some size: a line of text is
/// too little for a call of the system.
void write_output(const std::string& path, const std::function<void(const Sink&)>& write) {
  constexpr std::size_t kPiece = 1U << 20;
  std::optional<base::AtomicFile> file;
  if (path != "-") file.emplace(path);
  std::string held;
  const auto put = [&] {
    file ? file->append(held) : print_result(held);
    held.clear();
  };
  write([&](std::string_view piece) {
    held += piece;
    if (held.size() >= kPiece) put();
  });
  put();
  if (file) file->commit();
}

fs::path make_directory(const char* option, const std::string& path) {
  std::error_code error;
  fs::create_directories(path, error);
  if (error) {
    throw base::Error(base::ErrorKind::runtime, fmt::format("cannot make the directory of --{}", option))
        .file(path)
        .os_error(error.value());
  }
  return path;
}

/// What goes into one file, by the option that asks for it.
struct Form {
  const char* option;
  void (*write)(const ReportFile&, const Sink&);
};
constexpr std::array<Form, 5> kForms{{
    {"html", [](const ReportFile& file, const Sink& sink) { sink(report::render_html(file.report)); }},
    {"json", [](const ReportFile& file, const Sink& sink) { report::write_json(file.report, sink); }},
    {"sarif", [](const ReportFile& file, const Sink& sink) { sink(report::render_sarif(file.report)); }},
    {"bom", [](const ReportFile& file, const Sink& sink) { sink(report::render_bom(file.report)); }},
    {"in-toto", [](const ReportFile& file, const Sink& sink) { sink(report::render_in_toto(file)); }},
}};

/// Before anything is written.
void check_outputs(const po::variables_map& values) {
  std::vector<std::string> others{values["file"].as<std::string>()};
  if (const auto truth = given(values, "truth")) others.push_back(*truth);
  const auto check = [&](const std::string& output, const std::string& option) {
    for (const auto& other : others) base::require_not_an_input(output, other, option);
  };
  if (const auto csv = given(values, "csv")) {
    for (const auto name : report::kCsvFiles) check((fs::path(*csv) / name).string(), "--csv");
  }
  for (const auto& form : kForms) {
    const auto output = given(values, form.option);
    if (!output || *output == "-") continue;
    check(*output, fmt::format("--{}", form.option));
    others.push_back(*output);  // nor what the forms before it will be
  }
}

/// Everything but the table is asked for by name; the table is what is left.
void show(const po::variables_map& values) {
  check_outputs(values);
  const auto file = report::read_report_file(values["file"].as<std::string>());
  const auto& report = file.report;
  const auto csv = given(values, "csv"), truth = given(values, "truth");
  bool is_shown = csv || truth;
  for (const auto& form : kForms) {
    const auto output = given(values, form.option);
    if (output) write_output(*output, [&](const Sink& sink) { form.write(file, sink); });
    is_shown = is_shown || output;
  }
  if (csv) {
    const auto directory = make_directory("csv", *csv);
    for (const auto name : report::kCsvFiles) {
      write_output((directory / name).string(), [&](const Sink& sink) { report::write_csv(report, name, sink); });
    }
  }
  if (truth) {
    print_result(synth::render_evaluation(report, synth::read_truth(*truth), synth::read_adapter_kinds(*truth)));
  }
  if (!is_shown) {
    print_result(
        report::render_table(report, {count(values, "worst"), count(values, "width"), count(values, "adapters")}));
  }
}

}  // namespace

int report_command(const Arguments& arguments, comm::Communicator& world) {
  const auto values = parse(command_line(), arguments, world);
  comm::from_coordinator(world, [&] {
    if (values.count("file") == 0) {
      throw base::Error(base::ErrorKind::usage, "no report given")
          .expected("winnow report FILE.h5")
          .advice("see winnow report --help");
    }
    show(values);
    return std::string();
  });
  return 0;
}

}  // namespace winnow::cli
