#include "written_files.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <vector>

#include "winnow/adapter/adapter_writer.hpp"
#include "winnow/base/directory.hpp"
#include "winnow/base/error.hpp"
#include "winnow/base/file_type.hpp"

namespace winnow::adapter {

namespace {

namespace fs = std::filesystem;
using base::Error;
using base::ErrorKind;

constexpr std::uint64_t kChunkBytes = std::uint64_t{1} << 20;
constexpr std::uintmax_t kMaxCompanionBytes = std::uintmax_t{64} << 20;

bool is_companion(const fs::directory_entry& entry) {
  constexpr std::array<std::string_view, 5> extensions = {".json", ".md", ".txt", ".model", ".jinja"};
  constexpr std::array<std::string_view, 2> names = {"LICENSE", "NOTICE"};
  const auto name = entry.path().filename().string();
  const auto extension = entry.path().extension().string();
  std::error_code error;
  if (!entry.is_regular_file(error) || entry.file_size(error) > kMaxCompanionBytes || error) return false;
  if (name.starts_with('.') || name == kConfigFile || name == kMarkerFile || name.ends_with(".index.json"))
    return false;
  return std::find(extensions.begin(), extensions.end(), extension) != extensions.end() ||
         std::find(names.begin(), names.end(), name) != names.end();
}

}  // namespace

std::string existing_file(const std::string& directory, const char* name) {
  const auto path = fs::path(directory) / name;
  if (base::type_of(path) != fs::file_type::regular) {
    throw Error(ErrorKind::invalid_input, fmt::format("{} is missing", name)).file(directory);
  }
  return path.string();
}

void write_text(const std::string& path, std::string_view text) {
  auto file = base::File::create_new(path);
  file.append(text);
  file.sync();
  file.close();
}

void copy_bytes(const base::File& in, std::uint64_t offset, std::uint64_t bytes, checkpoint::SafetensorsWriter& out) {
  std::vector<std::byte> buffer(std::min(kChunkBytes, bytes));
  for (std::uint64_t done = 0; done < bytes;) {
    const auto chunk = std::span(buffer).first(std::min<std::uint64_t>(buffer.size(), bytes - done));
    in.read_exact(offset + done, chunk);
    out.append(chunk);
    done += chunk.size();
  }
}

std::vector<std::byte> with_zero_columns(const std::vector<std::byte>& rows, std::uint64_t count, std::uint64_t from,
                                         std::uint64_t to) {
  std::vector<std::byte> wide(count * to);
  for (std::uint64_t row = 0; row < count; ++row) {
    std::copy_n(rows.begin() + static_cast<std::ptrdiff_t>(row * from), from,
                wide.begin() + static_cast<std::ptrdiff_t>(row * to));
  }
  return wide;
}

void copy_companions(const std::string& source, const StagedDirectory& staged) {
  std::error_code error;
  const auto entries = base::entries_of(source, error);
  if (error) throw Error(ErrorKind::runtime, "cannot read directory").file(source).os_error(error.value());
  for (const auto& entry : entries) {
    if (!is_companion(entry)) continue;
    write_text(staged.file(entry.path().filename().string()),
               base::read_text_file(entry.path().string(), kMaxCompanionBytes));
  }
}

std::string limits_of(const PeftConfig& config) {
  if (config.use_rslora) return "relies on rsLoRA, which llama.cpp ignores";
  if (config.rank_pattern.empty() && config.alpha_pattern.empty()) return {};
  return "relies on rank_pattern or alpha_pattern, which llama.cpp ignores";
}

}  // namespace winnow::adapter
