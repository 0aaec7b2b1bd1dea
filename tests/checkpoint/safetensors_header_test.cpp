#include "winnow/checkpoint/safetensors_header.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <ostream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/expect_error.hpp"
#include "base/temporary_directory.hpp"
#include "checkpoint/safetensors_bytes.hpp"
#include "winnow/base/error.hpp"

namespace winnow::checkpoint {
namespace {

using base::ErrorKind;
using test::expect_error;
using test::length_bytes;
using test::safetensors;

SafetensorsHeader parse(const std::string& file) { return parse_safetensors_header(file, file.size(), "f"); }

/// A file with the one tensor t, its entry given without the braces.
std::string one_tensor(const std::string& entry, std::size_t data_bytes) {
  return safetensors("{\"t\":{" + entry + "}}", data_bytes);
}

// --- Refused: research/formats of the reference library, and duplicates ---------------------------------------------

struct Refusal {
  std::string name;     // of the test
  std::string file;     // its bytes
  std::string message;  // the whole line; <reason> stands for the words of the JSON library
};

// Shown if a test fails.
void PrintTo(const Refusal& refusal, std::ostream* out) { *out << refusal.name; }

testing::Matcher<const std::string&> is_line(const std::string& line) {
  const std::string_view reason = "<reason>";
  const auto at = line.find(reason);
  if (at == std::string::npos) return testing::Eq(line);
  return testing::AllOf(testing::StartsWith(line.substr(0, at)), testing::EndsWith(line.substr(at + reason.size())));
}

std::string name_of(const testing::TestParamInfo<Refusal>& info) { return info.param.name; }

class SafetensorsRefusal : public testing::TestWithParam<Refusal> {};

TEST_P(SafetensorsRefusal, has_its_own_message) {
  expect_error(ErrorKind::invalid_input, is_line(GetParam().message), [] { parse(GetParam().file); });
}

// The same from a file, whose header is read in two steps.
TEST_P(SafetensorsRefusal, is_the_same_from_a_file) {
  const test::TemporaryDirectory directory;
  const auto path = directory.write("m.safetensors", GetParam().file);
  auto message = GetParam().message;
  message.replace(message.find(": f") + 2, 1, path);  // each message names the file
  expect_error(ErrorKind::invalid_input, is_line(message), [&] { read_safetensors_header(path); });
}

const std::string kAgain = "; the file is damaged: download it again";
const std::string kNumbers = "; expected numbers from 0 to 2^64 - 1, found ";

INSTANTIATE_TEST_SUITE_P(
    Container, SafetensorsRefusal,
    testing::ValuesIn(std::vector<Refusal>{
        {"empty_file", "",
         "file is too short to be a safetensors file: f; expected at least 8 bytes, found 0; the file is truncated: "
         "download it again"},
        {"shorter_than_8_bytes", "1234567",
         "file is too short to be a safetensors file: f; expected at least 8 bytes, found 7; the file is truncated: "
         "download it again"},
        {"header_above_limit", length_bytes(100'000'001) + "{}",
         "header is too large: f; expected a header of at most 100000000 bytes, found a length of 100000001; this is "
         "not a safetensors file, or it is damaged: download it again"},
        {"header_of_all_ones", std::string(8, '\xFF'),
         "header is too large: f; expected a header of at most 100000000 bytes, found a length of "
         "18446744073709551615; this is not a safetensors file, or it is damaged: download it again"},
        {"git_lfs_pointer", "version https://git-lfs.example/spec/v1\noid sha256:0\nsize 5\n",
         "header is too large: f; expected a header of at most 100000000 bytes, found a length of "
         "2336927755350992246; this looks like a git-LFS pointer, not the file itself: run 'git lfs pull'"},
        {"zip_archive", "PK\x03\x04 pickled",
         "header is too large: f; expected a header of at most 100000000 bytes, found a length of "
         "7163379965118073680; this looks like a pickled PyTorch file: convert it to safetensors"},
        {"web_page", "<!DOCTYPE html>",
         "header is too large: f; expected a header of at most 100000000 bytes, found a length of "
         "5789751444030890300; this looks like a web page, perhaps an error message that was saved as the file: "
         "download it again"},
        {"gguf", "GGUF" + std::string("\x03\0\0\0", 4) + "rest",
         "header is too large: f; expected a header of at most 100000000 bytes, found a length of 14064895815; this "
         "looks like a GGUF file: winnow reads safetensors"},
        {"header_beyond_end", length_bytes(3) + "{}",
         "file ends within its header: f; expected a header of 3 bytes, found 2 bytes after the length; the file is "
         "truncated: download it again"},
        {"truncated", one_tensor(R"("dtype":"F32","shape":[2],"data_offsets":[0,8])", 7),
         "file is truncated: f; expected 8 bytes of data, found 7; download it again"},
        {"no_data_at_all", one_tensor(R"("dtype":"F32","shape":[2],"data_offsets":[0,8])", 0),
         "file is truncated: f; expected 8 bytes of data, found 0; download it again"},
        {"trailing_bytes", one_tensor(R"("dtype":"F32","shape":[2],"data_offsets":[0,8])", 9),
         "file has bytes after its last tensor: f; expected 8 bytes of data, found 9" + kAgain},
        {"trailing_bytes_without_tensors", safetensors("{}", 1),
         "file has bytes after its last tensor: f; expected 0 bytes of data, found 1" + kAgain},
    }),
    name_of);

INSTANTIATE_TEST_SUITE_P(
    Json, SafetensorsRefusal,
    testing::ValuesIn(std::vector<Refusal>{
        {"empty_header", safetensors(""), "header is not valid JSON: <reason>: f" + kAgain},
        {"not_json", safetensors("nonsense"), "header is not valid JSON: <reason>: f" + kAgain},
        {"unterminated", safetensors("{\"a\":"), "header is not valid JSON: <reason>: f" + kAgain},
        {"second_value", safetensors("{} {}"), "header is not valid JSON: <reason>: f" + kAgain},
        {"trailing_comma", safetensors("{\"__metadata__\":{},}"), "header is not valid JSON: <reason>: f" + kAgain},
        {"nul_bytes_after_value", safetensors(std::string("{}\0\0", 4)),
         "header is not valid JSON: it contains a NUL byte: f" + kAgain},
        {"byte_order_mark", safetensors("\xEF\xBB\xBF{}"),
         "header is not valid JSON: it begins with a byte order mark: f" + kAgain},
        {"lone_surrogate", safetensors(R"({"\ud800":0})"), "header is not valid JSON: <reason>: f" + kAgain},
        {"stray_byte", safetensors("{\"a\xFF\":0}"),
         "header is not UTF-8: f; expected UTF-8 text, found another byte at offset 11 of the file" + kAgain},
        {"overlong_form", safetensors("{\"\xC0\xAF\":0}"),
         "header is not UTF-8: f; expected UTF-8 text, found another byte at offset 10 of the file" + kAgain},
        {"overlong_form_of_three", safetensors("{\"\xE0\x9F\xBF\":0}"),
         "header is not UTF-8: f; expected UTF-8 text, found another byte at offset 10 of the file" + kAgain},
        {"encoded_surrogate", safetensors("{\"\xED\xA0\x80\":0}"),
         "header is not UTF-8: f; expected UTF-8 text, found another byte at offset 10 of the file" + kAgain},
        {"beyond_unicode", safetensors("{\"\xF4\x90\x80\x80\":0}"),
         "header is not UTF-8: f; expected UTF-8 text, found another byte at offset 10 of the file" + kAgain},
        {"cut_character", safetensors("{}\xE2\x82"),
         "header is not UTF-8: f; expected UTF-8 text, found another byte at offset 10 of the file" + kAgain},
        {"array", safetensors("[]"), R"(header is not a JSON object: f; expected {"tensor": ...})"},
        {"number", safetensors("7"), R"(header is not a JSON object: f; expected {"tensor": ...})"},
        {"metadata_number", safetensors(R"({"__metadata__":{"epoch":3}})"),
         "value in __metadata__ is not a string: f; expected a string for key epoch, found a number"},
        {"metadata_null", safetensors(R"({"__metadata__":{"epoch":null}})"),
         "value in __metadata__ is not a string: f; expected a string for key epoch, found null"},
        {"metadata_nested", safetensors(R"({"__metadata__":{"epoch":{}}})"),
         "value in __metadata__ is not a string: f; expected a string for key epoch, found an object"},
        {"metadata_array", safetensors(R"({"__metadata__":[]})"),
         "__metadata__ is not an object: f; expected an object of strings, found an array"},
        {"metadata_string", safetensors(R"({"__metadata__":"pt"})"),
         "__metadata__ is not an object: f; expected an object of strings, found a string"},
        {"metadata_twice", safetensors(R"({"__metadata__":{},"__metadata__":{}})"),
         "__metadata__ appears twice in the header: f"},
        {"metadata_key_twice", safetensors(R"({"__metadata__":{"a":"1","a":"1"}})"),
         "key a appears twice in __metadata__: f"},
    }),
    name_of);

INSTANTIATE_TEST_SUITE_P(
    Entry, SafetensorsRefusal,
    testing::ValuesIn(std::vector<Refusal>{
        {"unknown_dtype", one_tensor(R"("dtype":"F33","shape":[1],"data_offsets":[0,4])", 4),
         "unknown dtype F33: f, tensor t; expected a dtype of safetensors 0.8, e.g. BF16, F16 or F32"},
        {"dtype_in_lower_case", one_tensor(R"("dtype":"f32","shape":[1],"data_offsets":[0,4])", 4),
         "unknown dtype f32: f, tensor t; expected a dtype of safetensors 0.8, e.g. BF16, F16 or F32"},
        {"dtype_is_number", one_tensor(R"("dtype":4,"shape":[1],"data_offsets":[0,4])", 4),
         "dtype has the wrong type: f, tensor t; expected a string, found a number"},
        {"dtype_is_array", one_tensor(R"("dtype":["F32"],"shape":[1],"data_offsets":[0,4])", 4),
         "dtype has the wrong type: f, tensor t; expected a string, found an array"},
        {"missing_dtype", one_tensor(R"("shape":[1],"data_offsets":[0,4])", 4),
         "dtype is missing: f, tensor t; expected dtype, shape and data_offsets"},
        {"missing_shape", one_tensor(R"("dtype":"F32","data_offsets":[0,4])", 4),
         "shape is missing: f, tensor t; expected dtype, shape and data_offsets"},
        {"missing_data_offsets", one_tensor(R"("dtype":"F32","shape":[1])", 4),
         "data_offsets is missing: f, tensor t; expected dtype, shape and data_offsets"},
        {"entry_is_number", safetensors(R"({"t":1})"),
         "entry of a tensor is not an object: f, tensor t; expected an object with dtype, shape and data_offsets, "
         "found a number"},
        {"entry_is_null", safetensors(R"({"t":null})"),
         "entry of a tensor is not an object: f, tensor t; expected an object with dtype, shape and data_offsets, "
         "found null"},
        {"entry_is_array", safetensors(R"({"t":["F32",[1],[0,4]]})", 4),
         "entry of a tensor is not an object: f, tensor t; expected an object with dtype, shape and data_offsets, "
         "found an array"},
        {"shape_is_number", one_tensor(R"("dtype":"F32","shape":1,"data_offsets":[0,4])", 4),
         "shape has the wrong type: f, tensor t; expected an array of numbers, found a number"},
        {"shape_is_object", one_tensor(R"("dtype":"F32","shape":{},"data_offsets":[0,4])", 4),
         "shape has the wrong type: f, tensor t; expected an array of numbers, found an object"},
        {"shape_is_nested", one_tensor(R"("dtype":"F32","shape":[[1]],"data_offsets":[0,4])", 4),
         "shape holds what is not a whole number of 64 bits: f, tensor t" + kNumbers + "an array"},
        {"shape_negative", one_tensor(R"("dtype":"F32","shape":[-1],"data_offsets":[0,4])", 4),
         "shape holds what is not a whole number of 64 bits: f, tensor t" + kNumbers + "a negative number"},
        {"shape_negative_zero", one_tensor(R"("dtype":"F32","shape":[-0],"data_offsets":[0,0])", 0),
         "shape holds what is not a whole number of 64 bits: f, tensor t" + kNumbers + "a negative number"},
        {"shape_fractional", one_tensor(R"("dtype":"F32","shape":[1.0],"data_offsets":[0,4])", 4),
         "shape holds what is not a whole number of 64 bits: f, tensor t" + kNumbers +
             "a number with a fraction or exponent"},
        {"shape_with_exponent", one_tensor(R"("dtype":"F32","shape":[1e0],"data_offsets":[0,4])", 4),
         "shape holds what is not a whole number of 64 bits: f, tensor t" + kNumbers +
             "a number with a fraction or exponent"},
        {"shape_too_large", one_tensor(R"("dtype":"F32","shape":[18446744073709551616],"data_offsets":[0,4])", 4),
         "shape holds what is not a whole number of 64 bits: f, tensor t" + kNumbers +
             "a number too large for 64 bits"},
        {"shape_beyond_double", one_tensor("\"dtype\":\"F32\",\"shape\":[1" + std::string(400, '0') + "]", 4),
         "shape holds what is not a whole number of 64 bits: f, tensor t" + kNumbers +
             "a number too large for 64 bits"},
        {"shape_string", one_tensor(R"("dtype":"F32","shape":["1"],"data_offsets":[0,4])", 4),
         "shape holds what is not a whole number of 64 bits: f, tensor t" + kNumbers + "a string"},
        {"offset_negative", one_tensor(R"("dtype":"F32","shape":[1],"data_offsets":[-4,0])", 4),
         "data_offsets holds what is not a whole number of 64 bits: f, tensor t" + kNumbers + "a negative number"},
        {"offset_fractional", one_tensor(R"("dtype":"F32","shape":[1],"data_offsets":[0,4.5])", 4),
         "data_offsets holds what is not a whole number of 64 bits: f, tensor t" + kNumbers +
             "a number with a fraction or exponent"},
        {"offset_too_large", one_tensor(R"("dtype":"F32","shape":[1],"data_offsets":[0,99999999999999999999])", 4),
         "data_offsets holds what is not a whole number of 64 bits: f, tensor t" + kNumbers +
             "a number too large for 64 bits"},
        {"one_offset", one_tensor(R"("dtype":"F32","shape":[1],"data_offsets":[4])", 4),
         "data_offsets has the wrong length: f, tensor t; expected [begin, end], found 1 numbers"},
        {"three_offsets", one_tensor(R"("dtype":"F32","shape":[1],"data_offsets":[0,4,4])", 4),
         "data_offsets has the wrong length: f, tensor t; expected [begin, end], found 3 numbers"},
        {"no_offsets", one_tensor(R"("dtype":"F32","shape":[1],"data_offsets":[])", 4),
         "data_offsets has the wrong length: f, tensor t; expected [begin, end], found 0 numbers"},
        {"field_twice", one_tensor(R"("dtype":"F32","shape":[1],"shape":[1],"data_offsets":[0,4])", 4),
         "shape appears twice: f, tensor t"},
        {"dtype_twice", one_tensor(R"("dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4])", 4),
         "dtype appears twice: f, tensor t"},
        {"offsets_twice", one_tensor(R"("dtype":"F32","shape":[1],"data_offsets":[0,4],"data_offsets":[0,4])", 4),
         "data_offsets appears twice: f, tensor t"},
        {"end_before_begin", one_tensor(R"("dtype":"F32","shape":[1],"data_offsets":[4,0])", 4),
         "data_offsets ends before it begins: f, tensor t; expected begin <= end, found [4, 0]"},
        {"shape_product_overflows",
         one_tensor(R"("dtype":"U8","shape":[4294967296,4294967296],"data_offsets":[0,4])", 4),
         "shape overflows: f, tensor t; expected fewer than 2^64 bits of data"},
        {"shape_product_overflows_before_zero",
         one_tensor(R"("dtype":"U8","shape":[4294967296,4294967296,0],"data_offsets":[0,0])", 0),
         "shape overflows: f, tensor t; expected fewer than 2^64 bits of data"},
        {"bit_count_overflows", one_tensor(R"("dtype":"F64","shape":[288230376151711744],"data_offsets":[0,0])", 0),
         "shape overflows: f, tensor t; expected fewer than 2^64 bits of data"},
        {"half_a_byte", one_tensor(R"("dtype":"F4","shape":[3],"data_offsets":[0,2])", 2),
         "data is not a whole number of bytes: f, tensor t; expected a multiple of 8 bits, found 12 bits of F4"},
        {"six_bits", one_tensor(R"("dtype":"F6_E2M3","shape":[2],"data_offsets":[0,2])", 2),
         "data is not a whole number of bytes: f, tensor t; expected a multiple of 8 bits, found 12 bits of F6_E2M3"},
        {"size_too_small", one_tensor(R"("dtype":"BF16","shape":[2,3],"data_offsets":[0,10])", 10),
         "data_offsets do not agree with dtype and shape: f, tensor t; expected 12 bytes, found [0, 10], 10 bytes"},
        {"size_too_large", one_tensor(R"("dtype":"BF16","shape":[],"data_offsets":[0,4])", 4),
         "data_offsets do not agree with dtype and shape: f, tensor t; expected 2 bytes, found [0, 4], 4 bytes"},
    }),
    name_of);

INSTANTIATE_TEST_SUITE_P(
    Layout, SafetensorsRefusal,
    testing::ValuesIn(std::vector<Refusal>{
        {"first_offset_not_0", one_tensor(R"("dtype":"U8","shape":[4],"data_offsets":[4,8])", 8),
         "first tensor does not begin at offset 0: f, tensor t; expected begin 0, found 4"},
        {"gap",
         safetensors(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},
                         "b":{"dtype":"U8","shape":[4],"data_offsets":[5,9]}})",
                     9),
         "gap in the data before this tensor: f, tensor b; expected begin 4, found 5"},
        {"gap_after_an_empty_tensor",
         safetensors(R"({"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},
                         "b":{"dtype":"U8","shape":[4],"data_offsets":[1,5]}})",
                     5),
         "gap in the data before this tensor: f, tensor b; expected begin 0, found 1"},
        {"overlap",
         safetensors(R"({"b":{"dtype":"U8","shape":[4],"data_offsets":[3,7]},
                         "a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}})",
                     7),
         "tensor overlaps the one before it: f, tensor b; expected begin 4, found 3"},
        {"same_data_twice",
         safetensors(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},
                         "b":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}})",
                     4),
         "tensor overlaps the one before it: f, tensor b; expected begin 4, found 0"},
        {"empty_tensor_within_another",
         safetensors(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},
                         "b":{"dtype":"U8","shape":[0],"data_offsets":[2,2]}})",
                     4),
         "tensor overlaps the one before it: f, tensor b; expected begin 4, found 2"},
        {"tensor_twice",
         safetensors(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},
                         "a":{"dtype":"U8","shape":[4],"data_offsets":[4,8]}})",
                     8),
         "tensor appears twice in the header: f, tensor a; expected each name once; which of the two is meant cannot "
         "be known: write the file anew"},
        {"tensor_twice_under_an_escape",
         safetensors(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},
                         "\u0061":{"dtype":"U8","shape":[4],"data_offsets":[4,8]}})",
                     8),
         "tensor appears twice in the header: f, tensor a; expected each name once; which of the two is meant cannot "
         "be known: write the file anew"},
    }),
    name_of);

// --- Accepted -------------------------------------------------------------------------------------------------------

TEST(SafetensorsHeader, without_tensors) {
  const auto header = parse(safetensors("{}"));
  EXPECT_EQ(header.data_offset, 10U);
  EXPECT_TRUE(header.tensors.empty());
  EXPECT_TRUE(header.metadata.empty());
}

TEST(SafetensorsHeader, metadata) {
  EXPECT_THAT(parse(safetensors(R"({"__metadata__":{"format":"pt","":"x"}})")).metadata,
              testing::ElementsAre(testing::Pair("", "x"), testing::Pair("format", "pt")));
  EXPECT_TRUE(parse(safetensors(R"({"__metadata__":{}})")).metadata.empty());
  EXPECT_TRUE(parse(safetensors(R"({"__metadata__":null})")).metadata.empty());
}

TEST(SafetensorsHeader, scalar_and_empty_tensors) {
  const auto header = parse(safetensors(R"({"scalar":{"dtype":"F64","shape":[],"data_offsets":[0,8]},
                                            "empty":{"dtype":"F32","shape":[3,0,5],"data_offsets":[8,8]},
                                            "first":{"dtype":"F32","shape":[0],"data_offsets":[0,0]},
                                            "last":{"dtype":"U8","shape":[1],"data_offsets":[8,9]}})",
                                        9));
  ASSERT_EQ(header.tensors.size(), 4U);
  EXPECT_EQ(header.tensors[0].name, "first");
  EXPECT_EQ(header.tensors[1].name, "scalar");
  EXPECT_TRUE(header.tensors[1].shape.empty());
  EXPECT_EQ(header.tensors[1].end, 8U);
  EXPECT_EQ(header.tensors[2].name, "empty");
  EXPECT_THAT(header.tensors[2].shape, testing::ElementsAre(3, 0, 5));
  EXPECT_EQ(header.tensors[3].name, "last");
}

TEST(SafetensorsHeader, a_zero_before_large_dimensions_does_not_overflow) {
  EXPECT_EQ(parse(one_tensor(R"("dtype":"F32","shape":[0,4294967296,4294967296],"data_offsets":[0,0])", 0))
                .tensors.front()
                .shape.size(),
            3U);
}

TEST(SafetensorsHeader, any_order_of_keys_gives_the_order_of_the_data) {
  const auto header = parse(safetensors(R"({"c":{"data_offsets":[6,8],"shape":[1],"dtype":"BF16"},
                                            "__metadata__":{"format":"pt"},
                                            "a":{"shape":[2],"data_offsets":[0,4],"dtype":"F16"},
                                            "b":{"dtype":"I8","data_offsets":[4,6],"shape":[1,2]}})",
                                        8));
  ASSERT_EQ(header.tensors.size(), 3U);
  EXPECT_EQ(header.tensors[0].name, "a");
  EXPECT_EQ(header.tensors[0].dtype, base::DType::f16);
  EXPECT_EQ(header.tensors[1].name, "b");
  EXPECT_EQ(header.tensors[1].dtype, base::DType::i8);
  EXPECT_EQ(header.tensors[2].name, "c");
  EXPECT_EQ(header.tensors[2].dtype, base::DType::bf16);
  EXPECT_EQ(header.tensors[2].begin, 6U);
  EXPECT_EQ(header.tensors[2].end, 8U);
}

TEST(SafetensorsHeader, white_space_around_the_json) {
  const auto header =
      parse(safetensors(" \n\t\r {\"t\" : {\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]} }   ", 1));
  EXPECT_EQ(header.tensors.size(), 1U);
}

TEST(SafetensorsHeader, unknown_keys_of_an_entry) {
  const auto header = parse(one_tensor(
      R"("x":1,"dtype":"U8","y":{"dtype":"nonsense","shape":{"data_offsets":[[-1.5e3]]}},"shape":[1],"z":[null,true,
         {"__metadata__":0}],"data_offsets":[0,1],"x":[])",
      1));
  ASSERT_EQ(header.tensors.size(), 1U);
  EXPECT_EQ(header.tensors.front().dtype, base::DType::u8);
  EXPECT_THAT(header.tensors.front().shape, testing::ElementsAre(1));
}

std::string with_nested_unknown_key(std::size_t depth) {
  const auto nested = std::string(depth, '[') + std::string(depth, ']');
  return one_tensor("\"x\":" + nested + R"(,"dtype":"U8","shape":[1],"data_offsets":[0,1])", 1);
}

TEST(SafetensorsHeader, nesting_as_deep_as_the_library_reads) {
  EXPECT_EQ(parse(with_nested_unknown_key(125)).tensors.size(), 1U);  // two more levels around it
}

TEST(SafetensorsHeader, nesting_deeper_than_the_library_reads) {
  for (const std::size_t depth : {std::size_t{126}, std::size_t{2'000'000}}) {
    expect_error(ErrorKind::invalid_input,
                 testing::HasSubstr("header is not valid JSON: it is nested more than 127 levels deep"),
                 [&] { parse(with_nested_unknown_key(depth)); });
  }
}

TEST(SafetensorsHeader, names_of_any_text) {
  const auto header =
      parse(safetensors("{\"\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]},"
                        "\"\xC3\xBC\xE2\x82\xAC\xF0\x9F\x98\x80\\u0000\\n\":"
                        "{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}",
                        1));
  ASSERT_EQ(header.tensors.size(), 2U);
  EXPECT_EQ(header.tensors[0].name, "");
  EXPECT_EQ(header.tensors[1].name, std::string("\xC3\xBC\xE2\x82\xAC\xF0\x9F\x98\x80\0\n", 11));
}

TEST(SafetensorsHeader, every_dtype) {
  const std::vector<std::pair<std::string, int>> bits{
      {"BOOL", 8},        {"F4", 4},          {"F6_E2M3", 6}, {"F6_E3M2", 6}, {"U8", 8},   {"I8", 8},
      {"F8_E5M2", 8},     {"F8_E4M3", 8},     {"F8_E8M0", 8}, {"I16", 16},    {"U16", 16}, {"F16", 16},
      {"F8_E4M3FNUZ", 8}, {"F8_E5M2FNUZ", 8}, {"BF16", 16},   {"I32", 32},    {"U32", 32}, {"F32", 32},
      {"C64", 64},        {"F64", 64},        {"I64", 64},    {"U64", 64}};
  for (const auto& [name, width] : bits) {
    SCOPED_TRACE(name);  // four elements are a whole number of bytes for all of them
    const auto header = parse(one_tensor(
        "\"dtype\":\"" + name + "\",\"shape\":[4],\"data_offsets\":[0," + std::to_string(width / 2) + "]", width / 2));
    EXPECT_EQ(base::name(header.tensors.front().dtype), name);
  }
}

TEST(SafetensorsHeader, a_name_of_megabytes_does_not_fill_the_screen) {
  const std::string name(5'000'000, 'n');
  const auto bad = [&](const std::string& json) {
    try {
      parse(safetensors(json));
    } catch (const base::Error& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  for (const auto& json : {"{\"" + name + "\":1}", "{\"__metadata__\":{\"" + name + "\":1}}", "{\"" + name,
                           R"({"t":{"dtype":")" + name + "\"}}",
                           "{\"__metadata__\":{\"" + name + R"(":"","\u006e)" + name.substr(1) + "\":\"\"}}"}) {
    const auto line = bad(json);
    EXPECT_GT(line.size(), 10U);
    EXPECT_LT(line.size(), 1000U);
  }
}

TEST(SafetensorsHeader, reads_nothing_but_the_header_from_a_file) {
  const test::TemporaryDirectory directory;
  const auto file = one_tensor(R"("dtype":"F32","shape":[2],"data_offsets":[0,8])", 8);
  const auto path = directory.write("m.safetensors", file);
  EXPECT_EQ(read_safetensors_header(path).tensors.front().name, "t");
  // parse takes the size of the file, not the data.
  EXPECT_EQ(parse_safetensors_header(file.substr(0, file.size() - 8), file.size(), "f").tensors.size(), 1U);
}

TEST(SafetensorsHeader, a_caller_that_gives_too_few_bytes_is_told_so) {
  const auto file = safetensors("{}");
  for (const std::size_t given : {std::size_t{0}, std::size_t{7}, std::size_t{9}}) {
    expect_error(ErrorKind::runtime, "beginning of the file not given: f",
                 [&] { parse_safetensors_header(file.substr(0, given), file.size(), "f"); });
  }
}

TEST(SafetensorsHeader, a_missing_file_is_an_io_error) {
  const test::TemporaryDirectory directory;
  expect_error(ErrorKind::runtime, "cannot open file (No such file or directory): " + (directory / "absent"),
               [&] { read_safetensors_header(directory / "absent"); });
}

}  // namespace
}  // namespace winnow::checkpoint
