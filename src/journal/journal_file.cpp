#include "winnow/journal/journal_file.hpp"

#include <cstring>
#include <span>
#include <utility>

#include "winnow/base/bytes.hpp"
#include "winnow/base/sha256.hpp"

namespace winnow::journal {
namespace {

constexpr std::string_view kMagic = "winnow journal 3\n";
constexpr std::size_t kDigestBytes = 64, kRecordHead = sizeof(std::uint64_t) + kDigestBytes;

std::string head_of(std::string_view digest) { return std::string(kMagic).append(digest).append("\n"); }

std::string checksum(std::string_view digest, std::uint64_t place, std::string_view payload) {
  base::ByteWriter head;
  head.put(digest);
  head.put(place);
  base::Sha256 hash;
  hash.update(head.bytes());
  hash.update(payload);
  return hash.finish();
}

}  // namespace

JournalWriter::JournalWriter(const std::string& path, std::string digest)
    : file_(base::File::create_new(path)), digest_(std::move(digest)) {
  file_.append(head_of(digest_));
  file_.sync();
}

void JournalWriter::append(std::string_view payload) {
  base::ByteWriter length;
  length.put<std::uint64_t>(payload.size());
  auto record = std::move(length).bytes();
  record.append(checksum(digest_, records_, payload)).append(payload);
  synced_ = false;
  file_.append(record);
  ++records_;
}

void JournalWriter::sync() {
  if (synced_) return;
  file_.sync_data();
  synced_ = true;
}

JournalContent read_journal(const std::string& path, std::string_view digest) {
  const auto file = base::File::open_for_reading(path);
  std::string bytes(file.size(), '\0');  // an orphan may be appending: what comes after this is not looked at
  file.read_exact(0, std::as_writable_bytes(std::span(bytes)));
  JournalContent content;
  const auto head = head_of(digest);
  if (!std::string_view(bytes).starts_with(head)) {
    content.damaged_at = 0;
    return content;
  }
  std::string_view rest = std::string_view(bytes).substr(head.size());
  while (!rest.empty()) {
    content.damaged_at = bytes.size() - rest.size();
    if (rest.size() < kRecordHead) return content;
    std::uint64_t length = 0;
    std::memcpy(&length, rest.data(), sizeof(length));
    if (length > rest.size() - kRecordHead) return content;
    const auto payload = rest.substr(kRecordHead, length);
    if (rest.substr(sizeof(length), kDigestBytes) != checksum(digest, content.payloads.size(), payload)) return content;
    content.payloads.emplace_back(payload);
    content.damaged_at.reset();
    rest.remove_prefix(kRecordHead + length);
  }
  return content;
}

}  // namespace winnow::journal
