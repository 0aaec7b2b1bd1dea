// Loaded into the program before its libraries (LD_PRELOAD): disturbs it at a moment that is counted in its own calls,
// not read from a clock. For tests alone; the program knows nothing of it.
//
//   WINNOW_DISTURB        rules "RANK CALL PATTERN N ACTION [VALUE]", separated by semicolons; RANK and CALL may be *
//   WINNOW_DISTURB_ROOT   only files below this directory count; PATTERN (fnmatch) is of the path from there
//   WINNOW_DISTURB_NOTES  a directory for what happens: pid.RANK, hit.RULE.RANK; a held call goes on once `go` is there
//   WINNOW_DISTURB_LOG    1: every call that a rule could name, in log.RANK
//
// CALL: open read write rename sync map list look mkdir resize, or memory for blocks from 32 KiB, whose path is their
// size. N: the occurrence on which it acts; with + behind it, and all after that. ACTION: fail ERRNO | short | end |
// delay MILLISECONDS | hang | hold | kill | stop | signal NUMBER
#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdarg>
#include <cstdlib>
#include <deque>
#include <filesystem>
#include <new>
#include <sstream>
#include <string>
#include <string_view>
#include <thread>

namespace {

constexpr std::size_t kLargeBlock = 32 << 10;

/// The function that would have been called.
template <class Function>
Function* next(const char* name, Function*) {
  return reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
}

std::string variable(const char* name) {
  const char* text = std::getenv(name);
  return text == nullptr ? std::string() : text;
}

struct Rule {
  std::string rank, call, pattern, action;
  long at = 1, value = 0;
  bool repeats = false;
  std::atomic<long> seen{0};

  bool holds(const std::string& of_rank, std::string_view of_call, const std::string& path) const {
    return (rank == "*" || rank == of_rank) && (call == "*" || call == of_call) &&
           fnmatch(pattern.c_str(), path.c_str(), 0) == 0;
  }
};

/// What a wrapper does instead of, or with the result of, the call itself.
struct Verdict {
  int error = 0;            ///< fail with it
  bool half = false;        ///< less than was asked for
  bool at_the_end = false;  ///< as if the file ended here
};

class Disturbance {
 public:
  Disturbance() {
    if (!notes_.empty()) note("pid." + rank_, std::to_string(getpid()));
    if (!notes_.empty() && !variable("WINNOW_DISTURB_LOG").empty()) {
      log_ = create(notes_ + "/log." + rank_, O_APPEND);
    }
    std::istringstream all(variable("WINNOW_DISTURB"));
    for (std::string text; std::getline(all, text, ';');) {
      std::istringstream in(text);
      auto& rule = rules_.emplace_back();
      std::string at;
      in >> rule.rank >> rule.call >> rule.pattern >> at >> rule.action >> rule.value;
      rule.repeats = at.ends_with('+');
      rule.at = std::atol(at.c_str());
    }
  }

  Verdict call(std::string_view name, const std::string& path) {
    if (rules_.empty() && log_ < 0) return {};
    const int error_number = errno;
    const auto verdict = decide(name, path);
    errno = error_number;
    return verdict;
  }

  /// Empty if the file is not below the root.
  std::string inside(const std::string& path) const {
    if (root_.empty() || !path.starts_with(root_) || path.size() <= root_.size()) return {};
    return path.substr(root_.size());
  }

 private:
  Verdict decide(std::string_view name, const std::string& path) {
    if (log_ >= 0) {
      const auto line = std::string(name).append(" ").append(path).append("\n");
      [[maybe_unused]] const auto written = next("write", ::write)(log_, line.data(), line.size());
    }
    Verdict verdict;
    for (std::size_t k = 0; k < rules_.size(); ++k) {
      auto& rule = rules_[k];
      if (!rule.holds(rank_, name, path)) continue;
      const long seen = ++rule.seen;
      if (rule.repeats ? seen < rule.at : seen != rule.at) continue;
      if (seen == rule.at) note("hit." + std::to_string(k) + "." + rank_, std::string(name) + " " + path);
      act(rule, verdict);
    }
    return verdict;
  }

  void act(const Rule& rule, Verdict& verdict) const {
    if (rule.action == "fail") verdict.error = static_cast<int>(rule.value);
    if (rule.action == "short") verdict.half = true;
    if (rule.action == "end") verdict.at_the_end = true;
    if (rule.action == "delay") std::this_thread::sleep_for(std::chrono::milliseconds(rule.value));
    if (rule.action == "kill") kill(getpid(), SIGKILL);
    if (rule.action == "stop") kill(getpid(), SIGSTOP);
    if (rule.action == "signal") kill(getpid(), static_cast<int>(rule.value));
    const bool hangs = rule.action == "hang";
    while (hangs || (rule.action == "hold" && access((notes_ + "/go").c_str(), F_OK) != 0)) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
  }

  /// Whole or not at all for those that wait for it.
  void note(const std::string& name, const std::string& text) const {
    const auto hidden = notes_ + "/." + name;
    const int file = create(hidden, O_TRUNC);
    [[maybe_unused]] const auto written = next("write", ::write)(file, text.data(), text.size());
    ::close(file);
    next("rename", ::rename)(hidden.c_str(), (notes_ + "/" + name).c_str());
  }
  static int create(const std::string& path, int flags) {
    return next("open", ::open)(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | flags, 0666);
  }

  static std::string own_rank() {
    for (const char* name : {"OMPI_COMM_WORLD_RANK", "PMIX_RANK"}) {  // of mpirun, of srun
      if (const auto rank = variable(name); !rank.empty()) return rank;
    }
    return "0";
  }

  std::string rank_ = own_rank();
  std::string root_ = variable("WINNOW_DISTURB_ROOT").empty() ? "" : variable("WINNOW_DISTURB_ROOT") + "/";
  std::string notes_ = variable("WINNOW_DISTURB_NOTES");
  std::deque<Rule> rules_;
  int log_ = -1;
};

/// Never ended: threads may still call when the program ends.
Disturbance& disturbance() {
  static auto* const only = new Disturbance;
  return *only;
}
/// What a program that opens nothing has to tell as well: that it runs.
[[gnu::constructor]] void begin() { disturbance(); }

Verdict on(std::string_view call, const std::string& path) {
  const auto inside = disturbance().inside(path);
  return inside.empty() ? Verdict{} : disturbance().call(call, inside);
}
std::string link_target(const std::string& link) {
  char text[4096];
  const auto length = ::readlink(link.c_str(), text, sizeof text);
  return length > 0 ? std::string(text, static_cast<std::size_t>(length)) : std::string();
}
std::string opened(int descriptor) { return link_target("/proc/self/fd/" + std::to_string(descriptor)); }
std::string named(const char* path, int directory = AT_FDCWD) {
  const std::filesystem::path given(path == nullptr ? "" : path);
  if (given.is_absolute()) return given.lexically_normal().string();
  const auto from = directory == AT_FDCWD ? link_target("/proc/self/cwd") : opened(directory);
  return (from / given).lexically_normal().string();
}

template <class Result>
Result failed(const Verdict& verdict, Result result) {
  errno = verdict.error;
  return result;
}

mode_t mode_of(int flags, va_list arguments) {
  return (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(arguments, mode_t) : 0;
}

template <class Read>
ssize_t read_disturbed(int descriptor, Read read) {
  const auto verdict = on("read", opened(descriptor));
  if (verdict.error != 0) return failed(verdict, ssize_t{-1});
  if (verdict.at_the_end) return 0;
  const ssize_t count = read();
  return verdict.half && count > 1 ? count / 2 : count;
}

template <class Write>
ssize_t write_disturbed(int descriptor, std::size_t size, Write write) {
  const auto verdict = on("write", opened(descriptor));
  if (verdict.error != 0) return failed(verdict, ssize_t{-1});
  return write(verdict.half && size > 1 ? size / 2 : size);
}

template <class Call>
int named_disturbed(std::string_view name, const std::string& path, Call call) {
  const auto verdict = on(name, path);
  return verdict.error != 0 ? failed(verdict, -1) : call();
}

void refuse_large_blocks(std::size_t size) {
  if (size >= kLargeBlock && disturbance().call("memory", std::to_string(size)).error != 0) throw std::bad_alloc();
}

}  // namespace

extern "C" {

int open(const char* path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const auto mode = mode_of(flags, arguments);
  va_end(arguments);
  return named_disturbed("open", named(path), [&] { return next("open", open)(path, flags, mode); });
}
int open64(const char* path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const auto mode = mode_of(flags, arguments);
  va_end(arguments);
  return named_disturbed("open", named(path), [&] { return next("open64", open64)(path, flags, mode); });
}
int openat(int directory, const char* path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const auto mode = mode_of(flags, arguments);
  va_end(arguments);
  return named_disturbed("open", named(path, directory),
                         [&] { return next("openat", openat)(directory, path, flags, mode); });
}
int openat64(int directory, const char* path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const auto mode = mode_of(flags, arguments);
  va_end(arguments);
  return named_disturbed("open", named(path, directory),
                         [&] { return next("openat64", openat64)(directory, path, flags, mode); });
}

DIR* opendir(const char* path) {
  const auto verdict = on("list", named(path));
  return verdict.error != 0 ? failed<DIR*>(verdict, nullptr) : next("opendir", opendir)(path);
}

ssize_t read(int descriptor, void* to, std::size_t size) {
  return read_disturbed(descriptor, [&] { return next("read", read)(descriptor, to, size); });
}
ssize_t pread(int descriptor, void* to, std::size_t size, off_t offset) {
  return read_disturbed(descriptor, [&] { return next("pread", pread)(descriptor, to, size, offset); });
}
ssize_t pread64(int descriptor, void* to, std::size_t size, off64_t offset) {
  return read_disturbed(descriptor, [&] { return next("pread64", pread64)(descriptor, to, size, offset); });
}

ssize_t write(int descriptor, const void* from, std::size_t size) {
  return write_disturbed(descriptor, size,
                         [&](std::size_t count) { return next("write", write)(descriptor, from, count); });
}
ssize_t pwrite64(int descriptor, const void* from, std::size_t size, off64_t offset) {
  return write_disturbed(
      descriptor, size, [&](std::size_t count) { return next("pwrite64", pwrite64)(descriptor, from, count, offset); });
}

int rename(const char* from, const char* to) noexcept {
  return named_disturbed("rename", named(to), [&] { return next("rename", rename)(from, to); });
}
int renameat2(int from_directory, const char* from, int to_directory, const char* to, unsigned flags) noexcept {
  return named_disturbed("rename", named(to, to_directory),
                         [&] { return next("renameat2", renameat2)(from_directory, from, to_directory, to, flags); });
}

int fsync(int descriptor) {
  return named_disturbed("sync", opened(descriptor), [&] { return next("fsync", fsync)(descriptor); });
}
int fdatasync(int descriptor) {
  return named_disturbed("sync", opened(descriptor), [&] { return next("fdatasync", fdatasync)(descriptor); });
}
int ftruncate(int descriptor, off_t size) noexcept {
  return named_disturbed("resize", opened(descriptor), [&] { return next("ftruncate", ftruncate)(descriptor, size); });
}

int mkdir(const char* path, mode_t mode) noexcept {
  return named_disturbed("mkdir", named(path), [&] { return next("mkdir", mkdir)(path, mode); });
}
int stat(const char* path, struct stat* status) noexcept {
  return named_disturbed("look", named(path),
                         [&] { return next<int(const char*, struct stat*)>("stat", nullptr)(path, status); });
}
int lstat(const char* path, struct stat* status) noexcept {
  return named_disturbed("look", named(path),
                         [&] { return next<int(const char*, struct stat*)>("lstat", nullptr)(path, status); });
}
int fstat(int descriptor, struct stat* status) noexcept {
  return named_disturbed("look", opened(descriptor),
                         [&] { return next<int(int, struct stat*)>("fstat", nullptr)(descriptor, status); });
}

void* mmap(void* at, std::size_t size, int protection, int flags, int descriptor, off_t offset) noexcept {
  const auto verdict = descriptor < 0 ? Verdict{} : on("map", opened(descriptor));
  return verdict.error != 0 ? failed(verdict, MAP_FAILED)
                            : next("mmap", mmap)(at, size, protection, flags, descriptor, offset);
}

}  // extern "C"

// Not malloc: libraries in C, that of MPI above all, need not survive what the program must. What is looked up is kept:
// these are called often.
void* operator new(std::size_t size) {
  static auto* const rest = next<void*(std::size_t)>("_Znwm", nullptr);
  refuse_large_blocks(size);
  return rest(size);
}
void* operator new[](std::size_t size) {
  static auto* const rest = next<void*(std::size_t)>("_Znam", nullptr);
  refuse_large_blocks(size);
  return rest(size);
}
void* operator new(std::size_t size, std::align_val_t alignment) {
  static auto* const rest = next<void*(std::size_t, std::align_val_t)>("_ZnwmSt11align_val_t", nullptr);
  refuse_large_blocks(size);
  return rest(size, alignment);
}
