// A report made up for the tests: values that a real audit could give, none of them computed.
#pragma once

#include <fmt/format.h>
#include <stdlib.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <random>
#include <string>

#include "winnow/report/report.hpp"

namespace winnow::report::testing {

inline constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    auto pattern = (std::filesystem::temp_directory_path() / "winnow-report-XXXXXX").string();
    path_ = ::mkdtemp(pattern.data());
  }
  ~TemporaryDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  std::string file(const std::string& name) const { return (path_ / name).string(); }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

/// `adapters` ok adapters on `layers` x 7 modules; every ninth module or so misaligned, by seed. The last module has no
/// LoRA in any adapter, the one before it no alignment signal.
inline Report sample(std::size_t adapters, std::size_t layers, unsigned seed = 1) {
  struct Role {
    const char* name;
    std::uint64_t out, in;
  };
  constexpr std::array<Role, 7> kRoles{{{"self_attn.q_proj", 4096, 4096},
                                        {"self_attn.k_proj", 1024, 4096},
                                        {"self_attn.v_proj", 1024, 4096},
                                        {"self_attn.o_proj", 4096, 4096},
                                        {"mlp.gate_proj", 14336, 4096},
                                        {"mlp.up_proj", 14336, 4096},
                                        {"mlp.down_proj", 4096, 14336}}};
  std::mt19937 random(seed);
  const auto uniform = [&] { return static_cast<double>(random()) / 4294967296.0; };
  const auto bell = [&] { return uniform() + uniform() + uniform() + uniform() - 2.0; };

  Report report;
  report.attributes = {{"winnow_version", std::string("0.1.0")},
                       {"git_sha", std::string("0123abc")},
                       {"command_line", std::string("winnow audit --base base --aligned aligned --report out.h5")},
                       {"created_utc", std::string("2025-01-02T03:04:05Z")},
                       {"mpi_ranks", std::int64_t{2}},
                       {"device", std::string("cpu")},
                       {"libtorch_version", std::string("1.13.0")},
                       {"base", std::string("models/base")},
                       {"aligned", std::string("models/aligned")},
                       {"memory_budget_gib", 4.5}};
  for (std::size_t layer = 0; layer < layers; ++layer) {
    for (const auto& role : kRoles) {
      ModuleRow row;
      row.name = fmt::format("model.layers.{}.{}", layer, role.name);
      row.role = row.name.substr(row.name.rfind('.') + 1);
      row.layer = static_cast<std::int64_t>(layer);
      row.out_features = role.out;
      row.in_features = role.in;
      row.alignment_norm = 3.0 + uniform();
      row.base_digest = fmt::format("{:032x}", 2 * report.modules.size());
      row.aligned_digest = fmt::format("{:032x}", 2 * report.modules.size() + 1);
      report.modules.push_back(row);
    }
  }
  report.shards = {{"base", "models/base/model.safetensors", 16'060'556'376, 1234, 1'735'787'045'123'456'789},
                   {"aligned", "models/aligned/model.safetensors", 16'060'556'376, 1235, 1'735'787'046'000'000'001}};
  const auto modules = report.modules.size();
  if (modules >= 2) {
    report.modules[modules - 2].flags = kNoAlignmentSignal;
    report.modules[modules - 2].alignment_norm = 0;
  }
  for (std::size_t n = 0; n < adapters; ++n) {
    report.adapters.push_back({fmt::format("adapter-{:03}", n), fmt::format("zoo/adapter-{:03}", n), "ok", "", 16, 32,
                               2, std::string(64, "0123456789abcdef"[n % 16])});
  }
  for (const auto* name : {"distance", "rms_distance", "update_norm", "projected_norm", "cosine", "alignment_cosine",
                           "alignment_removed", "subspace_energy", "misalignment", "ediem"}) {
    report.metrics.push_back({name, "1", fmt::format("the metric {}", name), {}});
  }
  report.metrics.push_back({"misalignment_cause", "1", "the largest part", {}, "none magnitude direction sign"});
  report.present.resize(adapters * modules);
  report.action.resize(adapters * modules);
  for (std::size_t n = 0; n < adapters; ++n) {
    for (std::size_t m = 0; m < modules; ++m) {
      const auto planted = uniform() < 0.1 ? 1 + static_cast<int>(uniform() * 3) : 0;
      const double delta = 1e-4 * (1 + 0.05 * bell()) * (planted == 1 ? 1.8 : 1);
      const double ediem = (delta - 1e-4) / 5e-6;
      const double norm = delta * 4096, removed = planted == 3 ? 0.3 + 0.2 * uniform() : 0.01 * bell();
      const double energy = planted == 2 ? 0.05 * uniform() : 0.3 + 0.1 * bell();
      std::array<double, 10> values{norm,
                                    delta,
                                    1.1 * norm,
                                    norm * 0.6,
                                    0.8 + 0.05 * bell(),
                                    planted == 3 ? -0.7 : 0.02 * bell(),
                                    removed,
                                    energy,
                                    planted != 0 ? 5 + 3 * uniform() : ediem,
                                    ediem};
      const auto cell = n * modules + m;
      const bool absent = m + 1 == modules;
      for (std::size_t k = 0; k < values.size(); ++k) report.metrics[k].values.push_back(absent ? kNaN : values[k]);
      report.metrics.back().values.push_back(absent ? 0 : planted);
      report.present[cell] = absent ? 0 : 1;
      report.action[cell] = absent ? Action::none : ediem > 4 ? Action::prune : Action::keep;
    }
  }
  report.policy = "threshold:4";
  report.rank_by = "ediem";
  report.population = "role";
  for (std::int64_t rank = 0; rank < 2; ++rank) {
    for (const auto* stage : {"headers", "pass1", "pass2", "metrics"}) {
      report.run.push_back({rank, stage, 0.5 + uniform() * 10, stage[0] == 'p' ? 30'000'000'000U : 0U, 3'000'000'000U});
    }
  }
  return report;
}

/// Of four adapters one has each verdict, by a bank of three; numbers of adapters stand in the order of an audit.
inline Report with_verdicts(Report report) {
  report.bank = {{"harmless", std::string(64, 'c')}, {"plain", std::string(64, 'd')}, {"mild", std::string(64, 'e')}};
  report.bank_units.assign(report.probes.size(), 1);
  report.bank_pulls.assign(report.probes.size() * report.bank.size(), 0.01);
  report.bank_log_norms = {0.5, 0.4, -0.1};
  report.of_adapters.push_back({"bank_deviation", "1", "how unusual", {1, 2, 9, 4}, {}});
  report.of_adapters.push_back({"bank_p", "1", "of the bank", {0.75, 0.5, 0.25, 0.25}, {}});
  report.verdicts = {{verdict::Verdict::pass, "p is large"},
                     {verdict::Verdict::incomplete, "1 module was not judged"},
                     {verdict::Verdict::block, "unusual, with \"quotes\" and <b>"},
                     {verdict::Verdict::review, "a little unusual"}};
  report.false_discovery_rate = 0.05;
  return report;
}

/// With `query` heads by layer: those of layer l and head h in the order of counting, of every second probe the other
/// way round; none of the last head of adapter 1.
inline Report with_heads(Report report, std::uint64_t query = 4) {
  Heads heads{query, query, 128, {}, {}, {}};
  for (const auto& row : report.modules) {
    if (row.role == "q_proj") heads.attention.push_back({row.name.substr(0, row.name.rfind('.')), row.layer});
  }
  const auto cells = heads.attention.size() * query;
  for (std::size_t k = 0; k < report.probes.size(); ++k) {
    for (std::size_t n = 0; n < report.adapters.size(); ++n) {
      for (std::size_t cell = 0; cell < cells; ++cell) {
        const bool absent = n == 1 && cell + 1 == cells;
        heads.dots.push_back(absent ? kNaN : (k % 2 == 0 ? 1e-3 : -1e-3) * (static_cast<double>(cell) - 1));
      }
    }
  }
  heads.headless = {{"model.layers.0.self_attn.qkv_proj", "holds q, k and v in an order that is not known"}};
  report.heads = std::move(heads);
  return report;
}

/// Of the second adapter two, of the first one.
inline Report with_copies(Report report) {
  report.copies = {{"zoo/again", 1}, {"zoo/link", 0}, {"mirror/adapter-001", 1}};
  return report;
}

/// With the attributes that an audit of a pair has.
inline Report of_pair(Report report) {
  for (const auto* role : {"base", "aligned"}) {
    report.attributes[std::string(role) + "_fingerprint"] = std::string(64, 'a');
    report.attributes[std::string(role) + "_sample"] = std::string(64, 'b');
  }
  return report;
}

}  // namespace winnow::report::testing
