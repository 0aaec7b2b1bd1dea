// One adapter under several names: given twice, linked to, copied, or saved again at the end of its training.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "winnow/adapter/adapter.hpp"
#include "winnow/base/log.hpp"

namespace winnow::input {

/// Whether a directory is called checkpoint-N, a point of a training run.
bool is_checkpoint(const std::string& path);

/// Whether two directories are points of a training run that are both to be seen: checkpoints-N that do not lead to
/// one place. Such are kept though they hold the same.
bool are_separate_checkpoints(const std::string& path, const std::string& other);

/// An adapter among others: where it is, and what it does, the same of two if one judgement holds for both.
struct Held {
  std::string path;
  std::string content;
};

/// Of an adapter: its digest. One without, which is quarantined, has its own reason and is only the same as itself:
/// its path, with the SHA-256 of its weights if they were read.
std::string content_of(const std::string& digest, const std::string& path, const std::string& sha256);

/// Which of them each is judged as: itself, or one that holds the same. Of those the first stands for all; if some are
/// checkpoints-N, which say more, each of these stands for itself and the first for what is none. An audit and a merge
/// of its parts ask this alike.
std::vector<std::size_t> judged_as(std::span<const Held> adapters);

/// A directory with the content of an adapter that is judged in its place.
struct Copy {
  std::string path;
  std::size_t of = 0;  ///< among the adapters that are kept
};

/// By their adapters, then by path, each once.
void put_in_order(std::vector<Copy>& copies);

/// Whether two paths are the same but for how they are written. A link to a place is another path.
bool are_one_path(const std::string& path, const std::string& other);

/// Keeps one of those that hold the same weights with the same scales on the same modules, as judged_as() says. They
/// would weigh twice in a population. Returns the others, put in order: all but those that are found under their path
/// as it is. One warning tells of all.
std::vector<Copy> drop_repeated(std::vector<adapter::Adapter>& adapters, const base::Log& log);

}  // namespace winnow::input
