// What the storage itself gives: reads byte ranges with O_DIRECT and throws the bytes away. The yardstick of the cold
// audit in jobs/bench.sh, so it shares no code with winnow's own readers.
//
//     raw_reader [--threads N] [--chunk BYTES] < RANGES       a range a line: offset, bytes, path, separated by single
//     spaces
//
// Prints one line of JSON: bytes asked for, bytes transferred (ranges rounded to blocks), seconds, threads, chunk.
// Exit codes: 1 a read failed (with O_DIRECT refused among the reasons), 2 usage.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <iostream>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace {

constexpr std::uint64_t kBlock = 4096;  // offsets, lengths and addresses of direct reads are multiples of it

struct Usage : std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct Settings {
  std::uint64_t threads = 1;
  std::uint64_t chunk = std::uint64_t{8} << 20;
};

/// One request: `bytes` from `offset`, both multiples of kBlock; the file may end `needed` bytes into it.
struct Request {
  std::size_t file;
  std::uint64_t offset, bytes, needed;
};

struct Plan {
  std::vector<std::string> files;
  std::vector<Request> requests;
  std::uint64_t wanted_bytes = 0;
};

std::uint64_t number(std::string_view text, std::string_view what) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) {
    throw Usage(std::string(what) + " is not a number: " + std::string(text));
  }
  return value;
}

Settings parse(const std::vector<std::string_view>& arguments) {
  Settings settings;
  for (std::size_t k = 0; k < arguments.size(); k += 2) {
    if (k + 1 == arguments.size()) throw Usage(std::string(arguments[k]) + " needs a value");
    const auto value = number(arguments[k + 1], arguments[k]);
    if (arguments[k] == "--threads" && value > 0 && value <= 1024) {
      settings.threads = value;
    } else if (arguments[k] == "--chunk" && value > 0 && value % kBlock == 0) {
      settings.chunk = value;
    } else {
      throw Usage("raw_reader [--threads 1 to 1024] [--chunk BYTES, a multiple of 4096] < ranges");
    }
  }
  return settings;
}

/// Cuts the ranges into aligned requests of a chunk at most, in the order they came in.
Plan read_plan(std::istream& in, std::uint64_t chunk) {
  Plan plan;
  std::map<std::string, std::size_t> known;
  for (std::string line; std::getline(in, line);) {
    const auto first = line.find(' ');
    const auto second = first == std::string::npos ? first : line.find(' ', first + 1);
    if (second == std::string::npos) throw Usage("a range is offset, bytes and path, not: " + line);
    const auto offset = number(std::string_view(line).substr(0, first), "an offset");
    const auto bytes = number(std::string_view(line).substr(first + 1, second - first - 1), "a size");
    const auto path = line.substr(second + 1);
    const auto file = known.try_emplace(path, known.size()).first->second;
    if (file == plan.files.size()) plan.files.push_back(path);
    plan.wanted_bytes += bytes;
    const auto end = offset + bytes;
    for (auto at = offset / kBlock * kBlock; at < end; at += chunk) {
      const auto length = std::min(chunk, (end - at + kBlock - 1) / kBlock * kBlock);
      plan.requests.push_back({file, at, length, std::min(length, end - at)});
    }
  }
  return plan;
}

struct Free {
  void operator()(void* memory) const { std::free(memory); }
};

/// The files of one thread, opened when they are first needed: threads that share a descriptor would share its locks.
class Files {
 public:
  explicit Files(const std::vector<std::string>& paths) : paths_(paths), descriptors_(paths.size(), -1) {}
  Files(const Files&) = delete;
  Files& operator=(const Files&) = delete;
  ~Files() {
    for (const int descriptor : descriptors_) {
      if (descriptor >= 0) ::close(descriptor);
    }
  }

  std::uint64_t read(const Request& request, std::byte* to) {
    int& descriptor = descriptors_[request.file];
    const auto& path = paths_[request.file];
    if (descriptor < 0) descriptor = ::open(path.c_str(), O_RDONLY | O_DIRECT | O_CLOEXEC);
    if (descriptor < 0) throw std::runtime_error(path + ": cannot be opened with O_DIRECT: " + std::strerror(errno));
    std::uint64_t done = 0;
    while (done < request.needed) {
      const auto count =
          ::pread(descriptor, to + done, request.bytes - done, static_cast<off_t>(request.offset + done));
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) throw std::runtime_error(path + ": O_DIRECT read failed: " + std::strerror(errno));
      if (count == 0) throw std::runtime_error(path + ": ends inside a range");
      done += static_cast<std::uint64_t>(count);
    }
    return done;
  }

 private:
  const std::vector<std::string>& paths_;
  std::vector<int> descriptors_;
};

std::uint64_t read_share(const Plan& plan, std::uint64_t chunk, std::atomic<std::size_t>& next) {
  Files files(plan.files);
  const std::unique_ptr<std::byte, Free> buffer(static_cast<std::byte*>(std::aligned_alloc(kBlock, chunk)));
  if (!buffer) throw std::bad_alloc();
  std::uint64_t bytes = 0;
  for (auto k = next++; k < plan.requests.size(); k = next++) bytes += files.read(plan.requests[k], buffer.get());
  return bytes;
}

std::uint64_t read_all(const Plan& plan, const Settings& settings) {
  std::atomic<std::size_t> next = 0;
  std::vector<std::uint64_t> bytes(settings.threads, 0);
  std::vector<std::exception_ptr> errors(settings.threads);
  std::vector<std::thread> threads;
  for (std::size_t t = 0; t < settings.threads; ++t) {
    threads.emplace_back([&, t] {
      try {
        bytes[t] = read_share(plan, settings.chunk, next);
      } catch (...) {
        errors[t] = std::current_exception();
        next = plan.requests.size();
      }
    });
  }
  for (auto& thread : threads) thread.join();
  for (const auto& error : errors) {
    if (error) std::rethrow_exception(error);
  }
  std::uint64_t total = 0;
  for (const auto count : bytes) total += count;
  return total;
}

}  // namespace

int main(int argc, char** argv) try {
  const auto settings = parse({argv + 1, argv + argc});
  const auto plan = read_plan(std::cin, settings.chunk);
  const auto start = std::chrono::steady_clock::now();
  const auto transferred = read_all(plan, settings);
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  std::printf(R"({"bytes": %llu, "transferred": %llu, "seconds": %.6f, "threads": %llu, "chunk": %llu})"
              "\n",
              static_cast<unsigned long long>(plan.wanted_bytes), static_cast<unsigned long long>(transferred),
              seconds.count(), static_cast<unsigned long long>(settings.threads),
              static_cast<unsigned long long>(settings.chunk));
  return 0;
} catch (const Usage& error) {
  std::fprintf(stderr, "raw_reader: %s\n", error.what());
  return 2;
} catch (const std::exception& error) {
  std::fprintf(stderr, "raw_reader: %s\n", error.what());
  return 1;
}
