#include "winnow/base/sha256.hpp"

#include <fmt/format.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <vector>

#include "winnow/base/error.hpp"
#include "winnow/base/file.hpp"

namespace winnow::base {
namespace {

/// Without its configuration file, which is about keys and connections: to read it takes longer than what an audit of
/// one module hashes.
bool start_openssl() { return OPENSSL_init_crypto(OPENSSL_INIT_NO_LOAD_CONFIG, nullptr) == 1; }

void require(int status) {
  if (status != 1) throw Error(ErrorKind::runtime, "OpenSSL cannot compute SHA-256");
}

}  // namespace

struct Sha256::State {
  State() { start(); }
  void start() {
    static const bool started = start_openssl();
    if (!started || !context) throw Error(ErrorKind::runtime, "OpenSSL cannot compute SHA-256");
    require(EVP_DigestInit_ex(context.get(), EVP_sha256(), nullptr));
  }

  std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context{EVP_MD_CTX_new(), EVP_MD_CTX_free};
};

Sha256::Sha256() : state_(std::make_unique<State>()) {}
Sha256::~Sha256() = default;
Sha256::Sha256(Sha256&&) noexcept = default;
Sha256& Sha256::operator=(Sha256&&) noexcept = default;

void Sha256::update(std::span<const std::byte> data) {
  require(EVP_DigestUpdate(state_->context.get(), data.data(), data.size()));
}

void Sha256::update(std::string_view data) { update(std::as_bytes(std::span(data))); }

std::string Sha256::finish() {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned int size = 0;
  require(EVP_DigestFinal_ex(state_->context.get(), digest.data(), &size));
  state_->start();
  std::string hex;
  for (unsigned int i = 0; i < size; ++i) hex += fmt::format("{:02x}", digest[i]);
  return hex;
}

std::string sha256_hex(std::string_view data) {
  Sha256 hash;
  hash.update(data);
  return hash.finish();
}

std::string sha256_base64(std::string_view data) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  std::array<unsigned char, 4 * (EVP_MAX_MD_SIZE + 2) / 3 + 1> text{};
  unsigned int size = 0;
  static const bool started = start_openssl();
  if (!started) throw Error(ErrorKind::runtime, "OpenSSL cannot compute SHA-256");
  require(EVP_Digest(data.data(), data.size(), digest.data(), &size, EVP_sha256(), nullptr));
  const auto length = EVP_EncodeBlock(text.data(), digest.data(), static_cast<int>(size));
  return {text.begin(), text.begin() + length};
}

std::string sha256_file(const std::string& path) {
  constexpr std::uint64_t kChunk = 1U << 20;
  const auto file = File::open_for_reading(path);
  const auto size = file.size();
  std::vector<std::byte> buffer(std::min(size, kChunk));
  Sha256 hash;
  for (std::uint64_t offset = 0; offset < size;) {
    const auto piece = std::span(buffer).first(std::min<std::uint64_t>(buffer.size(), size - offset));
    file.read_exact(offset, piece);
    hash.update(piece);
    offset += piece.size();
  }
  return hash.finish();
}

}  // namespace winnow::base
