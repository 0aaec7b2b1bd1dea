#include "command_line.hpp"
#include "commands.hpp"
#include "console.hpp"
#include "winnow/base/error.hpp"
#include "winnow/comm/together.hpp"
#include "winnow/verify/verify.hpp"

namespace winnow::cli {
namespace {

CommandLine command_line() {
  CommandLine line;
  line.command = "verify";
  line.usage =
      "usage: winnow verify FILE.h5 [--zoo PATH] [--adapter DIR]... [--base DIR] [--aligned DIR]\n"
      "                     [--in-toto FILE]\n\n"
      "Reads again what a report was computed from and compares it with the digests that the report\n"
      "holds: the report's own seal, the adapters' weights and scales, the probes, and every tensor of\n"
      "the checkpoints that was scored. Ends with 0 if all that was checked is what was audited, with 4\n"
      "if something differs, which is named.";
  line.options.add_options()                                                      //
      ("file", text_value("FILE.h5"), "the report; may be given without --file")  //
      ("zoo", text_value("PATH"),
       "where the adapters are now: a directory, or a list; without it or --adapter, where the report says")  //
      ("adapter", po::value<std::vector<std::string>>()->value_name("DIR"),
       "one that should be among those of the report; without --zoo the others are left out; may be repeated")  //
      ("base", text_value("DIR"), "where the base checkpoint is now")                                           //
      ("aligned", text_value("DIR"), "where the aligned checkpoint is now")                                     //
      ("in-toto", text_value("FILE"),
       "a statement that winnow report --in-toto wrote: is it of this report, and does it say what this says?")  //
      ("names", count_value(10), "differences named in a line; 0 names all");
  add_common_options(line.options);
  line.positional = {"file"};
  return line;
}

}  // namespace

int verify_command(const Arguments& arguments, comm::Communicator& world) {
  const auto values = parse(command_line(), arguments, world);
  if (values.count("file") == 0) {
    comm::throw_alike(base::Error(base::ErrorKind::usage, "no report given")
                          .expected("winnow verify FILE.h5")
                          .advice("see winnow verify --help"));
  }
  verify::Request request{*given(values, "file"),
                          {},
                          given(values, "zoo").value_or(""),
                          given(values, "base").value_or(""),
                          given(values, "aligned").value_or("")};
  request.statement = given(values, "in-toto").value_or("");
  if (values.count("adapter") != 0) request.adapters = values["adapter"].as<std::vector<std::string>>();
  const auto result = verify::verify(request, world, console_log(log_level(values), world.rank()));
  comm::from_coordinator(world, [&] {
    print_result(verify::render(result, count(values, "names")));
    return std::string();
  });
  return world.maximum(result.differences() == 0 ? 0 : 1) > 0 ? 4 : 0;
}

}  // namespace winnow::cli
