#include "audit_options.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <charconv>

#include "repair_options.hpp"
#include "winnow/base/byte_size.hpp"
#include "winnow/base/error.hpp"

namespace winnow::cli {
namespace {

using base::Error;
using base::ErrorKind;

constexpr std::uint64_t kMaxThreads = 4096;  // more than any node has, and few enough for every thread library

/// A safe probe compares, and is to stay in; directions are deflected from, not subtracted.
std::vector<probes::Source> to_take_out(const std::vector<probes::Source>& all, repair::Kind kind) {
  std::vector<probes::Source> harmful;
  for (const auto& probe : all) {
    const bool fits = probe.form == probes::Form::adapter || kind == repair::Kind::deflect;
    if (fits && probe.effect == probes::Effect::harmful) harmful.push_back(probe);
  }
  if (harmful.empty() && kind == repair::Kind::subtract) {
    throw Error(ErrorKind::usage, "this repair needs a probe that is an adapter")
        .expected("--probe harmful=DIR")
        .advice("jobs/probe.sh --rank 4 writes a direction as one");
  }
  return harmful;
}

int parse_team(const std::string& text) {
  if (text == "auto") return 0;
  int members = 0;
  const auto* const end = text.data() + text.size();
  const auto [read, fault] = std::from_chars(text.data(), end, members);
  if (fault != std::errc{} || read != end || members < 1) {
    throw Error(ErrorKind::usage, fmt::format("unknown --team {}", text)).expected("auto or a number of ranks from 1");
  }
  return members;
}

/// An audit judges and reports; SPLoRA's rule is for who asks for SPLoRA's repair, and compares no probes.
std::string default_selection(const po::variables_map& values, const run::Reading& reading) {
  const auto& repair = values["repair"].as<std::string>();
  const bool prunes = repair == "drop" || repair == "zero";
  return prunes && reading.probes.empty() && reading.has_pair() ? "keep-top:10" : "none";
}

void set_repair(const po::variables_map& values, const run::Reading& reading, const select::Policy& policy,
                run::Writing& writing) {
  const auto& how = values["repair"].as<std::string>();
  const auto* const repair = repair::find_repair(how);
  if (repair == nullptr && how != "none") {
    throw Error(ErrorKind::usage, fmt::format("unknown --repair {}", how)).expected("none, " + repair::all_names());
  }
  refuse_untaken(values, repair, repair::own_options());
  if (repair == nullptr) return;
  if (repair->kind == repair::Kind::drop || repair->kind == repair::Kind::zero) {
    writing.repair = repair->kind == repair::Kind::drop ? adapter::Repair::drop : adapter::Repair::zero;
    if (policy.kind != select::Policy::Kind::none || values.count("select") != 0) return;
    throw Error(ErrorKind::usage, fmt::format("--repair {} needs to know what to prune", how))
        .advice(fmt::format("add --select {}", select::kPolicyForms));
  }
  const bool by_probes = (repair->needs & repair::kProbes) != 0;
  writing.module_repair = module_repair(
      values, *repair, by_probes ? to_take_out(reading.probes, repair->kind) : std::vector<probes::Source>());
}

/// Without verdicts a policy that counts selects its number in a sound family as well: 4 would say nothing.
void refuse_empty_findings(const po::variables_map& values, const select::Policy& policy, bool has_bank) {
  if (!values["fail-on-findings"].as<bool>()) return;
  if (policy.kind == select::Policy::Kind::none && !has_bank) {
    throw Error(ErrorKind::usage, "--fail-on-findings says nothing: there are no verdicts, and nothing is selected")
        .expected(fmt::format("verdicts by --bank, or --select {}", select::kFormsThatFind));
  }
  if (policy.prunes_by_count() && !has_bank) {
    throw Error(
        ErrorKind::usage,
        fmt::format("--fail-on-findings with --select {} says nothing: that selects by count, whatever the scores",
                    policy.text()))
        .expected(fmt::format("--select {}, or verdicts by --bank", select::kFormsThatFind));
  }
  if (values["slice"].as<bool>()) {
    throw Error(ErrorKind::usage, "--fail-on-findings with --slice says nothing: merge judges anew")
        .advice("leave out --fail-on-findings");
  }
}

}  // namespace

void add_audit_options(po::options_description& options) {
  po::options_description input("Input", kHelpColumns);
  input.add_options()                                                        //
      ("base", text_value("DIR"), "checkpoint directory of the base model")  //
      ("aligned", text_value("DIR"),
       "checkpoint directory of its aligned version; alone it shows directional ablation (abliteration)")  //
      ("direction", po::value<std::vector<std::string>>()->value_name("EFFECT=DIR"),
       "compare with a direction of the weights: harmful=DIR or safe=DIR, DIR shaped like a checkpoint; may be "
       "repeated, and needs no --base and --aligned")  //
      ("probe", po::value<std::vector<std::string>>()->value_name("EFFECT=DIR"),
       "the same with a PEFT adapter of known effect")  //
      ("bank", text_value("REPORT.h5"),
       "report of adapters known to be harmless, compared with the same probes or checkpoints: how unusual is each "
       "beside them, and with that a verdict: pass, review, block or incomplete")                         //
      ("fdr", text_value("RATE"), "share of harmless adapters accepted among the blocked; default 0.05")  //
      ("adapter", po::value<std::vector<std::string>>()->value_name("DIR"),
       "PEFT adapter directory; may be repeated")  //
      ("zoo", text_value("PATH"),
       "many adapters: a directory searched for adapter_config.json, or a text file with one directory a line, "
       "relative to where that file is")                                                                      //
      ("strict", po::bool_switch(), "an adapter that cannot be scored, or not whole, ends the run (exit 3)")  //
      ("dora", po::bool_switch(), "without --aligned: score the low-rank part of DoRA adapters")              //
      ("scaling", text_value("RULE", "peft"), "peft: alpha/r by PEFT's rules; none: 1, as the published scripts do");
  const auto select_help =
      fmt::format("{}. Without it: none, or keep-top:10 (SPLoRA's) for --repair drop or zero by two checkpoints",
                  select::kPolicyForms);
  const auto methods_help = fmt::format(
      "what to measure, separated by commas: {}, or methods as winnow methods lists them. default leaves out what "
      "needs a further sweep over the aligned weights",
      fmt::join(methods::set_names(), ", "));
  po::options_description method("Method", kHelpColumns);
  method.add_options()                                       //
      ("methods", text_value("LIST"), methods_help.c_str())  //
      ("rank-by", text_value("METRIC"),
       "metric that selects and orders, as winnow methods lists them; probe_dot with probes, ablation with --aligned "
       "alone, else ediem")                                                                  //
      ("population", text_value("PEERS", "role"), "peers of a layer: role, adapter or zoo")  //
      ("select", text_value("POLICY"), select_help.c_str())                                  //
      ("scope", text_value("SCOPE", "adapter"),
       "what --select is among: adapter, the modules of each by itself, or zoo, those of all adapters together, by a "
       "metric that can be compared between adapters (winnow methods)")                                              //
      ("subspace-rank", count_value(6), "directions of the safety subspace (3N + 6 columns); 0 switches it off")     //
      ("seed", count_value(0), "of the random sketches")                                                             //
      ("element-stats", po::bool_switch(), "statistics of single entries: needed for ediem_published_iqr and diem")  //
      ("heads", po::bool_switch(),
       "tell which attention heads do most along the probes as well; config.json of the checkpoint, of a direction or "
       "of a probe's base model says how many there are");
  po::options_description resources("Resources", kHelpColumns);
  resources.add_options()                                                                                          //
      ("device", text_value("DEVICE", "auto"), "auto (a GPU where there is one), cpu or cuda")                     //
      ("backend", text_value("BACKEND", "auto"), "auto, cpu, torch, or reference (slow float64 loops)")            //
      ("precision", text_value("NAME", "float32"), "of products: float32, or tf32 (GPUs; its error is reported)")  //
      ("device-memory", text_value("SIZE", "auto"), "GPU memory per rank; auto: 80 % of what is free")             //
      ("threads", count_value(0), "compute threads; 0: this rank's share of the node's cores")                     //
      ("team", text_value("N", "auto"),
       "ranks that share a module by row slabs; auto: 1, more where ranks outnumber modules")  //
      ("memory-budget", text_value("SIZE", "4GiB"), "host memory per rank, libraries aside")   //
      ("io", text_value("MODE", "auto"),
       "auto: what is in the page cache is mapped, the rest read past it; or direct, buffered, mmap");
  options.add(input).add(method).add(resources);
}

void add_output_options(po::options_description& options) {
  options.add_options()                                                                               //
      ("report", text_value("FILE.h5"), "HDF5 report to write")                                       //
      ("repair", text_value("HOW", "none"), repairs_help().c_str())                                   //
      ("repaired-dir", text_value("DIR"), "where to; one directory an adapter")                       //
      ("journal", text_value("DIR"), "note finished modules there, for --resume")                     //
      ("resume", po::bool_switch(), "go on with what is noted in --journal, on any number of ranks")  //
      ("cache", text_value("DIR"),
       "note scores there by content, and compute none again that an earlier run has noted")  //
      ("fail-on-findings", po::bool_switch(),
       "exit with 4 if a verdict is block or incomplete, or a module is selected; needs --bank, or --select "
       "threshold:X, outliers[:C] or gap[:C]")  //
      ("slice", po::bool_switch(),
       "these adapters are a part of a zoo, for merge: that none can be scored is no failure here")  //
      ("progress", text_value("STYLE", "auto"), "auto, bar, lines or none");
  add_repair_options(options);
}

std::vector<probes::Source> probe_sources(const po::variables_map& values) {
  std::vector<probes::Source> sources;
  for (const auto& [option, form] :
       {std::pair{"direction", probes::Form::direction}, {"probe", probes::Form::adapter}}) {
    if (values.count(option) == 0) continue;
    for (const auto& text : values[option].as<std::vector<std::string>>()) {
      sources.push_back(probes::parse_source(text, form, fmt::format("--{}", option)));
    }
  }
  return sources;
}

double false_discovery_rate(const po::variables_map& values, bool has_bank) {
  const auto text = given(values, "fdr");
  if (!text) return verdict::kDefaultRate;
  if (!has_bank) {
    throw Error(ErrorKind::usage, "--fdr says nothing without harmless adapters to compare with")
        .advice("add --bank REPORT.h5");
  }
  double value = 0;
  const auto* const end = text->data() + text->size();
  const auto [read, fault] = std::from_chars(text->data(), end, value);
  if (fault == std::errc() && read == end) return value;  // its range is the pipeline's to judge
  throw Error(ErrorKind::usage, fmt::format("--fdr {} is not a number", *text))
      .expected("a number from 1e-6 to below 1, such as 0.05");
}

bool has_unit_scale(const po::variables_map& values) {
  const auto& scaling = values["scaling"].as<std::string>();
  if (scaling != "peft" && scaling != "none") {
    throw Error(ErrorKind::usage, fmt::format("unknown --scaling {}", scaling)).expected("peft or none");
  }
  return scaling == "none";
}

int thread_count(const po::variables_map& values) {
  const auto threads = count(values, "threads");
  if (threads > kMaxThreads) {
    throw Error(ErrorKind::usage, fmt::format("--threads {} is too many", threads))
        .expected(fmt::format("0 to {}", kMaxThreads));
  }
  return static_cast<int>(threads);
}

run::AuditOptions audit_options(const po::variables_map& values, const std::string& command) {
  run::AuditOptions options;
  options.read.probes = probe_sources(values);
  options.judge.bank = given(values, "bank").value_or("");
  options.judge.false_discovery_rate = false_discovery_rate(values, !options.judge.bank.empty());
  options.read.base = given(values, "base").value_or("");
  options.read.aligned = given(values, "aligned").value_or("");
  if (options.read.probes.empty() && !options.read.has_pair() && !options.read.has_checkpoint()) {
    throw Error(ErrorKind::usage, "nothing to compare the adapters with")
        .expected("--direction harmful=DIR, or --probe harmful=DIR, or --aligned DIR, with --base DIR or alone")
        .advice(fmt::format("see winnow {} --help", command));
  }
  if (options.read.has_pair()) options.read.aligned = required(values, command, "aligned");
  if (values.count("adapter") != 0) options.read.adapters = values["adapter"].as<std::vector<std::string>>();
  if (values.count("zoo") != 0) options.read.zoo = values["zoo"].as<std::string>();
  options.read.strict = values["strict"].as<bool>();
  options.write.slice = values["slice"].as<bool>();
  options.read.adapter.allow_dora = values["dora"].as<bool>();
  options.read.adapter.unit_scale = has_unit_scale(values);
  if (const auto list = given(values, "methods")) options.measure.sums = methods::parse_sums(*list);
  options.judge.rank_by = given(values, "rank-by").value_or("");
  const auto select = given(values, "select");
  options.judge.policy = select::parse_policy(select ? *select : default_selection(values, options.read));
  options.judge.scope = select::parse_scope(values["scope"].as<std::string>());
  if (options.judge.scope == select::Scope::zoo && !select) {
    // SPLoRA's ten are of each adapter: of a whole zoo they would leave nothing.
    throw Error(ErrorKind::usage, "--scope zoo needs to know what to select")
        .advice("add --select prune-top:K, for the K worst of all adapters");
  }
  refuse_empty_findings(values, options.judge.policy, !options.judge.bank.empty());
  options.judge.tells_of_small_bank = values["fail-on-findings"].as<bool>() && options.judge.policy.prunes_by_count();
  options.judge.population = metrics::parse_population(values["population"].as<std::string>());
  options.measure.subspace_rank = count(values, "subspace-rank");
  options.measure.seed = count(values, "seed");
  options.measure.element_statistics = values["element-stats"].as<bool>() ||
                                       (options.read.has_pair() && (options.measure.sums & methods::kEntrySums) != 0);
  options.measure.heads = values["heads"].as<bool>();
  options.means.device = compute::parse_device(values["device"].as<std::string>());
  options.means.backend = compute::parse_backend(values["backend"].as<std::string>());
  options.means.precision = compute::parse_precision(values["precision"].as<std::string>());
  const auto& device_memory = values["device-memory"].as<std::string>();
  if (device_memory != "auto") options.means.device_memory = base::parse_byte_size(device_memory, "--device-memory");
  options.means.threads = thread_count(values);
  const auto io = slab::parse_io_mode(values["io"].as<std::string>());
  options.seams.make_reader = [io] { return slab::make_reader(io); };
  options.seams.make_copying_reader = [io] { return slab::make_reader(io, false); };
  if (options.means.device == compute::Device::cuda) options.seams.make_copying_reader();  // refuses --io mmap
  options.means.team = parse_team(values["team"].as<std::string>());
  options.means.memory_budget = base::parse_byte_size(values["memory-budget"].as<std::string>(), "--memory-budget");
  set_repair(values, options.read, options.judge.policy, options.write);
  options.write.repaired_dir = given(values, "repaired-dir").value_or("");
  options.write.report = given(values, "report").value_or("");
  options.journal.directory = given(values, "journal").value_or("");
  options.journal.resume = values["resume"].as<bool>();
  options.journal.cache = given(values, "cache").value_or("");
  return options;
}

}  // namespace winnow::cli
