#include "winnow/cache/score_pack.hpp"

#include <fmt/format.h>

#include <filesystem>
#include <span>
#include <system_error>
#include <utility>

#include "winnow/base/bytes.hpp"
#include "winnow/base/directory.hpp"
#include "winnow/base/error.hpp"
#include "winnow/base/sha256.hpp"

namespace winnow::cache {
namespace {

namespace fs = std::filesystem;
using base::ByteReader;
using base::ByteWriter;
using base::Error;
using base::ErrorKind;
using score::LayerScore;
using score::Scores;

constexpr std::string_view kMagic = "winnow scores 2\n", kPrefix = "scores-", kSuffix = ".pack";
constexpr std::size_t kDigestDigits = 64, kNameDigits = 16;
constexpr std::size_t kHeadBytes = kMagic.size() + kDigestDigits + 1 + sizeof(std::uint64_t);

base::Hash128 hash_of(const std::string& bytes) { return base::xxh3(std::as_bytes(std::span(bytes))); }

std::string read_bytes(const base::File& file, std::uint64_t offset, std::uint64_t count) {
  std::string bytes(count, '\0');
  file.read_exact(offset, std::as_writable_bytes(std::span(bytes)));
  return bytes;
}

std::string scores_of(const PackedAdapter& adapter) {
  Scores scores;
  scores.layers = adapter.layers;
  ByteWriter out;
  scores.serialise(out);
  return std::move(out).bytes();
}

}  // namespace

void write_pack(const ScorePack& pack, const std::string& directory) {
  ByteWriter index;
  index.put(pack.settings);
  index.put<std::uint64_t>(pack.weight_files.size());
  for (const auto& [name, state] : pack.weight_files) {
    index.put(name);
    index.put(state);
  }
  Scores modules;
  for (const auto& task : pack.tasks) modules.modules.push_back(task.score);
  modules.serialise(index);
  for (const auto& task : pack.tasks) index.put(task.name);
  index.put<std::uint64_t>(pack.adapters.size());
  std::uint64_t offset = 0;
  for (const auto& adapter : pack.adapters) {
    const auto scores = scores_of(adapter);
    index.put(adapter.key);
    index.put(offset);
    index.put<std::uint64_t>(scores.size());
    index.put(hash_of(scores));
    offset += scores.size();
  }
  const auto digest = base::sha256_hex(index.bytes());
  ByteWriter length;
  length.put<std::uint64_t>(index.bytes().size());
  base::AtomicFile file(
      (fs::path(directory) / fmt::format("{}{}{}", kPrefix, digest.substr(0, kNameDigits), kSuffix)).string());
  file.append(kMagic);
  file.append(digest + "\n");
  file.append(length.bytes());
  file.append(index.bytes());
  for (const auto& adapter : pack.adapters) file.append(scores_of(adapter));
  file.commit();
}

std::optional<PackReader> PackReader::open(const std::string& path, std::string_view settings) {
  PackReader pack(base::File::open_for_reading(path));
  const auto size = pack.file_.size();
  if (size < kHeadBytes) return std::nullopt;
  const auto head = read_bytes(pack.file_, 0, kHeadBytes);
  const auto digest = head.substr(kMagic.size(), kDigestDigits);
  const auto length =
      ByteReader(std::string_view(head).substr(kHeadBytes - sizeof(std::uint64_t))).get<std::uint64_t>();
  const bool ends_line = head[kMagic.size() + kDigestDigits] == '\n';
  if (!head.starts_with(kMagic) || !ends_line || length > size - kHeadBytes) return std::nullopt;
  const auto index = read_bytes(pack.file_, kHeadBytes, length);
  if (base::sha256_hex(index) != digest) return std::nullopt;
  ByteReader in(index);
  if (in.get_string() != settings) return std::nullopt;
  pack.scores_begin_ = kHeadBytes + length;
  pack.parse(std::string_view(index).substr(sizeof(std::uint64_t) + settings.size()));
  return pack;
}

void PackReader::parse(std::string_view index) {
  ByteReader in(index);
  for (auto count = in.get<std::uint64_t>(); count > 0; --count) {
    auto name = in.get_string();
    weight_files_[std::move(name)] = in.get<base::FileState>();
  }
  Scores modules;
  modules.append(in);
  for (auto& score : modules.modules) tasks_.push_back({in.get_string(), std::move(score)});
  for (auto count = in.get<std::uint64_t>(); count > 0; --count) {
    auto key = in.get_string();
    auto& place = places_[std::move(key)];
    place.offset = in.get<std::uint64_t>();
    place.bytes = in.get<std::uint64_t>();
    place.hash = in.get<base::Hash128>();
  }
}

std::vector<LayerScore> PackReader::layers_of(const std::string& key) const {
  const auto found = places_.find(key);
  if (found == places_.end()) return {};
  const auto& place = found->second;
  const auto room = file_.size() - scores_begin_;
  if (place.offset > room || place.bytes > room - place.offset) return {};  // cut short
  const auto bytes = read_bytes(file_, scores_begin_ + place.offset, place.bytes);
  if (hash_of(bytes) != place.hash) return {};
  Scores scores;
  ByteReader in(bytes);
  scores.append(in);
  std::erase_if(scores.layers, [&](const LayerScore& layer) { return layer.module >= tasks_.size(); });
  return std::move(scores.layers);
}

std::vector<std::string> find_packs(const std::string& directory) {
  std::vector<std::string> packs;
  std::error_code error;
  for (const auto& entry : base::entries_of(directory, error)) {
    const auto name = entry.path().filename().string();
    if (name.starts_with(kPrefix) && name.ends_with(kSuffix)) packs.push_back(entry.path().string());
  }
  if (error && error != std::errc::no_such_file_or_directory) {
    throw Error(ErrorKind::runtime, "cannot read the directory of --cache").file(directory).os_error(error.value());
  }
  return packs;
}

}  // namespace winnow::cache
