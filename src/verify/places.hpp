// Which of the directories that are there now is which adapter of the report. Private to src/verify.
#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace winnow::verify {

/// For each of `directories` the position in `recorded`, the paths of then, of the one that it is; each once.
///
/// Names come first: of two adapters that have changed places each is found to have changed. The more of its last
/// components a directory shares with a recorded path, the sooner it is that one; among several that share as many it
/// is one that `has_content_of(directory, recorded)`. What shares no name is matched by content.
std::vector<std::optional<std::size_t>> match_places(
    const std::vector<std::string>& directories, const std::vector<std::string>& recorded,
    const std::function<bool(std::size_t directory, std::size_t recorded)>& has_content_of);

}  // namespace winnow::verify
