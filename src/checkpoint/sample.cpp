#include "sample.hpp"

#include <fcntl.h>

#include <algorithm>
#include <span>
#include <utility>
#include <vector>

#include "winnow/base/file.hpp"
#include "winnow/base/parallel.hpp"
#include "winnow/base/sha256.hpp"

namespace winnow::checkpoint {
namespace {

/// Reading here and there is waiting.
constexpr int kThreads = 8;

using Tensor = std::map<std::string, TensorLocation, std::less<>>::const_iterator;

/// The tensors of one shard that are sampled, and where each stands among all.
using Places = std::vector<std::pair<std::size_t, Tensor>>;

std::string middle_of(const base::File& file, const TensorLocation& tensor) {
  const auto begin = tensor.bytes <= kSampleBytes ? 0 : (tensor.bytes - kSampleBytes) / 2 / kSampleBytes * kSampleBytes;
  std::string bytes(std::min(tensor.bytes, kSampleBytes), '\0');
  file.read_exact(tensor.offset + begin, std::as_writable_bytes(std::span(bytes)));
  return bytes;
}

}  // namespace

std::string sample_of(const Catalogue& catalogue) {
  const std::size_t tensors = catalogue.tensors.size(), sampled = std::min(tensors, kMostSampled);
  std::vector<Places> by_shard(catalogue.shards.size());
  std::vector<std::string> samples(sampled);
  std::size_t number = 0, taken = 0;
  for (auto tensor = catalogue.tensors.begin(); tensor != catalogue.tensors.end(); ++tensor, ++number) {
    if (taken == sampled || number < taken * tensors / sampled) continue;
    by_shard.at(tensor->second.shard).emplace_back(taken++, tensor);
  }
  for (std::size_t shard = 0; shard < by_shard.size(); ++shard) {
    const auto& places = by_shard[shard];
    if (places.empty()) continue;
    const auto file = base::File::open_for_reading(catalogue.shards[shard].path);
    ::posix_fadvise(file.descriptor(), 0, 0, POSIX_FADV_RANDOM);  // what lies around them is not wanted
    base::parallel_blocks(places.size(), kThreads, [&](std::size_t k, int) {
      const auto& [place, tensor] = places[k];
      samples[place] = tensor->first + '\0' + middle_of(file, tensor->second);
    });
  }
  base::Sha256 hash;
  for (const auto& sample : samples) hash.update(sample);
  return hash.finish();
}

}  // namespace winnow::checkpoint
