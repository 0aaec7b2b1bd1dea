#include "winnow/checkpoint/safetensors_writer.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/expect_error.hpp"
#include "base/temporary_directory.hpp"
#include "checkpoint/safetensors_bytes.hpp"
#include "winnow/base/error.hpp"
#include "winnow/checkpoint/safetensors_header.hpp"

namespace winnow::checkpoint {
namespace {

using base::DType;
using base::ErrorKind;

std::span<const std::byte> bytes(std::string_view text) { return std::as_bytes(std::span(text)); }

TEST(SafetensorsWriter, writes_these_very_bytes) {
  const test::TemporaryDirectory directory;
  const auto path = directory / "m.safetensors";
  SafetensorsWriter writer(path, {{"w", DType::bf16, {1, 2}}});
  writer.append(bytes("abcd"));
  writer.commit();
  const std::string json =
      R"({"__metadata__":{"format":"pt"},"w":{"dtype":"BF16","shape":[1,2],"data_offsets":[0,4]}})";
  const auto padded = json + std::string(7 - (json.size() + 7) % 8, ' ');
  EXPECT_EQ(padded.size() % 8, 0U);
  EXPECT_EQ(test::read_whole(path), test::length_bytes(padded.size()) + padded + "abcd");
}

TEST(SafetensorsWriter, is_read_back) {
  const test::TemporaryDirectory directory;
  const auto path = directory / "m.safetensors";
  const std::vector<TensorSpec> tensors{{"z first \"quoted\" \xC3\xBC\n", DType::f32, {2, 1}},
                                        {"a scalar", DType::f16, {}},
                                        {"empty", DType::f64, {4, 0}},
                                        {"packed", DType::f4, {2}}};
  SafetensorsWriter writer(path, tensors);
  writer.append(bytes("0123"));
  writer.append({});
  writer.append(bytes("4567s"));  // across two tensors
  writer.append(bytes("tp"));
  writer.commit();

  const auto header = read_safetensors_header(path);
  EXPECT_EQ(header.data_offset % 8, 0U);
  EXPECT_THAT(header.metadata, testing::ElementsAre(testing::Pair("format", "pt")));
  ASSERT_EQ(header.tensors.size(), tensors.size());
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    EXPECT_EQ(header.tensors[i].name, tensors[i].name);
    EXPECT_EQ(header.tensors[i].dtype, tensors[i].dtype);
    EXPECT_EQ(header.tensors[i].shape, tensors[i].shape);
  }
  EXPECT_EQ(test::read_whole(path).substr(header.data_offset), "01234567stp");
}

TEST(SafetensorsWriter, without_tensors) {
  const test::TemporaryDirectory directory;
  SafetensorsWriter(directory / "m", {}).commit();
  EXPECT_TRUE(read_safetensors_header(directory / "m").tensors.empty());
}

TEST(SafetensorsWriter, every_length_of_header_is_padded) {
  const test::TemporaryDirectory directory;
  for (std::size_t length = 0; length < 9; ++length) {
    SafetensorsWriter writer(directory / "m", {{std::string(length, 'x'), DType::u8, {1}}});
    writer.append(bytes("d"));
    writer.commit();
    EXPECT_EQ(read_safetensors_header(directory / "m").data_offset % 8, 0U);
  }
}

TEST(SafetensorsWriter, appears_at_commit_and_replaces) {
  const test::TemporaryDirectory directory;
  const auto path = directory.write("m", "old");
  SafetensorsWriter writer(path, {});
  EXPECT_EQ(test::read_whole(path), "old");
  writer.commit();
  EXPECT_NE(test::read_whole(path), "old");
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(directory.path()), {}), 1);
}

TEST(SafetensorsWriter, leaves_nothing_without_commit) {
  const test::TemporaryDirectory directory;
  {
    SafetensorsWriter writer(directory / "m", {{"w", DType::u8, {2}}});
    writer.append(bytes("d"));
    EXPECT_FALSE(directory.is_empty());
  }
  EXPECT_TRUE(directory.is_empty());
}

TEST(SafetensorsWriter, two_to_one_path_do_not_meet) {
  const test::TemporaryDirectory directory;
  const auto path = directory / "m";
  SafetensorsWriter first(path, {{"w", DType::u8, {1}}});
  SafetensorsWriter second(path, {{"w", DType::u8, {1}}});
  first.append(bytes("1"));
  second.append(bytes("2"));
  first.commit();
  EXPECT_EQ(test::read_whole(path).back(), '1');
  second.commit();
  EXPECT_EQ(test::read_whole(path).back(), '2');
}

TEST(SafetensorsWriter, wants_exactly_the_data_announced) {
  const test::TemporaryDirectory directory;
  const auto path = directory / "m";
  {
    SafetensorsWriter writer(path, {{"w", DType::f32, {2}}});
    writer.append(bytes("1234567"));
    test::expect_error(ErrorKind::runtime, "less data than the tensors hold: " + path + "; expected 8 bytes, found 7",
                       [&] { writer.commit(); });
    test::expect_error(ErrorKind::runtime, "more data than the tensors hold: " + path + "; expected 8 bytes in all",
                       [&] { writer.append(bytes("89")); });
    writer.append(bytes("8"));
  }
  EXPECT_TRUE(directory.is_empty());
}

TEST(SafetensorsWriter, refuses_what_the_format_cannot_hold) {
  const test::TemporaryDirectory directory;
  const auto path = directory / "m";
  const auto expect_refusal = [&](const std::string& line, const std::vector<TensorSpec>& tensors) {
    test::expect_error(ErrorKind::runtime, line, [&] { SafetensorsWriter(path, tensors); });
    EXPECT_TRUE(directory.is_empty());
  };
  expect_refusal("cannot write two tensors of one name: " + path + ", tensor w",
                 {{"w", DType::u8, {1}}, {"w", DType::u8, {1}}});
  expect_refusal("cannot write two tensors of one name: " + path + ", tensor __metadata__",
                 {{"__metadata__", DType::u8, {1}}});
  expect_refusal("cannot write a tensor name that is not UTF-8: " + path + ", tensor \xFF", {{"\xFF", DType::u8, {1}}});
  expect_refusal("cannot write a tensor of this shape: " + path + ", tensor w; expected a whole number of bytes",
                 {{"w", DType::f4, {1}}});
  expect_refusal("cannot write a tensor of this shape: " + path + ", tensor w; expected fewer than 2^64 bits",
                 {{"w", DType::f64, {std::uint64_t{1} << 58}}});
  const TensorSpec huge{"w", DType::u8, {(std::uint64_t{1} << 61) - 1}};
  std::vector<TensorSpec> many(9, huge);
  for (std::size_t i = 0; i < many.size(); ++i) many[i].name += std::to_string(i);
  expect_refusal("tensors are too large for one file: " + path + ", tensor w8", many);
}

TEST(SafetensorsWriter, names_the_file_it_cannot_write) {
  const test::TemporaryDirectory directory;
  const auto path = directory / "absent/m";
  test::expect_error(ErrorKind::runtime, "cannot create file (No such file or directory): " + path,
                     [&] { SafetensorsWriter(path, {}); });
  std::filesystem::create_directory(directory / "taken");
  test::expect_error(
      ErrorKind::usage,
      "cannot write to what is not a plain file: " + (directory / "taken") + "; expected the name of a file",
      [&] { SafetensorsWriter(directory / "taken", {}).commit(); });
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(directory.path()), {}), 1);
}

}  // namespace
}  // namespace winnow::checkpoint
