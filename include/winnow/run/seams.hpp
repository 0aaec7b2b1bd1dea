// What an audit reads and computes through, replaced in tests: to inject faults, and because they have no GPU.
#pragma once

#include <functional>
#include <memory>

#include "winnow/comm/nccl.hpp"
#include "winnow/compute/alignment_pass.hpp"
#include "winnow/slab/reader.hpp"

namespace winnow::run {

struct Seams {
  /// How a rank reads; called once for each thread that does, on it.
  std::function<std::unique_ptr<slab::Reader>()> make_reader = [] {
    return slab::make_reader(slab::IoMode::automatic);
  };
  /// The same if slabs go on to a GPU, which copies from memory of our own: nothing is mapped.
  std::function<std::unique_ptr<slab::Reader>()> make_copying_reader = [] {
    return slab::make_reader(slab::IoMode::automatic, false);
  };
  std::function<std::unique_ptr<compute::AlignmentPass>(const compute::PassOptions&)> make_pass =
      [](const compute::PassOptions& pass) { return compute::make_alignment_pass(pass); };
  std::function<const comm::NcclApi&()> nccl = comm::nccl_library;
};

}  // namespace winnow::run
