#include "winnow/slab/stream.hpp"

#include "winnow/base/narrow.hpp"

namespace winnow::slab {
namespace {

constexpr std::uint64_t kElementAlignment = 64;

std::uint64_t round_up(std::uint64_t value, std::uint64_t step) { return (value + step - 1) / step * step; }

}  // namespace

SlabStream::SlabStream(Reader& reader, const checkpoint::Catalogue& base, const checkpoint::Catalogue& aligned,
                       std::uint64_t resident_bytes)
    : reader_(reader), base_(base), aligned_(aligned), resident_bytes_(resident_bytes) {}

void SlabStream::open(const ModuleTask& task) {
  task_ = &task;
  slabs_ = split(task);
  resident_ = task.bytes() <= resident_bytes_;
  loaded_ = 0;
  const std::uint64_t rows = task.rows();
  const std::uint64_t rows_in_memory = resident_ || slabs_.empty() ? rows : slabs_.front().rows;
  const std::uint64_t row_bytes = rows == 0 ? 0 : task.bytes() / rows;
  buffer_.reserve(base::narrow<std::size_t>(rows_in_memory * row_bytes + 2 * kElementAlignment, "slab size"));
}

void SlabStream::for_each(const std::function<void(const Slab&)>& use, const std::function<void()>& between) {
  const std::uint64_t rows = task_->rows();
  if (rows == 0) return;
  const std::uint64_t base_row = task_->base.bytes / rows;
  const std::uint64_t aligned_row = task_->aligned.bytes / rows;
  for (std::size_t k = 0; k < slabs_.size(); ++k) {
    if (between) between();
    const auto range = slabs_[k];
    // Resident: the whole base tensor, then the whole aligned one. Otherwise the same with one slab's rows.
    const std::uint64_t rows_in_memory = resident_ ? rows : slabs_.front().rows;
    const std::uint64_t first = resident_ ? range.row_begin : 0;
    std::byte* const base_at = buffer_.data() + first * base_row;
    std::byte* const aligned_at =
        buffer_.data() + round_up(rows_in_memory * base_row, kElementAlignment) + first * aligned_row;
    if (!resident_ || k >= loaded_) {
      read(range, base_at, aligned_at);
      loaded_ = k + 1;
    }
    use(Slab{range.row_begin, range.rows, task_->columns(), base_at, aligned_at, task_->base.dtype,
             task_->aligned.dtype});
  }
}

void SlabStream::read(const SlabRange& range, std::byte* base_to, std::byte* aligned_to) {
  const auto fetch = [&](const checkpoint::Catalogue& catalogue, const checkpoint::TensorLocation& tensor,
                         std::byte* to) {
    const std::uint64_t row_bytes = tensor.bytes / task_->rows();
    reader_.read(catalogue.shards.at(tensor.shard).path, tensor.offset + range.row_begin * row_bytes,
                 {to, base::narrow<std::size_t>(range.rows * row_bytes, "slab size")}, task_->weight);
  };
  fetch(base_, task_->base, base_to);
  fetch(aligned_, task_->aligned, aligned_to);
}

}  // namespace winnow::slab
