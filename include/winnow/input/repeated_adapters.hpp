// One adapter under several names: given twice, linked to, copied, or saved again at the end of its training.
#pragma once

#include <vector>

#include "winnow/adapter/adapter.hpp"
#include "winnow/base/log.hpp"

namespace winnow::input {

/// Whether two directories are points of a training run that are both to be seen: checkpoints-N that do not lead to
/// one place. Such are kept though they hold the same.
bool are_separate_checkpoints(const std::string& path, const std::string& other);

/// Keeps one of those that hold the same weights with the same scales on the same modules: the first, or the first that
/// is a checkpoint-N, which says more. They would weigh twice in a population. One warning tells of all.
void drop_repeated(std::vector<adapter::Adapter>& adapters, const base::Log& log);

}  // namespace winnow::input
