#include "progress.hpp"

#include <algorithm>

#include "winnow/base/file.hpp"

namespace winnow::comm {

Progress::Usage Progress::usage() {
  rusage all{};
  getrusage(RUSAGE_SELF, &all);
  const auto time = [](const timeval& value) {
    return std::chrono::seconds(value.tv_sec) + std::chrono::microseconds(value.tv_usec);
  };
  return {time(all.ru_utime) + time(all.ru_stime),
          static_cast<std::uint64_t>(all.ru_inblock + all.ru_oublock + all.ru_majflt) + base::finished_file_calls()};
}

bool Progress::made(std::chrono::steady_clock::time_point now) {
  const auto seen = usage();
  const std::chrono::duration<double> least =
      std::max<std::chrono::duration<double>>(kLeastTime, kLeastShare * (now - marked_));
  if (seen.transfers == mark_.transfers && seen.processor - mark_.processor < least) return false;
  mark_ = seen;
  marked_ = now;
  return true;
}

void Progress::restart(std::chrono::steady_clock::time_point now) {
  mark_ = usage();
  marked_ = now;
}

}  // namespace winnow::comm
