#include "winnow/synth/synth.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <span>

#include "adapter_files.hpp"
#include "winnow/base/directory.hpp"
#include "winnow/base/error.hpp"
#include "winnow/base/file.hpp"
#include "winnow/base/parallel.hpp"
#include "winnow/synth/truth.hpp"
#include "winnow/synth/weights.hpp"

namespace winnow::synth {
namespace {

namespace fs = std::filesystem;
using base::Error;
using base::ErrorKind;

constexpr std::uint64_t kMaxShardBytes = 5'000'000'000;  // transformers' default
constexpr std::uint64_t kSlabBytes = 16'000'000;
constexpr std::string_view kMarker = "synth.json";

std::string marker_text(const SynthOptions& options) {
  nlohmann::ordered_json facts = {
      {"generator", "winnow synth"},      {"schema_version", 1},          {"preset", options.shape.preset},
      {"layers", options.shape.layers},   {"adapters", options.adapters}, {"rank", options.rank},
      {"misaligned", options.misaligned}, {"seed", options.seed},
  };
  if (options.headers_only) facts["headers_only"] = true;
  if (!options.kinds.empty()) {
    auto& kinds = facts["kinds"] = nlohmann::ordered_json::array();
    for (const auto kind : options.kinds) kinds.push_back(name(kind));
    facts["each"] = options.each;
  }
  return facts.dump(2) + "\n";
}

void make_directory(const fs::path& directory) {
  std::error_code error;
  fs::create_directories(directory, error);
  if (error)
    throw Error(ErrorKind::runtime, "cannot create directory").file(directory.string()).os_error(error.value());
}

bool holds_other_files(const fs::path& directory) {
  std::error_code error;
  const auto entries = base::entries_of(directory, error);
  if (error) throw Error(ErrorKind::runtime, "cannot read directory").file(directory.string()).os_error(error.value());
  return std::any_of(entries.begin(), entries.end(), [](const fs::directory_entry& entry) {
    const auto name = entry.path().filename().string();
    return name.find(kMarker) == std::string::npos;  // the marker's temporary sibling has the name in it
  });
}

/// Makes sure that DIR is ours, or becomes so. The marker is the first file a rank writes into a fresh directory, so
/// however the ranks interleave, each sees either nothing but it, or it beside the others' files.
void claim_output(const SynthOptions& options) {
  const fs::path directory(options.output);
  const auto marker = (directory / kMarker).string();
  const auto text = marker_text(options);
  make_directory(directory);
  const bool occupied = holds_other_files(directory);  // before the marker is looked for: see above
  const auto present = base::read_text_file_if_exists(marker, 1'000'000);
  if (present) {
    if (*present == text) return;
    throw Error(ErrorKind::usage, "the output directory holds a family made with other options")
        .file(marker)
        .expected("the options it names")
        .advice("choose another directory or remove this one");
  }
  if (occupied) {
    throw Error(ErrorKind::usage, "the output directory is not empty")
        .file(options.output)
        .expected("a new or empty directory, or one made by winnow synth with the same options")
        .advice("choose another directory");
  }
  base::atomic_write_file(marker, text);
}

/// One of the two checkpoints.
struct Side {
  std::string directory;
  bool aligned;
  ShardPlan plan;
};

void write_tensor(checkpoint::SafetensorsWriter& writer, const TensorRows& rows, int threads) {
  const auto row_bytes = rows.columns() * sizeof(std::uint16_t);
  const auto slab_rows = std::clamp<std::uint64_t>(kSlabBytes / row_bytes, 1, rows.rows());
  std::vector<std::uint16_t> slab(slab_rows * rows.columns());
  for (std::uint64_t first = 0; first < rows.rows(); first += slab_rows) {
    const auto count = std::min(slab_rows, rows.rows() - first);
    const auto pieces = 4 * static_cast<std::uint64_t>(threads);
    const auto piece = (count + pieces - 1) / pieces;
    base::parallel_blocks((count + piece - 1) / piece, threads, [&](std::size_t n, int) {
      const auto from = n * piece;
      rows.make(first + from, std::min(piece, count - from), slab.data() + from * rows.columns());
    });
    writer.append(std::as_bytes(std::span(slab).first(count * rows.columns())));
  }
}

void write_shard(const SynthOptions& options, const Side& side, std::size_t shard,
                 const std::map<std::string, Module>& modules, int threads) {
  const auto& tensors = side.plan[shard];
  checkpoint::SafetensorsWriter writer(side.directory + "/" + shard_name(shard, side.plan.size()), tensors);
  if (options.headers_only) writer.append_zeros();
  for (const auto& tensor : tensors) {
    if (options.headers_only) break;
    const auto module = modules.find(tensor.name);
    write_tensor(writer,
                 TensorRows(options.seed, tensor, module == modules.end() ? nullptr : &module->second, side.aligned),
                 threads);
  }
  writer.commit();
}

AdapterPlan plan_of(const SynthOptions& options, const std::string& name, const std::vector<Module>& modules,
                    const std::vector<Planted>& planted) {
  std::map<std::string, PlantedKind> kinds;
  for (const auto& one : planted) kinds.emplace(one.module, one.kind);
  const auto update = [=, seed = options.seed, rank = options.rank](const Module& module) {
    const auto found = kinds.find(module.name);
    return make_update(seed, name, module, rank, found == kinds.end() ? std::nullopt : std::optional(found->second));
  };
  return {options.shape.preset, modules, options.rank, kScale * static_cast<double>(options.rank), update,
          options.headers_only};
}

AdapterPlan plan_of(const SynthOptions& options, const std::string& name, const std::vector<Module>& modules,
                    AdapterKind kind) {
  const auto rank = rank_of(kind, options.rank);
  const auto update = [=, seed = options.seed, layers = options.shape.layers](const Module& module) {
    return make_update(seed, name, module, rank, kind, layers);
  };
  return {
      options.shape.preset, modules_of(kind, modules), rank, alpha_over_rank(kind) * static_cast<double>(rank), update,
      options.headers_only};
}

}  // namespace

std::string adapter_name(std::uint64_t index) { return fmt::format("adapter-{:03}", index); }
std::string adapter_name(AdapterKind kind, std::uint64_t index) { return fmt::format("{}-{:03}", name(kind), index); }

void check_options(const SynthOptions& options) {
  const auto refuse = [](std::string what, std::string_view expected) {
    return Error(ErrorKind::usage, std::move(what)).expected(expected);
  };
  if (options.output.empty()) throw refuse("no output directory", "--output DIR");
  if (options.shape.layers == 0) throw refuse("cannot make a model of 0 layers", "--layers 1 or more");
  if (options.adapters == 0) throw refuse("cannot make 0 adapters", "--adapters 1 or more");
  if (options.rank == 0 || options.rank > options.shape.hidden) {
    throw refuse(fmt::format("cannot make adapters of rank {}", options.rank),
                 fmt::format("--rank from 1 to {}, the model's hidden size", options.shape.hidden));
  }
  const auto modules = linear_modules(options.shape).size();
  if (options.misaligned > modules) {
    throw refuse(fmt::format("cannot plant {} misaligned modules", options.misaligned),
                 fmt::format("--misaligned at most {}, the linear modules of the model", modules));
  }
  if (options.each == 0) throw refuse("cannot make 0 adapters of each kind", "--each 1 or more");
  if (options.headers_only && !options.kinds.empty()) {
    throw refuse("cannot make adapters of a kind without weights", "--headers-only or --kinds");
  }
  if (options.headers_only && options.misaligned > 0) {
    throw refuse("cannot plant misaligned modules without weights", "--headers-only or --misaligned");
  }
}

void synthesise(const SynthOptions& options, int rank, int ranks, const base::Log& log) {
  check_options(options);
  claim_output(options);
  const int threads = options.threads > 0 ? options.threads : base::default_threads(ranks);
  const auto modules = linear_modules(options.shape);
  std::map<std::string, Module> by_tensor;
  for (const auto& module : modules) by_tensor.emplace(module.name + ".weight", module);

  // At least four and three shards: small families too exercise every path, and the two checkpoints are cut
  // differently.
  const auto total = checkpoint_bytes(options.shape);
  const auto plan = [&](std::uint64_t parts) {
    return plan_shards(options.shape, std::min(kMaxShardBytes, total / parts));
  };
  const std::vector<Side> sides = {{options.output + "/base", false, plan(4)},
                                   {options.output + "/aligned", true, plan(3)}};
  std::size_t turn = 0;
  const auto mine = [&] { return turn++ % static_cast<std::size_t>(ranks) == static_cast<std::size_t>(rank); };

  for (const auto& side : sides) {
    make_directory(side.directory);
    for (std::size_t shard = 0; shard < side.plan.size(); ++shard) {
      if (!mine()) continue;
      write_shard(options, side, shard, by_tensor, threads);
      log.info(fmt::format("wrote {}/{}", side.directory, shard_name(shard, side.plan.size())));
    }
    if (rank == 0) {
      base::atomic_write_file(side.directory + "/model.safetensors.index.json", index_json(side.plan));
      base::atomic_write_file(side.directory + "/config.json", config_json(options.shape));
    }
  }
  const auto write = [&](const std::string& name, const AdapterPlan& adapter) {
    if (!mine()) return;
    const auto directory = options.output + "/adapters/" + name;
    make_directory(directory);
    write_adapter(adapter, directory, threads);
    log.info(fmt::format("wrote {}", directory));
  };
  std::vector<Planted> truth;
  for (std::uint64_t index = 0; index < options.adapters; ++index) {
    const auto name = adapter_name(index);
    const auto planted = choose_planted(options.seed, name, modules, options.misaligned);
    write(name, plan_of(options, name, modules, planted));
    truth.insert(truth.end(), planted.begin(), planted.end());
  }
  std::vector<KindOfAdapter> kinds;
  for (const auto kind : options.kinds) {
    for (std::uint64_t index = 0; index < options.each; ++index) {
      const auto name = adapter_name(kind, index);
      write(name, plan_of(options, name, modules, kind));
      kinds.push_back({name, kind});
    }
  }
  if (rank == 0) base::atomic_write_file(options.output + "/truth.json", truth_json(truth, kinds));
}

}  // namespace winnow::synth
