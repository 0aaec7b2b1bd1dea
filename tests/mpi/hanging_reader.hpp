// A reader for storage that hangs: of files with `part` in their path nothing comes until `over` says that it may.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "winnow/slab/reader.hpp"

namespace winnow::test {

class HangingReader final : public slab::Reader {
 public:
  HangingReader(std::string part, std::function<bool()> over) : part_(std::move(part)), over_(std::move(over)) {}
  void read(const std::string& path, std::uint64_t offset, std::span<std::byte> destination,
            std::string_view tensor) override {
    while (path.find(part_) != std::string::npos && !over_()) {
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
    }
    inner_->read(path, offset, destination, tensor);
  }

 private:
  const std::string part_;
  const std::function<bool()> over_;
  std::unique_ptr<slab::Reader> inner_ = slab::make_reader(slab::IoMode::buffered);
};

}  // namespace winnow::test
