// SHA-256, by OpenSSL: fingerprints of checkpoints and adapters.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace winnow::base {

/// Hashes data that comes in pieces. Throws Error(runtime) if OpenSSL fails (it has no memory, or no SHA-256).
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(Sha256&&) noexcept;
  Sha256& operator=(Sha256&&) noexcept;

  void update(std::span<const std::byte> data);
  void update(std::string_view data);
  std::string finish();  ///< 64 hexadecimal digits; ready for new data afterwards

 private:
  struct State;
  std::unique_ptr<State> state_;
};

std::string sha256_hex(std::string_view data);
std::string sha256_base64(std::string_view data);  ///< as Content-Security-Policy and Subresource Integrity write it
std::string sha256_file(const std::string& path);  ///< of the file's bytes, in constant memory

}  // namespace winnow::base
