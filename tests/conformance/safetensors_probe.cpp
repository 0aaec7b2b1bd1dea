// Says for each file named on stdin whether winnow accepts its safetensors header, and what it read from it:
//
//     ok\t{"name": ["F32", [2, 3], begin, end], ...}
//     refused\t<message>
//
// One line a file, so that thousands of mutated files can be held against the format's reference library.
#include <exception>
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>

#include "winnow/base/dtype.hpp"
#include "winnow/base/error.hpp"
#include "winnow/checkpoint/safetensors_header.hpp"

namespace {

std::string describe(const winnow::checkpoint::SafetensorsHeader& header) {
  nlohmann::json tensors = nlohmann::json::object();
  for (const auto& entry : header.tensors) {
    tensors[entry.name] = {std::string(winnow::base::name(entry.dtype)), entry.shape, entry.begin, entry.end};
  }
  return tensors.dump(-1, ' ', true);
}

}  // namespace

int main() {
  try {
    for (std::string path; std::getline(std::cin, path);) {
      try {
        const auto header = winnow::checkpoint::read_safetensors_header(path);
        std::cout << "ok\t" << describe(header) << '\n';
      } catch (const winnow::base::Error& error) {
        if (error.kind() != winnow::base::ErrorKind::invalid_input) throw;
        std::string line = error.what();  // one line by contract; a second one would be a finding
        std::cout << "refused\t" << line << '\n';
      }
    }
    return 0;
  } catch (const std::exception& error) {
    std::cerr << "safetensors_probe: " << error.what() << '\n';
    return 1;
  }
}
