#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <new>
#include <span>
#include <stdexcept>
#include <utility>
#include <vector>

#include "../analysis.hpp"
#include "../schema.hpp"
#include "column_reader.hpp"
#include "read_heads.hpp"
#include "source.hpp"
#include "winnow/base/error.hpp"
#include "winnow/base/file.hpp"
#include "winnow/base/sha256.hpp"
#include "winnow/methods/table.hpp"
#include "winnow/report/hdf5_report.hpp"

namespace winnow::report {
namespace {

using base::Error;
using base::ErrorKind;

void read_root(const Source& source, Report& report) {
  report.attributes = source.attributes(source.file());
  const auto node = report.attributes.extract("schema_version");
  if (node.empty() || !std::holds_alternative<std::int64_t>(node.mapped())) {
    throw source.error("HDF5 file is not a winnow report: no attribute schema_version").advice(kReportAdvice);
  }
  if (const auto version = std::get<std::int64_t>(node.mapped()); version != kSchemaVersion) {
    throw source.error("report has a schema this winnow does not know")
        .expected(fmt::format("schema_version {}, found {}", kSchemaVersion, version))
        .advice("use the winnow that wrote it, or a newer one");
  }
}

void read_modules(const Source& source, Report& report) {
  const auto group = source.group("modules");
  report.modules.resize(source.length(group, "name"));
  const ColumnReader<ModuleRow> columns(source, group, report.modules);
  columns.text("name", &ModuleRow::name);
  columns.number("layer", &ModuleRow::layer);
  columns.text("role", &ModuleRow::role);
  columns.number("out_features", &ModuleRow::out_features);
  columns.number("in_features", &ModuleRow::in_features);
  columns.number("alignment_norm", &ModuleRow::alignment_norm);
  columns.number("flags", &ModuleRow::flags);
  if (!has(source.members(group, "modules"), "base_digest")) return;
  columns.text("base_digest", &ModuleRow::base_digest);
  columns.text("aligned_digest", &ModuleRow::aligned_digest);
}

/// Of a report that has some. One that leads nowhere would hide what was said of the directory.
void read_copies(const Source& source, Report& report) {
  if (!source.has_group("copies")) return;
  const auto group = source.group("copies");
  report.copies.resize(source.length(group, "path"));
  const ColumnReader<CopyRow> columns(source, group, report.copies);
  columns.text("path", &CopyRow::path);
  columns.number("of", &CopyRow::of);
  for (const auto& copy : report.copies) {
    if (copy.of < report.adapters.size()) continue;
    throw source.error(fmt::format("{} is a copy of an adapter that is not there", copy.path))
        .expected(fmt::format("one of {} adapters, found number {}", report.adapters.size(), copy.of))
        .advice(kReportAdvice);
  }
}

void read_shards(const Source& source, Report& report) {
  if (!source.has_group("shards")) return;
  const auto group = source.group("shards");
  report.shards.resize(source.length(group, "path"));
  const ColumnReader<ShardRow> columns(source, group, report.shards);
  columns.text("checkpoint", &ShardRow::checkpoint);
  columns.text("path", &ShardRow::path);
  columns.number("bytes", &ShardRow::bytes);
  columns.number("inode", &ShardRow::inode);
  columns.number("changed", &ShardRow::changed);
}

/// Of a report that has some. Anything unknown would be taken for a verdict by whoever reads on.
void read_verdicts(const Source& source, const Handle& group, Report& report) {
  report.false_discovery_rate = source.real_attribute(group, "verdict", schema::kVerdictRate);
  if (!(report.false_discovery_rate > 0 && report.false_discovery_rate < 1)) {
    throw source.error(fmt::format("/adapters/verdict has no attribute {}", schema::kVerdictRate))
        .expected("a number between 0 and 1")
        .advice(kReportAdvice);
  }
  const Shape shape{{report.adapters.size()}};
  auto reasons = source.strings(group, "verdict_reason", shape);
  for (const auto& text : source.strings(group, "verdict", shape)) {
    const auto verdict = verdict::parse(text);
    if (!verdict) {
      throw source.error("an adapter has a verdict without meaning")
          .expected(fmt::format("pass, review, block or incomplete, found {}", text));
    }
    report.verdicts.push_back({*verdict, std::move(reasons[report.verdicts.size()])});
  }
}

void read_adapters(const Source& source, Report& report) {
  const auto group = source.group("adapters");
  report.adapters.resize(source.length(group, "name"));
  const ColumnReader<AdapterRow> columns(source, group, report.adapters);
  columns.text("name", &AdapterRow::name);
  columns.text("path", &AdapterRow::path);
  columns.text("status", &AdapterRow::status);
  columns.text("reason", &AdapterRow::reason);
  columns.number("rank", &AdapterRow::rank);
  columns.number("alpha", &AdapterRow::alpha);
  columns.number("scaling", &AdapterRow::scaling);
  columns.text("sha256", &AdapterRow::sha256);
  const auto members = source.members(group, "adapters");
  for (const auto* column : methods::adapter_columns(methods::all())) {
    const std::string name(column->name);
    if (!has(members, name)) continue;
    report.of_adapters.push_back({name, source.text_attribute(group, name, "units"),
                                  source.text_attribute(group, name, "long_name"),
                                  source.numbers<double>(group, name, {{report.adapters.size()}})});
  }
  if (has(members, "verdict")) read_verdicts(source, group, report);
  if (!has(members, "not_judged")) return;  // of an earlier version
  columns.number("modules_not_judged", &AdapterRow::modules_not_judged);
  columns.text("not_judged", &AdapterRow::not_judged);
  if (!has(members, "tensors_skipped")) return;  // likewise
  columns.number("tensors_not_judged", &AdapterRow::tensors_not_judged);
  columns.text("tensors_skipped", &AdapterRow::tensors_skipped);
  if (has(members, "digest")) columns.text("digest", &AdapterRow::digest);
  if (!has(members, "parameters_judged")) return;  // likewise
  columns.number("parameters", &AdapterRow::parameters);
  columns.number("parameters_judged", &AdapterRow::parameters_judged);
  columns.text("base_model", &AdapterRow::base_model);
}

void require_meanings(const Source& source, const std::string& name, const std::vector<std::uint8_t>& codes,
                      std::size_t meanings) {
  const auto strange = std::find_if(codes.begin(), codes.end(), [&](auto code) { return code >= meanings; });
  if (strange == codes.end()) return;
  throw source.error(fmt::format("{} holds a value without meaning", name))
      .expected(fmt::format("0 to {}, found {}", meanings - 1, *strange));
}

template <class Enum>
std::vector<Enum> read_codes(const Source& source, const Handle& group, const std::string& name, const Shape& shape,
                             Enum largest) {
  const auto values = source.numbers<std::uint8_t>(group, name, shape);
  require_meanings(source, name, values, static_cast<std::size_t>(largest) + 1);
  std::vector<Enum> out;
  out.reserve(values.size());
  for (const auto value : values) out.push_back(static_cast<Enum>(value));
  return out;
}

void read_metrics(const Source& source, Report& report, const Shape& shape) {
  const auto group = source.group("metrics");
  for (auto& name : source.members(group, "metrics")) {
    if (schema::is_axis(name)) continue;
    Metric metric;
    metric.categories = source.text_attribute(group, name, "flag_meanings");
    if (metric.categories.empty()) {
      metric.values = source.numbers<double>(group, name, shape);
    } else {
      const auto codes = source.numbers<std::uint8_t>(group, name, shape);
      require_meanings(source, name, codes, category_names(metric).size());
      metric.values.assign(codes.begin(), codes.end());
    }
    metric.units = source.text_attribute(group, name, "units");
    metric.long_name = source.text_attribute(group, name, "long_name");
    metric.name = std::move(name);
    report.metrics.push_back(std::move(metric));
  }
}

/// Of a report of earlier versions, which did not tell: where there is a value, or an action.
std::vector<std::uint8_t> presence_by_values(const Report& report) {
  std::vector<std::uint8_t> present(report.action.size());
  for (std::size_t cell = 0; cell < present.size(); ++cell) {
    present[cell] = report.action[cell] != Action::none ||
                    std::any_of(report.metrics.begin(), report.metrics.end(), [&](const Metric& metric) {
                      return metric.categories.empty() && !std::isnan(metric.values[cell]);
                    });
  }
  return present;
}

void read_selection(const Source& source, Report& report, const Shape& shape) {
  const auto group = source.group("selection");
  report.action = read_codes(source, group, "action", shape, Action::prune);
  const auto members = source.members(group, "selection");
  if (std::find(members.begin(), members.end(), "present") != members.end()) {
    report.present = source.numbers<std::uint8_t>(group, "present", shape);
    require_meanings(source, "present", report.present, 3);
  } else {
    report.present = presence_by_values(report);
  }
  const auto attributes = source.attributes(group.get());
  const auto text = [&](const char* name) -> std::string {
    const auto found = attributes.find(name);
    if (found == attributes.end() || !std::holds_alternative<std::string>(found->second)) {
      throw source.error(fmt::format("/selection has no attribute {}", name)).advice(kReportAdvice);
    }
    return std::get<std::string>(found->second);
  };
  report.policy = text("policy");
  report.rank_by = text("rank_by");
  report.population = text("population");
  if (attributes.contains("scope")) report.scope = text("scope");  // earlier versions know one alone
}

void read_probes(const Source& source, Report& report) {
  if (!source.has_group("probes")) return;
  const auto group = source.group("probes");
  report.probes.resize(source.length(group, "name"));
  const ColumnReader<ProbeRow> columns(source, group, report.probes);
  columns.text("name", &ProbeRow::name);
  columns.text("effect", &ProbeRow::effect);
  columns.text("form", &ProbeRow::form);
  columns.text("path", &ProbeRow::path);
  columns.text("digest", &ProbeRow::digest);
  for (const auto& probe : report.probes) {  // anything else would count as harmful
    if (probe.effect == "harmful" || probe.effect == "safe") continue;
    throw source.error(fmt::format("probe {} has an effect without meaning", probe.name))
        .expected(fmt::format("harmful or safe, found {}", probe.effect));
  }
  const std::size_t probes = report.probes.size(), modules = report.modules.size();
  report.probe_norms = source.numbers<double>(group, "norm", {{probes, modules}});
  report.probe_dots = source.numbers<double>(group, "dot", {{probes, report.adapters.size(), modules}});
  if (has(source.members(group, "probes"), "block")) {
    report.probe_blocks = source.numbers<double>(group, "block", {{probes, report.adapters.size(), modules}});
  }
}

void read_bank(const Source& source, Report& report) {
  if (!source.has_group("bank")) return;
  const auto group = source.group("bank");
  report.bank.resize(source.length(group, "name"));
  const ColumnReader<BankRow> columns(source, group, report.bank);
  columns.text("name", &BankRow::name);
  columns.text("digest", &BankRow::digest);
  report.bank_log_norms = source.numbers<double>(group, "log_norm", {{report.bank.size()}});
  const auto members = source.members(group, "bank");
  for (const auto name : methods::kBankNumbers) {
    if (!has(members, name)) continue;
    report.bank_numbers.push_back({std::string(name), "1", source.text_attribute(group, std::string(name), "long_name"),
                                   source.numbers<double>(group, std::string(name), {{report.bank.size()}})});
  }
  if (report.probes.empty()) return;
  const auto probes = report.probes.size();
  if (!has(members, "pull")) {  // of an earlier version, which compared cosines
    report.bank_units.assign(probes, 1);
    report.bank_pulls.assign(probes * report.bank.size(), std::numeric_limits<double>::quiet_NaN());
    return;
  }
  report.bank_units = source.numbers<double>(group, "unit", {{probes}});
  report.bank_pulls = source.numbers<double>(group, "pull", {{probes, report.bank.size()}});
}

void read_run(const Source& source, Report& report) {
  const auto group = source.group("run");
  report.run.resize(source.length(group, "stage"));
  const ColumnReader<StageRow> columns(source, group, report.run);
  columns.number("rank", &StageRow::rank);
  columns.text("stage", &StageRow::stage);
  columns.number("seconds", &StageRow::seconds);
  columns.number("bytes_read", &StageRow::bytes_read);
  columns.number("peak_memory_bytes", &StageRow::peak_memory_bytes);
  const auto members = source.members(group, "run");
  if (has(members, "part")) columns.text("part", &StageRow::part);
  if (!has(members, "readers")) return;  // of an earlier version
  columns.number("readers", &StageRow::readers);
  columns.number("bytes_of_a_read", &StageRow::bytes_of_a_read);
  columns.number("bytes_per_second", &StageRow::bytes_per_second);
}

Error damaged(const std::string& path, std::string_view expectation) {
  return Error(ErrorKind::invalid_input, "report is damaged").file(path).expected(expectation).advice("copy it again");
}

/// The digits of the seal that `bytes` end with; empty if they end with none.
std::string_view sealed_with(std::span<const std::byte> bytes) {
  if (bytes.size() < schema::kSealBytes) return {};
  const auto seal = bytes.last(schema::kSealBytes);
  std::string_view text(reinterpret_cast<const char*>(seal.data()), seal.size());
  if (!text.starts_with(schema::kSealPrefix)) return {};
  text.remove_prefix(schema::kSealPrefix.size());
  return text.substr(0, text.size() - 1);
}

/// The HDF5 part of the file: what the seal at its end vouches for, or all of it if there is no seal.
std::span<std::byte> unsealed(std::span<std::byte> bytes, const std::string& path) {
  const auto seal = sealed_with(bytes);
  if (seal.empty()) return bytes;
  const auto image = bytes.first(bytes.size() - schema::kSealBytes);
  base::Sha256 hash;
  hash.update(image);
  if (seal != hash.finish() || bytes.back() != std::byte{'\n'}) {
    throw damaged(path, "the content that its SHA-256 was taken of");
  }
  return image;
}

Report parse(std::span<std::byte> image, const std::string& path) {
  const Source source(image, path);
  if (source.size() < image.size()) throw damaged(path, "a whole checksum after the HDF5 data");
  Report report;
  read_root(source, report);
  read_modules(source, report);
  read_adapters(source, report);
  const Shape shape{{report.adapters.size(), report.modules.size()}};
  read_metrics(source, report, shape);
  read_selection(source, report, shape);
  read_probes(source, report);
  read_bank(source, report);
  read_heads(source, report);
  read_copies(source, report);
  read_shards(source, report);
  read_run(source, report);
  return report;
}

base::File open_report(const std::string& path) try {
  return base::File::open_for_reading(path);
} catch (const Error& error) {
  if (error.os_error() == 0) throw;
  throw Error(error.kind(), "cannot open the report")
      .file(path)
      .os_error(error.os_error())
      .expected("a file that winnow audit or winnow merge has written");
}

/// What `read` makes of all bytes of the file at `path`, which begin as HDF5 does.
template <class Read>
auto reading(const std::string& path, const Read& read) {
  constexpr std::string_view kSignature = "\x89HDF\r\n\x1a\n";
  const auto file = open_report(path);
  std::vector<std::byte> bytes;
  try {
    bytes.resize(file.size());
    file.read_exact(0, bytes);
    if (bytes.size() < kSignature.size() || std::memcmp(bytes.data(), kSignature.data(), kSignature.size()) != 0) {
      throw Error(ErrorKind::invalid_input, "file is not HDF5").file(path).advice(kReportAdvice);
    }
    return read(std::span(bytes));
  } catch (const std::bad_alloc&) {
    throw Error(ErrorKind::invalid_input, "report does not fit in memory").file(path);
  } catch (const std::length_error&) {
    throw Error(ErrorKind::invalid_input, "report claims an impossible size").file(path);
  }
}

}  // namespace

Report read_hdf5(const std::string& path) {
  return reading(path, [&](std::span<std::byte> bytes) { return parse(unsealed(bytes, path), path); });
}

ReportFile read_report_file(const std::string& path) {
  return reading(path, [&](std::span<std::byte> bytes) {
    const auto image = unsealed(bytes, path);
    ReportFile read;
    base::Sha256 hash;
    hash.update(bytes);  // before HDF5, which may write into its image
    read.sha256 = hash.finish();
    if (image.size() < bytes.size()) read.seal = sealed_with(bytes);
    read.report = parse(image, path);
    return read;
  });
}

}  // namespace winnow::report
