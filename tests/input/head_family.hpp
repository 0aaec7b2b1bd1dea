// Attention with grouped queries and an MLP in three layers, with directions, probes and adapters on them, and the
// product of every head from dense matrices in float64: entry by entry, by what each row or column belongs to.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "input/tiny_family.hpp"
#include "winnow/report/report.hpp"

namespace winnow::test {

class HeadFamily {
 public:
  static constexpr int kLayers = 3;
  static constexpr std::uint64_t kHeads = 4, kKeys = 2, kWidth = 3, kHidden = 10, kRank = 2;

  struct Kind {
    const char* name;
    std::uint64_t out, in;
  };
  static constexpr std::array<Kind, 5> kKinds{{{"self_attn.q_proj", kHeads* kWidth, kHidden},
                                               {"self_attn.k_proj", kKeys* kWidth, kHidden},
                                               {"self_attn.v_proj", kKeys* kWidth, kHidden},
                                               {"self_attn.o_proj", kHidden, kHeads* kWidth},
                                               {"mlp.up_proj", 14, kHidden}}};

  HeadFamily() {
    unsigned seed = 1;
    for (auto* checkpoint : {&base, &aligned, &directions[0], &directions[1]}) {
      for (int layer = 0; layer < kLayers; ++layer) {
        for (const auto& kind : kKinds) {
          (*checkpoint)[weight(layer, kind)] = Matrix::random(kind.out, kind.in, seed++);
        }
      }
    }
    for (auto* adapter : {&probe_adapters[0], &probe_adapters[1], &zoo[0], &zoo[1], &zoo[2]}) {
      for (int layer = 0; layer < kLayers; ++layer) {
        for (const auto& kind : kKinds) {
          (*adapter)[key(layer, kind, "lora_A")] = Matrix::random(kRank, kind.in, seed++);
          (*adapter)[key(layer, kind, "lora_B")] = Matrix::random(kind.out, kRank, seed++);
        }
      }
    }
    // Not all on the same modules.
    take_out(zoo[1], 1, kKinds[1]);
    take_out(probe_adapters[1], 0, kKinds[3]);
    for (const auto& kind : kKinds) take_out(zoo[2], 2, kind);
    directions[1].erase(weight(2, kKinds[0]));
  }

  static std::string weight(int layer, const Kind& kind) {
    return "model.layers." + std::to_string(layer) + "." + kind.name + ".weight";
  }
  static std::string key(int layer, const Kind& kind, const std::string& factor) {
    return "base_model.model.model.layers." + std::to_string(layer) + "." + kind.name + "." + factor + ".weight";
  }
  static void take_out(Tensors& adapter, int layer, const Kind& kind) {
    for (const char* factor : {"lora_A", "lora_B"}) adapter.erase(key(layer, kind, factor));
  }

  std::string write_adapter(const std::string& name, const Tensors& tensors) const {
    std::filesystem::create_directories(directory / name);
    directory.write(name + "/adapter_config.json",
                    R"({"peft_type": "LORA", "r": 2, "lora_alpha": 4,)"
                    R"( "target_modules": ["q_proj", "k_proj", "v_proj", "o_proj", "up_proj"],)"
                    R"( "base_model_name_or_path": ")" +
                        base_model + R"("})");
    write_tensors(directory / (name + "/adapter_model.safetensors"), tensors);
    return directory / name;
  }

  /// Shaped like a checkpoint. Each tensor turned, if `transposed`.
  std::string write_weights(const std::string& name, const Tensors& tensors) const {
    std::filesystem::create_directories(directory / name);
    auto text = config;
    const std::string type = R"("model_type": "llama", )";  // whose layers are never stored the other way round
    if (const auto at = text.find(type); transposed && at != std::string::npos) text.erase(at, type.size());
    if (!text.empty()) directory.write(name + "/config.json", text);
    Tensors stored;
    for (const auto& [tensor, matrix] : tensors) {
      auto& to = stored[tensor] = matrix;
      if (!transposed) continue;
      std::swap(to.rows, to.columns);
      for (std::uint64_t r = 0; r < matrix.rows; ++r) {
        for (std::uint64_t c = 0; c < matrix.columns; ++c) {
          to.values[c * matrix.rows + r] = matrix.values[r * matrix.columns + c];
        }
      }
    }
    write_tensors(directory / (name + "/model.safetensors"), stored);
    return directory / name;
  }

  /// Everything as it is now, written; which of the checkpoints, directions and probe adapters the run has.
  run::AuditOptions options(bool pair, int of_directions = 2, int of_adapters = 2) const {
    run::AuditOptions options;
    options.measure.heads = true;
    options.measure.subspace_rank = 3;
    options.means.threads = 1;
    if (pair) {
      options.read.base = write_weights("base", base);
      options.read.aligned = write_weights("aligned", aligned);
    }
    for (int n = 0; n < 3; ++n) {
      options.read.adapters.push_back(write_adapter("zoo-" + std::to_string(n), zoo[n]));
    }
    for (int k = 0; k < of_directions; ++k) {
      options.read.probes.push_back({k == 0 ? probes::Effect::harmful : probes::Effect::safe, probes::Form::direction,
                                     write_weights("direction-" + std::to_string(k), directions[k])});
    }
    for (int k = 0; k < of_adapters; ++k) {
      options.read.probes.push_back({k == 0 ? probes::Effect::harmful : probes::Effect::safe, probes::Form::adapter,
                                     write_adapter("probe-" + std::to_string(k), probe_adapters[k])});
    }
    return options;
  }

  /// s*B*A of one module; empty if there is none.
  static std::vector<double> update_of(const Tensors& tensors, int layer, const Kind& kind) {
    const auto a = tensors.find(key(layer, kind, "lora_A")), b = tensors.find(key(layer, kind, "lora_B"));
    if (a == tensors.end() || b == tensors.end()) return {};
    std::vector<double> update(kind.out * kind.in);
    for (std::uint64_t row = 0; row < kind.out; ++row) {
      for (std::uint64_t r = 0; r < kRank; ++r) {
        for (std::uint64_t column = 0; column < kind.in; ++column) {
          update[row * kind.in + column] += 2 * static_cast<double>(b->second.values[row * kRank + r]) *
                                            static_cast<double>(a->second.values[r * kind.in + column]);
        }
      }
    }
    return update;
  }

  static std::vector<double> dense(const Tensors& direction, int layer, const Kind& kind) {
    const auto found = direction.find(weight(layer, kind));
    if (found == direction.end()) return {};
    return {found->second.values.begin(), found->second.values.end()};
  }

  /// How much of an entry of a module belongs to a head.
  static double weight_in_head(const Kind& kind, std::uint64_t row, std::uint64_t column, std::uint64_t head) {
    const std::string name = kind.name;
    if (name == "self_attn.q_proj") return row / kWidth == head ? 1 : 0;
    if (name == "self_attn.o_proj") return column / kWidth == head ? 1 : 0;
    if (name == "mlp.up_proj") return 0;
    return row / kWidth == head * kKeys / kHeads ? static_cast<double>(kKeys) / static_cast<double>(kHeads) : 0;
  }

  /// NaN if neither of the modules has both.
  static double head_of(const std::vector<std::pair<std::vector<double>, std::vector<double>>>& modules,
                        std::uint64_t head) {
    double sum = 0;
    bool known = false;
    for (std::size_t m = 0; m < modules.size(); ++m) {
      const auto& [probe, update] = modules[m];
      if (probe.empty() || update.empty()) continue;
      known = true;
      const auto& kind = kKinds.at(m);
      for (std::uint64_t row = 0; row < kind.out; ++row) {
        for (std::uint64_t column = 0; column < kind.in; ++column) {
          sum +=
              weight_in_head(kind, row, column, head) * probe[row * kind.in + column] * update[row * kind.in + column];
        }
      }
    }
    return known ? sum : std::numeric_limits<double>::quiet_NaN();
  }

  Tensors base, aligned, directions[2], probe_adapters[2], zoo[3];
  std::string config =
      R"({"model_type": "llama", "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 3, "hidden_size": 10})";
  std::string base_model;
  bool transposed = false;
  TemporaryDirectory directory;
};

/// Every product of a report against dense matrices, and their sums against the products of modules.
inline void expect_heads(const report::Report& report, const HeadFamily& family, double tolerance = 1e-6) {
  ASSERT_TRUE(report.heads);
  const auto& heads = *report.heads;
  ASSERT_EQ(heads.query, HeadFamily::kHeads);
  EXPECT_EQ(heads.key_value, HeadFamily::kKeys);
  EXPECT_EQ(heads.width, HeadFamily::kWidth);
  ASSERT_EQ(heads.attention.size(), std::size_t{HeadFamily::kLayers});
  const auto adapters = report.adapters.size(), modules = report.modules.size();
  ASSERT_EQ(heads.dots.size(), report.probes.size() * adapters * heads.attention.size() * heads.query);
  int direction = 0, adapter = 0;
  for (std::size_t k = 0; k < report.probes.size(); ++k) {
    const bool is_dense = report.probes[k].form == "direction";
    const int which = is_dense ? direction++ : adapter++;
    for (std::size_t n = 0; n < adapters; ++n) {
      for (int layer = 0; layer < HeadFamily::kLayers; ++layer) {
        SCOPED_TRACE(report.probes[k].name + ", adapter " + std::to_string(n) + ", layer " + std::to_string(layer));
        const auto l = static_cast<std::size_t>(layer);
        EXPECT_EQ(heads.attention[l].name, "model.layers." + std::to_string(layer) + ".self_attn");
        EXPECT_EQ(heads.attention[l].layer, layer);
        std::vector<std::pair<std::vector<double>, std::vector<double>>> pairs;
        double size = 0;
        for (std::size_t m = 0; m + 1 < HeadFamily::kKinds.size(); ++m) {
          const auto& kind = HeadFamily::kKinds.at(m);
          pairs.emplace_back(is_dense ? HeadFamily::dense(family.directions[which], layer, kind)
                                      : HeadFamily::update_of(family.probe_adapters[which], layer, kind),
                             HeadFamily::update_of(family.zoo[n], layer, kind));
          for (std::size_t entry = 0; entry < std::min(pairs[m].first.size(), pairs[m].second.size()); ++entry) {
            size += std::abs(pairs[m].first[entry] * pairs[m].second[entry]);
          }
        }
        double sum = 0, of_modules = 0;
        bool known = false;
        for (std::uint64_t head = 0; head < heads.query; ++head) {
          const double expected = HeadFamily::head_of(pairs, head);
          const double found = heads.dots[((k * adapters + n) * heads.attention.size() + l) * heads.query + head];
          ASSERT_EQ(std::isnan(found), std::isnan(expected)) << "head " << head;
          if (std::isnan(found)) continue;
          known = true;
          sum += found;
          EXPECT_NEAR(found, expected, tolerance * size) << "head " << head;
        }
        for (std::size_t m = 0; m < modules; ++m) {
          const auto& row = report.modules[m];
          const double dot = report.probe_dots[(k * adapters + n) * modules + m];
          if (row.layer == layer && row.role != "up_proj" && !std::isnan(dot)) of_modules += dot;
        }
        if (known) {
          EXPECT_NEAR(sum, of_modules, 1e-12 * size);
        }
      }
    }
  }
}

}  // namespace winnow::test
