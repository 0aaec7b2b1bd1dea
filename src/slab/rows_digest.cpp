#include "winnow/slab/rows_digest.hpp"

#include "winnow/base/error.hpp"
#include "winnow/base/narrow.hpp"

namespace winnow::slab {

checkpoint::TensorDigest RowsDigest::of(const std::string& file, const std::string& tensor, const StoredRows& rows) {
  const auto bytes = base::narrow<std::size_t>(rows.row_bytes * rows.rows, "rows of a weight");
  memory_.reserve(room_for(bytes));
  const auto loaded =
      reader_->load(file, rows.offset + rows.row * rows.row_bytes, bytes, {memory_.data(), room_for(bytes)}, tensor);
  checkpoint::TensorDigest digest;
  digest.add_rows(rows.row, rows.rows, rows.row_bytes, loaded.data);
  if (loaded.mapping.broken()) {
    throw base::Error(base::ErrorKind::runtime, "mapped file cannot be read").file(file).tensor(tensor);
  }
  return digest;
}

}  // namespace winnow::slab
