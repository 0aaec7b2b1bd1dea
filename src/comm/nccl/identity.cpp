#include <fmt/format.h>
#include <unistd.h>

#include <cstdlib>
#include <set>
#include <string_view>

#include "winnow/comm/nccl.hpp"

namespace winnow::comm {

std::string nccl_version(const NcclApi& api) {
  int version = 0;
  if (api.get_version(&version) != NcclApi::kSuccess) return "unknown";
  return fmt::format("{}.{}.{}", version / 10000, version % 10000 / 100, version % 100);
}

std::map<std::string, std::string> nccl_environment() {
  constexpr std::string_view kPrefix = "NCCL_";
  std::map<std::string, std::string> found;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text(*entry);
    const auto equals = text.find('=');
    if (text.starts_with(kPrefix) && equals != std::string_view::npos) {
      found.emplace(text.substr(0, equals), text.substr(equals + 1));
    }
  }
  return found;
}

std::string gpu_identity(const std::string& device) {
  if (const char* host = std::getenv("NCCL_HOSTID")) return fmt::format("{} {}", host, device);
  char host[256]{};
  gethostname(host, sizeof(host) - 1);
  return fmt::format("{} {}", host, device);
}

bool all_different(Communicator& team, const std::string& identity) {
  const auto all = team.gather(identity, 0);
  const std::set<std::string> distinct(all.begin(), all.end());
  return team.maximum(team.rank() == 0 && distinct.size() != all.size() ? 1 : 0) == 0;
}

}  // namespace winnow::comm
