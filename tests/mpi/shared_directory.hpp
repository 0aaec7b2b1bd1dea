// A directory all ranks share: made by the coordinator, named to the others.
#pragma once

#include <memory>
#include <string>

#include "base/temporary_directory.hpp"
#include "mpi/mpi_main.hpp"

namespace winnow::test {

class SharedDirectory {
 public:
  SharedDirectory() {
    if (world().is_coordinator()) own_ = std::make_unique<TemporaryDirectory>();
    path_ = own_ ? own_->path() : "";
    world().broadcast(path_, comm::kCoordinator);
  }
  ~SharedDirectory() { world().barrier(); }
  SharedDirectory(const SharedDirectory&) = delete;
  SharedDirectory& operator=(const SharedDirectory&) = delete;
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::unique_ptr<TemporaryDirectory> own_;
  std::string path_;
};

}  // namespace winnow::test
