#include "winnow/checkpoint/catalogue.hpp"

#include <fmt/format.h>

#include <filesystem>
#include <optional>
#include <utility>

#include "header_file.hpp"
#include "sample.hpp"
#include "shard_index.hpp"
#include "winnow/base/error.hpp"
#include "winnow/base/file.hpp"
#include "winnow/base/narrow.hpp"
#include "winnow/base/sha256.hpp"
#include "winnow/checkpoint/expert_slices.hpp"

namespace winnow::checkpoint {
namespace {

namespace fs = std::filesystem;
using base::Error;
using base::ErrorKind;

constexpr std::string_view kIndexName = "model.safetensors.index.json";
constexpr std::string_view kSingleName = "model.safetensors";

Error refused(std::string what, std::string_view path) {
  return Error(ErrorKind::invalid_input, std::move(what)).file(path);
}

std::string inside(const std::string& directory, std::string_view name) {
  return (fs::path(directory) / name).string();
}

// A link that leads nowhere counts as present: opening it then tells what is wrong.
bool is_present(const std::string& path) {
  std::error_code error;
  return fs::symlink_status(path, error).type() != fs::file_type::not_found;
}

void require_directory(const std::string& directory) {
  std::error_code error;
  const auto status = fs::status(directory, error);
  if (status.type() == fs::file_type::not_found) {
    throw refused("checkpoint does not exist", directory)
        .expected("a local directory with model.safetensors or its shards")
        .advice("check the path; a model that is only known by its name on a hub must be downloaded first");
  }
  if (status.type() == fs::file_type::none) {
    throw Error(ErrorKind::runtime, "cannot examine checkpoint").file(directory).os_error(error.value());
  }
  if (status.type() != fs::file_type::directory) {
    throw refused("checkpoint is not a directory", directory)
        .expected("a directory with model.safetensors or its shards")
        .advice("give the directory that holds the file");
  }
}

// Says why a directory without index and model.safetensors is no checkpoint.
Error no_checkpoint(const std::string& directory) {
  if (is_present(inside(directory, "adapter_config.json"))) {
    return refused("directory holds an adapter, not a checkpoint", directory)
        .expected(fmt::format("{} or {}", kIndexName, kSingleName))
        .advice("give the directory of a whole model");
  }
  for (const auto* pickle : {"pytorch_model.bin", "pytorch_model.bin.index.json", "model.bin"}) {
    if (!is_present(inside(directory, pickle))) continue;
    return refused(fmt::format("checkpoint is a pickle ({})", pickle), directory)
        .expected(fmt::format("{} or {}", kIndexName, kSingleName))
        .advice("reading a pickle can run code: convert the checkpoint to safetensors");
  }
  std::error_code error;
  const bool empty = fs::is_empty(directory, error) && !error;
  return refused(empty ? "checkpoint directory is empty" : "directory holds no checkpoint", directory)
      .expected(fmt::format("{} or {}", kIndexName, kSingleName))
      .advice("check the path, or download the checkpoint again");
}

/// Collects shards into a catalogue and its fingerprint.
class CatalogueBuilder {
 public:
  explicit CatalogueBuilder(std::string directory) { catalogue_.directory = std::move(directory); }

  /// Adds the tensors for which `wanted(entry)` holds.
  template <class Wanted>
  void add_shard(const std::string& path, Wanted wanted) {
    auto file = read_header_file(path);
    const auto shard = base::narrow<std::uint32_t>(catalogue_.shards.size(), "number of shards");
    base::ByteWriter identity;  // sizes are part of it, so no two lists of shards give the same bytes
    identity.put(fs::path(path).filename().string());
    identity.put(file.file_size);
    identity.put(file.bytes);
    hash_.update(identity.bytes());
    catalogue_.shards.push_back({path, file.file_size, file.state});
    for (auto& entry : file.header.tensors) {
      if (!wanted(entry)) continue;
      TensorLocation location{shard, file.header.data_offset + entry.begin, entry.end - entry.begin, entry.dtype,
                              std::move(entry.shape)};
      catalogue_.tensors.emplace(std::move(entry.name), std::move(location));
    }
  }
  Catalogue finish() {
    catalogue_.fingerprint = hash_.finish();
    return std::move(catalogue_);
  }
  bool has(std::string_view tensor) const { return catalogue_.find(tensor) != nullptr; }

 private:
  Catalogue catalogue_;
  base::Sha256 hash_;
};

Catalogue read_sharded(const std::string& directory, const std::string& index_path, const base::Log& log) {
  const auto weight_map = parse_shard_index(base::read_text_file(index_path, kMaxHeaderBytes), index_path);
  std::map<std::string, std::vector<std::string_view>> tensors_of_shard;
  for (const auto& [tensor, shard] : weight_map) tensors_of_shard[shard].push_back(tensor);

  CatalogueBuilder builder(directory);
  for (const auto& [shard, listed] : tensors_of_shard) {
    const auto path = inside(directory, shard);
    if (!is_present(path)) {
      throw refused("shard is missing", path)
          .tensor(listed.front())
          .expected(fmt::format("the file that {} names", index_path))
          .advice("the download is incomplete: download the shard");
    }
    std::uint64_t unlisted = 0;
    std::string example;
    builder.add_shard(path, [&, &this_shard = shard](const TensorEntry& entry) {
      const auto found = weight_map.find(entry.name);
      if (found != weight_map.end() && found->second == this_shard) return true;
      if (unlisted++ == 0) example = entry.name;
      return false;
    });
    if (unlisted != 0) {
      log.warn(fmt::format("{} holds {} tensor{} that the index does not list there; left out, e.g. {}", path, unlisted,
                           unlisted == 1 ? "" : "s", example));
    }
    for (const auto tensor : listed) {
      if (builder.has(tensor)) continue;
      throw refused("tensor is not in the shard that the index names", path)
          .tensor(tensor)
          .expected(fmt::format("it there, as {} says", index_path))
          .advice("index and shards do not belong together: download the checkpoint again");
    }
  }
  return builder.finish();
}

Catalogue read_headers(const std::string& directory, const base::Log& log) {
  require_directory(directory);
  if (const auto index = inside(directory, kIndexName); is_present(index)) return read_sharded(directory, index, log);
  const auto single = inside(directory, kSingleName);
  if (!is_present(single)) throw no_checkpoint(directory);
  CatalogueBuilder builder(directory);
  builder.add_shard(single, [](const TensorEntry&) { return true; });
  return builder.finish();
}

using Tensors = std::map<std::string, TensorLocation, std::less<>>;

void serialise_tensors(const Tensors& tensors, base::ByteWriter& out) {
  out.put<std::uint64_t>(tensors.size());
  for (const auto& [name, location] : tensors) {
    out.put(name);
    out.put(location.shard);
    out.put(location.offset);
    out.put(location.bytes);
    out.put(location.dtype);
    out.put(location.shape);
  }
}

Tensors deserialise_tensors(base::ByteReader& in) {
  Tensors tensors;
  for (auto count = in.get<std::uint64_t>(); count > 0; --count) {
    auto name = in.get_string();
    TensorLocation location;
    location.shard = in.get<std::uint32_t>();
    location.offset = in.get<std::uint64_t>();
    location.bytes = in.get<std::uint64_t>();
    location.dtype = in.get<base::DType>();
    location.shape = in.get_vector<std::uint64_t>();
    tensors.emplace_hint(tensors.end(), std::move(name), std::move(location));
  }
  return tensors;
}

}  // namespace

const TensorLocation* Catalogue::find(std::string_view name) const {
  for (const auto* table : {&tensors, &experts}) {
    if (const auto found = table->find(name); found != table->end()) return &found->second;
  }
  return nullptr;
}

std::uint64_t Catalogue::total_bytes() const {
  std::uint64_t total = 0;
  for (const auto& [name, location] : tensors) total += location.bytes;
  return total;
}

void Catalogue::serialise(base::ByteWriter& out) const {
  out.put(directory);
  out.put<std::uint64_t>(shards.size());
  for (const auto& shard : shards) {
    out.put(shard.path);
    out.put(shard.bytes);
    out.put(shard.state);
  }
  serialise_tensors(tensors, out);
  serialise_tensors(experts, out);
  out.put(fingerprint);
  out.put(sample);
}

Catalogue Catalogue::deserialise(base::ByteReader& in) {
  Catalogue catalogue;
  catalogue.directory = in.get_string();
  for (auto count = in.get<std::uint64_t>(); count > 0; --count) {
    auto path = in.get_string();
    const auto bytes = in.get<std::uint64_t>();
    catalogue.shards.push_back({std::move(path), bytes, in.get<base::FileState>()});
  }
  catalogue.tensors = deserialise_tensors(in);
  catalogue.experts = deserialise_tensors(in);
  catalogue.fingerprint = in.get_string();
  catalogue.sample = in.get_string();
  return catalogue;
}

Catalogue read_checkpoint(const std::string& directory, const base::Log& log) {
  auto catalogue = read_headers(directory, log);
  catalogue.sample = sample_of(catalogue);
  add_expert_slices(catalogue);
  return catalogue;
}

Catalogue read_safetensors_file(const std::string& path) {
  CatalogueBuilder builder(fs::path(path).parent_path().string());
  builder.add_shard(path, [](const TensorEntry&) { return true; });
  return builder.finish();
}

}  // namespace winnow::checkpoint
