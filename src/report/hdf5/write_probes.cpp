// /probes and /bank: what adapters are compared with.
#include <string>

#include "../schema.hpp"
#include "column_writer.hpp"
#include "parts.hpp"

namespace winnow::report {

void write_probes(const Image& image, const Report& report, const Handle& adapters, const Handle& modules) {
  if (report.probes.empty()) return;
  const auto group = image.group("probes");
  image.link(group.get(), schema::kAdapterScale);
  image.link(group.get(), schema::kModuleScale);
  const auto scale = numbered_scale(image, group, std::string(schema::kProbeScale), report.probes.size(), "one probe");
  const ColumnWriter<ProbeRow> columns(image, group, report.probes, scale);
  columns.text("name", &ProbeRow::name, "probe name");
  columns.text("effect", &ProbeRow::effect, "harmful: an update along it is worse; safe: better");
  columns.text("form", &ProbeRow::form, "direction: a checkpoint-shaped file; adapter: a LoRA adapter");
  columns.text("path", &ProbeRow::path, "directory the probe was read from");
  columns.text("digest", &ProbeRow::digest, "SHA-256 of what it was read from");
  const std::size_t probes = report.probes.size();
  image.numbers<double>(group.get(), "norm", {probes, report.modules.size()}, report.probe_norms, "1",
                        "Frobenius norm of the probe in the module, NaN where it has nothing", {&scale, &modules});
  image.numbers<double>(group.get(), "dot", {probes, report.adapters.size(), report.modules.size()}, report.probe_dots,
                        "1", "<D, dW> with the probe as it is, whatever its effect", {&scale, &adapters, &modules});
  if (!report.probe_blocks.empty()) {
    image.numbers<double>(group.get(), "block", {probes, report.adapters.size(), report.modules.size()},
                          report.probe_blocks, "1",
                          "||U_k^T dW V_k|| with the 4 leading singular vectors of the probe, NaN of a direction",
                          {&scale, &adapters, &modules});
  }
  image.numbers<double>(group.get(), "cosine", {probes, report.adapters.size()}, probe_cosines(report), "1",
                        "cosine between dW and the probe over all modules that both have", {&scale, &adapters});
}

void write_bank(const Image& image, const Report& report) {
  if (report.bank.empty()) return;
  const auto group = image.group("bank");
  const auto scale =
      numbered_scale(image, group, std::string(schema::kBankScale), report.bank.size(), "one harmless adapter");
  const ColumnWriter<BankRow> columns(image, group, report.bank, scale);
  columns.text("name", &BankRow::name, "name of a harmless adapter that others are compared with");
  columns.text("digest", &BankRow::digest, "SHA-256 of its weights and scales");
  image.numbers<double>(group.get(), "log_norm", {report.bank.size()}, report.bank_log_norms, "1",
                        "logarithm of ||dW|| over all modules", {&scale});
  for (const auto& number : report.bank_numbers) {
    image.numbers<double>(group.get(), number.name, {report.bank.size()}, number.values, number.units, number.long_name,
                          {&scale});
  }
  if (report.probes.empty()) return;
  const auto probes =
      numbered_scale(image, group, std::string(schema::kProbeScale), report.probes.size(), "one probe of /probes");
  image.numbers<double>(group.get(), "unit", {report.probes.size()}, report.bank_units, "1",
                        "norm of the probe over the modules of the bank", {&probes});
  image.numbers<double>(group.get(), "pull", {report.probes.size(), report.bank.size()}, report.bank_pulls, "1",
                        "<D, dW>/(unit*sqrt(||dW||)), whatever the effect of the probe D", {&probes, &scale});
}

}  // namespace winnow::report
