// Small checkpoints and adapters, written for one test each.
#pragma once

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "base/temporary_directory.hpp"
#include "winnow/adapter/adapter.hpp"
#include "winnow/base/error.hpp"
#include "winnow/checkpoint/catalogue.hpp"
#include "winnow/checkpoint/safetensors_writer.hpp"

namespace winnow::adapter::test {

namespace fs = std::filesystem;

using Shape = std::vector<std::uint64_t>;

/// The tests' temporary directory, with paths to be joined further.
class TemporaryDirectory : private ::winnow::test::TemporaryDirectory {
 public:
  fs::path path() const { return ::winnow::test::TemporaryDirectory::path(); }
  fs::path operator/(const std::string& name) const { return path() / name; }
};

inline void write_file(const fs::path& path, std::string_view text) {
  fs::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary) << text;
}

inline std::string read_file(const fs::path& path) {
  std::ostringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  return text.str();
}

struct TestTensor {
  std::string name;
  Shape shape;
  base::DType dtype = base::DType::f32;
};

/// Writes tensors whose bytes are all different from zero and depend on name and position.
inline void write_tensors(const fs::path& path, const std::vector<TestTensor>& tensors) {
  fs::create_directories(path.parent_path());
  std::vector<checkpoint::TensorSpec> specs;
  for (const auto& tensor : tensors) specs.push_back({tensor.name, tensor.dtype, tensor.shape});
  checkpoint::SafetensorsWriter writer(path.string(), specs);
  for (const auto& tensor : tensors) {
    std::size_t bits = base::bits(tensor.dtype);
    for (const auto size : tensor.shape) bits *= size;
    std::vector<std::byte> data(bits / 8);
    auto state = std::hash<std::string>{}(tensor.name);
    for (auto& byte : data) {
      state = state * 6364136223846793005U + 1442695040888963407U;
      byte = static_cast<std::byte>(1 + (state >> 33U) % 100);
    }
    writer.append(data);
  }
  writer.commit();
}

/// The bytes of every tensor of a safetensors file.
inline std::map<std::string, std::string> tensor_bytes(const fs::path& path) {
  const auto file = checkpoint::read_safetensors_file(path.string());
  const auto text = read_file(path);
  std::map<std::string, std::string> bytes;
  for (const auto& [name, location] : file.tensors) bytes[name] = text.substr(location.offset, location.bytes);
  return bytes;
}

inline checkpoint::Catalogue catalogue(const std::map<std::string, Shape>& tensors) {
  checkpoint::Catalogue result;
  for (const auto& [name, shape] : tensors) {
    checkpoint::TensorLocation location;
    location.dtype = base::DType::bf16;
    location.shape = shape;
    result.tensors.emplace(name, location);
  }
  return result;
}

inline const std::string kPrefix = "base_model.model.";

/// lora_A and lora_B of a module under PEFT's names.
inline std::vector<TestTensor> lora(const std::string& module, std::uint64_t rank, std::uint64_t in,
                                    std::uint64_t out) {
  return {{kPrefix + module + ".lora_A.weight", {rank, in}}, {kPrefix + module + ".lora_B.weight", {out, rank}}};
}

inline std::vector<TestTensor> operator+(std::vector<TestTensor> a, const std::vector<TestTensor>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

/// Runs `call`, which must throw an Error, and returns it.
template <class Call>
base::Error error_of(Call call) {
  try {
    call();
  } catch (const base::Error& error) {
    return error;
  }
  ADD_FAILURE() << "no error was thrown";
  return {base::ErrorKind::runtime, "none"};
}

/// Without root's right to read everything, while it lives. Skips nothing if the tests are not run by root.
class AsNobody {
 public:
  AsNobody() : was_(::geteuid()) {
    if (was_ == 0 && ::seteuid(65534) != 0) throw std::runtime_error("cannot become nobody");
  }
  ~AsNobody() {
    if (was_ == 0 && ::seteuid(0) != 0) std::abort();
  }
  AsNobody(const AsNobody&) = delete;
  AsNobody& operator=(const AsNobody&) = delete;

 private:
  uid_t was_;
};

/// A log that keeps what it is told.
struct Messages {
  std::vector<std::string> texts;
  base::Log log{[this](base::LogLevel, std::string_view text) { texts.emplace_back(text); }};
};

}  // namespace winnow::adapter::test
