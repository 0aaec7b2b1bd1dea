#include "winnow/base/file_type.hpp"

#include "winnow/base/error.hpp"

namespace winnow::base {

std::filesystem::file_type type_of(const std::filesystem::path& path) {
  std::error_code error;
  const auto type = std::filesystem::status(path, error).type();
  if (type != std::filesystem::file_type::none) return type;
  throw Error(ErrorKind::runtime, "cannot look at file").file(path.string()).os_error(error.value());
}

}  // namespace winnow::base
