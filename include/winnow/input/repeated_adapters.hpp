// One adapter under several names: given twice, linked to, copied, or saved again at the end of its training.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "winnow/adapter/adapter.hpp"
#include "winnow/base/log.hpp"

namespace winnow::input {

/// Whether two directories are points of a training run that are both to be seen: checkpoints-N that do not lead to
/// one place. Such are kept though they hold the same.
bool are_separate_checkpoints(const std::string& path, const std::string& other);

/// A directory with the content of an adapter that is judged in its place.
struct Copy {
  std::string path;
  std::size_t of = 0;  ///< among the adapters that are kept
};

/// Whether two paths are the same but for how they are written. A link to a place is another path.
bool are_one_path(const std::string& path, const std::string& other);

/// Keeps one of those that hold the same weights with the same scales on the same modules: the first, or the first that
/// is a checkpoint-N, which says more. They would weigh twice in a population. Returns the others, in the order given:
/// all but those that are found under their path as it is. One warning tells of all.
std::vector<Copy> drop_repeated(std::vector<adapter::Adapter>& adapters, const base::Log& log);

}  // namespace winnow::input
