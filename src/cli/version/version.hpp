#pragma once

#include <string>
#include <string_view>

namespace winnow::cli {

// What this program was built from and with, for `--version` and for the report's provenance attributes.
// Every string is plain ASCII without line breaks; "none" if a part was not found or not compiled in.
struct BuildVersion {
  std::string_view number;      // e.g. "0.1.0"
  std::string_view git_sha;     // 12 hex digits, followed by "-modified" for a changed work tree; "unknown" outside git
  std::string_view build_type;  // e.g. "Release"
  std::string_view compiler;    // e.g. "GNU 12.2.0"
  std::string_view sanitizers;  // e.g. "address,undefined", or "none"
  std::string_view libtorch;    // version compiled against, e.g. "1.13.0"
  std::string_view hdf5;        // version compiled against
  std::string_view mpi;         // MPI standard compiled against, e.g. "3.1"
  std::string_view nccl;        // version compiled against; another may be loaded
  std::string_view cuda;        // of the toolkit, e.g. "13.0.88"
};

[[nodiscard]] const BuildVersion& build_version();

// Several lines, what `winnow --version` prints: the first is "winnow NUMBER (GIT_SHA)", the others name the build
// features.
[[nodiscard]] std::string version_text();

}  // namespace winnow::cli
