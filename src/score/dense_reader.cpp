#include "winnow/score/dense_reader.hpp"

#include <algorithm>
#include <utility>

#include "winnow/adapter/adapter.hpp"
#include "winnow/base/error.hpp"
#include "winnow/base/parallel.hpp"

namespace winnow::score {

DenseReader::DenseReader(std::size_t adapters, std::function<std::unique_ptr<slab::Reader>()> make_reader, int threads)
    : make_reader_(std::move(make_reader)),
      readers_(static_cast<std::size_t>(std::max(threads, 1))),
      faults_(adapters) {}

void DenseReader::read(const std::vector<Piece>& pieces) {
  // An adapter is always read by the same reader, which then has its file open.
  const auto reader_of = [&](std::size_t piece) {
    return (pieces[piece].adapter ? *pieces[piece].adapter : piece) % readers_.size();
  };
  base::parallel_blocks(readers_.size(), static_cast<int>(readers_.size()), [&](std::size_t reader, int) {
    for (std::size_t piece = 0; piece < pieces.size(); ++piece) {
      if (reader_of(piece) == reader) read(reader, pieces[piece]);
    }
  });
}

void DenseReader::read(std::size_t reader, const Piece& piece) {
  if (piece.adapter && !faults_[*piece.adapter].empty()) return;
  auto& own = readers_[reader];
  if (!own) own = make_reader_();
  try {
    own->read(*piece.file, piece.offset, piece.to, piece.name);
  } catch (const base::Error& error) {
    if (!piece.adapter || !adapter::concerns_adapter_alone(error)) throw;
    faults_[*piece.adapter] = error.what();  // of this reader's adapters, so of this thread alone
  }
}

std::uint64_t DenseReader::bytes_read() const {
  std::uint64_t bytes = 0;
  for (const auto& reader : readers_) bytes += reader ? reader->bytes_read() : 0;
  return bytes;
}

}  // namespace winnow::score
