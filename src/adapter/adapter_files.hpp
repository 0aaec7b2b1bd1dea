// The two files of an adapter. Private to src/adapter.
#pragma once

#include <string>

namespace winnow::adapter {

struct AdapterFiles {
  std::string config, weights;
};

/// Their paths in an adapter's directory. Throws Error(invalid_input) if one is missing or a pickle stands in its
/// place, Error(runtime) for what cannot be looked at. Opening them refuses what is no plain file, as a pipe that
/// nobody writes to.
AdapterFiles find_files(const std::string& directory);

}  // namespace winnow::adapter
