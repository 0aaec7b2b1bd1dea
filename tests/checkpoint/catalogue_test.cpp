#include "winnow/checkpoint/catalogue.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <string>
#include <vector>

#include "base/expect_error.hpp"
#include "base/temporary_directory.hpp"
#include "checkpoint/safetensors_bytes.hpp"
#include "winnow/base/error.hpp"

namespace winnow::checkpoint {
namespace {

using base::ErrorKind;
using test::expect_error;
using test::safetensors;

const std::string kIndex = "model.safetensors.index.json";
const std::string kTensorA = R"("a":{"dtype":"BF16","shape":[2,3],"data_offsets":[0,12]})";
const std::string kTensorB = R"("b":{"dtype":"F32","shape":[],"data_offsets":[12,16]})";

/// Collects what would be shown.
struct Messages {
  std::vector<std::string> lines;
  base::Log log{[this](base::LogLevel level, std::string_view line) {
    if (level == base::LogLevel::warning) lines.emplace_back(line);
  }};
};

Catalogue read(const std::string& directory) {
  Messages messages;
  auto catalogue = read_checkpoint(directory, messages.log);
  EXPECT_THAT(messages.lines, testing::IsEmpty());
  return catalogue;
}

/// Two shards, a in the second, b in the first.
void write_sharded(const test::TemporaryDirectory& directory) {
  directory.write(kIndex, R"({"metadata":{"total_size":16},"weight_map":{"a":"s2.safetensors","b":"s1.safetensors"}})");
  directory.write("s1.safetensors", safetensors(R"({"b":{"dtype":"F32","shape":[],"data_offsets":[0,4]}})", 4));
  directory.write("s2.safetensors", safetensors("{" + kTensorA + "}", 12));
}

TEST(Catalogue, of_a_single_file) {
  const test::TemporaryDirectory directory;
  const auto file = safetensors("{" + kTensorA + "," + kTensorB + "}", 16);
  directory.write("model.safetensors", file);
  directory.write("consolidated.safetensors", "a second copy in another format, which is not looked at");
  const auto catalogue = read(directory.path());

  EXPECT_EQ(catalogue.directory, directory.path());
  ASSERT_EQ(catalogue.shards.size(), 1U);
  EXPECT_EQ(catalogue.shards[0].path, directory / "model.safetensors");
  EXPECT_EQ(catalogue.shards[0].bytes, file.size());
  ASSERT_EQ(catalogue.tensors.size(), 2U);
  const auto* b = catalogue.find("b");
  ASSERT_NE(b, nullptr);
  EXPECT_EQ(b->offset, file.size() - 4);
  EXPECT_EQ(b->bytes, 4U);
  EXPECT_EQ(b->dtype, base::DType::f32);
  EXPECT_TRUE(b->shape.empty());
  EXPECT_EQ(catalogue.find("a")->offset, file.size() - 16);
  EXPECT_EQ(catalogue.find("c"), nullptr);
  EXPECT_EQ(catalogue.total_bytes(), 16U);
}

TEST(Catalogue, of_shards) {
  const test::TemporaryDirectory directory;
  write_sharded(directory);
  directory.write("s3.safetensors", "a file the index does not name, which is not looked at");
  directory.write("model.safetensors", "the index goes before this");
  const auto catalogue = read(directory.path());
  ASSERT_EQ(catalogue.shards.size(), 2U);
  EXPECT_EQ(catalogue.shards[catalogue.find("a")->shard].path, directory / "s2.safetensors");
  EXPECT_EQ(catalogue.shards[catalogue.find("b")->shard].path, directory / "s1.safetensors");
  EXPECT_EQ(catalogue.total_bytes(), 16U);
}

TEST(Catalogue, of_a_path_with_a_slash_at_its_end_and_links_within) {
  const test::TemporaryDirectory directory;
  const auto blob = directory.write("blob", safetensors("{}"));
  std::filesystem::create_directory(directory / "snapshot");
  std::filesystem::create_symlink(blob, directory / "snapshot/model.safetensors");
  EXPECT_EQ(read((directory / "snapshot") + "/").shards.size(), 1U);
}

TEST(Catalogue, one_file_by_its_path) {
  const test::TemporaryDirectory directory;
  const auto path = directory.write("adapter_model.safetensors", safetensors("{" + kTensorA + "}", 12));
  const auto catalogue = read_safetensors_file(path);
  EXPECT_EQ(catalogue.directory, directory.path());
  EXPECT_EQ(catalogue.shards[0].path, path);
  EXPECT_THAT(catalogue.find("a")->shape, testing::ElementsAre(2, 3));
}

TEST(Catalogue, survives_being_sent) {
  const test::TemporaryDirectory directory;
  write_sharded(directory);
  const auto sent = read(directory.path());
  base::ByteWriter out;
  sent.serialise(out);
  base::ByteReader in(out.bytes());
  const auto got = Catalogue::deserialise(in);
  EXPECT_TRUE(in.at_end());
  EXPECT_EQ(got.directory, sent.directory);
  EXPECT_EQ(got.fingerprint, sent.fingerprint);
  ASSERT_EQ(got.shards.size(), sent.shards.size());
  for (std::size_t i = 0; i < got.shards.size(); ++i) {
    EXPECT_EQ(got.shards[i].path, sent.shards[i].path);
    EXPECT_EQ(got.shards[i].bytes, sent.shards[i].bytes);
  }
  ASSERT_EQ(got.tensors.size(), sent.tensors.size());
  for (const auto& [name, location] : sent.tensors) {
    const auto* other = got.find(name);
    ASSERT_NE(other, nullptr);
    EXPECT_EQ(other->shard, location.shard);
    EXPECT_EQ(other->offset, location.offset);
    EXPECT_EQ(other->bytes, location.bytes);
    EXPECT_EQ(other->dtype, location.dtype);
    EXPECT_EQ(other->shape, location.shape);
  }
  // Every shorter message is noticed.
  for (std::size_t length = 0; length < out.bytes().size(); ++length) {
    base::ByteReader cut(std::string_view(out.bytes()).substr(0, length));
    EXPECT_THROW(Catalogue::deserialise(cut), base::Error) << length;
  }
}

TEST(Catalogue, fingerprint_depends_on_names_sizes_and_headers_alone) {
  const test::TemporaryDirectory first;
  const test::TemporaryDirectory second;
  write_sharded(first);
  write_sharded(second);
  const auto original = read(first.path()).fingerprint;
  EXPECT_EQ(original.size(), 64U);
  EXPECT_EQ(read(second.path()).fingerprint, original);
  second.write("s2.safetensors", safetensors("{" + kTensorA + " }", 12));
  EXPECT_NE(read(second.path()).fingerprint, original);
}

TEST(Catalogue, sample_tells_weights_apart_wherever_they_lie) {
  const auto sample_of = [](char fill, const char* shard) {
    const test::TemporaryDirectory directory;
    write_sharded(directory);
    auto bytes = test::read_whole(directory / shard);
    bytes.back() = fill;
    directory.write(shard, bytes);
    return read(directory.path()).sample;
  };
  EXPECT_EQ(sample_of('x', "s1.safetensors"), sample_of('x', "s1.safetensors"));
  EXPECT_NE(sample_of('x', "s1.safetensors"), sample_of('y', "s1.safetensors"));
  EXPECT_NE(sample_of('x', "s2.safetensors"), sample_of('y', "s2.safetensors"));
}

TEST(Catalogue, sample_of_a_large_tensor_is_from_its_middle) {
  const auto sample_of = [](std::size_t changed) {
    const test::TemporaryDirectory directory;
    auto bytes = safetensors(R"({"a":{"dtype":"BF16","shape":[100000],"data_offsets":[0,200000]}})", 200'000);
    bytes[bytes.size() - 200'000 + changed] ^= 1;
    directory.write("model.safetensors", bytes);
    return read(directory.path()).sample;
  };
  EXPECT_NE(sample_of(96'000), sample_of(96'001));
  EXPECT_EQ(sample_of(5'000), sample_of(190'000)) << "it is no digest of everything";
}

TEST(Catalogue, notes_the_state_of_shards) {
  const test::TemporaryDirectory directory;
  write_sharded(directory);
  for (const auto& shard : read(directory.path()).shards) EXPECT_EQ(shard.state, base::state_of_file(shard.path));
}

TEST(Catalogue, warns_of_tensors_the_index_does_not_list) {
  const test::TemporaryDirectory directory;
  directory.write(kIndex, R"({"weight_map":{"a":"s.safetensors"}})");
  directory.write("s.safetensors", safetensors("{" + kTensorA + "," + kTensorB + "}", 16));
  Messages messages;
  const auto catalogue = read_checkpoint(directory.path(), messages.log);
  EXPECT_EQ(catalogue.find("b"), nullptr);
  EXPECT_NE(catalogue.find("a"), nullptr);
  EXPECT_THAT(messages.lines,
              testing::ElementsAre((directory / "s.safetensors") +
                                   " holds 1 tensor that the index does not list there; left out, e.g. b"));
}

TEST(Catalogue, takes_a_tensor_held_twice_from_the_shard_that_is_listed) {
  const test::TemporaryDirectory directory;
  const auto shard = safetensors("{" + kTensorA + "," + kTensorB + "}", 16);
  directory.write(kIndex, R"({"weight_map":{"a":"s1.safetensors","b":"s2.safetensors"}})");
  directory.write("s1.safetensors", shard);
  directory.write("s2.safetensors", shard);
  Messages messages;
  const auto catalogue = read_checkpoint(directory.path(), messages.log);
  EXPECT_EQ(catalogue.shards[catalogue.find("a")->shard].path, directory / "s1.safetensors");
  EXPECT_EQ(catalogue.shards[catalogue.find("b")->shard].path, directory / "s2.safetensors");
  EXPECT_EQ(messages.lines.size(), 2U);
}

// --- Refused --------------------------------------------------------------------------------------------------------

void expect_refusal(const std::string& directory, const std::string& line, ErrorKind kind = ErrorKind::invalid_input) {
  expect_error(kind, line, [&] { read_checkpoint(directory, base::Log()); });
}

TEST(CatalogueRefusal, no_such_directory) {
  const test::TemporaryDirectory directory;
  const auto path = directory / "absent";
  expect_refusal(path, "checkpoint does not exist: " + path +
                           "; expected a local directory with model.safetensors or its shards; check the path; a model "
                           "that is only known by its name on a hub must be downloaded first");
}

TEST(CatalogueRefusal, a_file_for_a_directory) {
  const test::TemporaryDirectory directory;
  const auto path = directory.write("model.safetensors", safetensors("{}"));
  expect_refusal(path, "checkpoint is not a directory: " + path +
                           "; expected a directory with model.safetensors or its shards; give the directory that holds "
                           "the file");
}

TEST(CatalogueRefusal, empty_directory) {
  const test::TemporaryDirectory directory;
  expect_refusal(directory.path(), "checkpoint directory is empty: " + directory.path() +
                                       "; expected model.safetensors.index.json or model.safetensors; check the path, "
                                       "or download the checkpoint again");
}

TEST(CatalogueRefusal, other_files_only) {
  const test::TemporaryDirectory directory;
  directory.write("consolidated.safetensors", safetensors("{}"));
  directory.write("model-00001-of-00002.safetensors", safetensors("{}"));
  expect_refusal(directory.path(), "directory holds no checkpoint: " + directory.path() +
                                       "; expected model.safetensors.index.json or model.safetensors; check the path, "
                                       "or download the checkpoint again");
}

TEST(CatalogueRefusal, pickles) {
  for (const std::string name : {"pytorch_model.bin", "pytorch_model.bin.index.json", "model.bin"}) {
    const test::TemporaryDirectory directory;
    directory.write(name, "");
    expect_refusal(directory.path(), "checkpoint is a pickle (" + name + "): " + directory.path() +
                                         "; expected model.safetensors.index.json or model.safetensors; reading a "
                                         "pickle can run code: convert the checkpoint to safetensors");
  }
}

TEST(CatalogueRefusal, an_adapter) {
  const test::TemporaryDirectory directory;
  directory.write("adapter_config.json", "{}");
  expect_refusal(directory.path(), "directory holds an adapter, not a checkpoint: " + directory.path() +
                                       "; expected model.safetensors.index.json or model.safetensors; give the "
                                       "directory of a whole model");
}

TEST(CatalogueRefusal, a_link_that_leads_nowhere) {
  const test::TemporaryDirectory directory;
  std::filesystem::create_symlink(directory / "blob", directory / "model.safetensors");
  expect_refusal(directory.path(), "cannot open file (No such file or directory): " + (directory / "model.safetensors"),
                 ErrorKind::runtime);
}

TEST(CatalogueRefusal, a_pipe_is_not_waited_for) {
  const test::TemporaryDirectory directory;
  ASSERT_EQ(::mkfifo((directory / "model.safetensors").c_str(), 0600), 0);
  expect_refusal(directory.path(), "cannot read file: " + (directory / "model.safetensors") + "; expected a plain file",
                 ErrorKind::runtime);
}

TEST(CatalogueRefusal, a_broken_shard_is_named) {
  const test::TemporaryDirectory directory;
  write_sharded(directory);
  directory.write("s2.safetensors", "short");
  expect_refusal(directory.path(),
                 "file is too short to be a safetensors file: " + (directory / "s2.safetensors") +
                     "; expected at least 8 bytes, found 5; the file is truncated: download it again");
}

TEST(CatalogueRefusal, missing_shard) {
  const test::TemporaryDirectory directory;
  write_sharded(directory);
  std::filesystem::remove(directory / "s2.safetensors");
  expect_refusal(directory.path(), "shard is missing: " + (directory / "s2.safetensors") +
                                       ", tensor a; expected the file that " + (directory / kIndex) +
                                       " names; the download is incomplete: download the shard");
}

TEST(CatalogueRefusal, listed_tensor_absent_from_its_shard) {
  const test::TemporaryDirectory directory;
  write_sharded(directory);
  directory.write("s2.safetensors", safetensors("{}"));
  expect_refusal(directory.path(),
                 "tensor is not in the shard that the index names: " + (directory / "s2.safetensors") +
                     ", tensor a; expected it there, as " + (directory / kIndex) +
                     " says; index and shards do not belong together: download the checkpoint again");
}

// A tensor in another shard than the index says is absent from its own.
TEST(CatalogueRefusal, listed_tensor_in_another_shard) {
  const test::TemporaryDirectory directory;
  write_sharded(directory);
  directory.write(kIndex, R"({"weight_map":{"a":"s1.safetensors","b":"s1.safetensors"}})");
  expect_refusal(directory.path(),
                 "tensor is not in the shard that the index names: " + (directory / "s1.safetensors") +
                     ", tensor a; expected it there, as " + (directory / kIndex) +
                     " says; index and shards do not belong together: download the checkpoint again");
}

struct BadIndex {
  std::string name, text, before_file, after_file;
};
void PrintTo(const BadIndex& bad, std::ostream* out) { *out << bad.name; }
std::string name_of(const testing::TestParamInfo<BadIndex>& info) { return info.param.name; }

class ShardIndexRefusal : public testing::TestWithParam<BadIndex> {};

TEST_P(ShardIndexRefusal, has_its_own_message) {
  const test::TemporaryDirectory directory;
  write_sharded(directory);
  directory.write(kIndex, GetParam().text);
  expect_error(ErrorKind::invalid_input,
               testing::AllOf(testing::StartsWith(GetParam().before_file),
                              testing::EndsWith(": " + (directory / kIndex) + GetParam().after_file)),
               [&] { read_checkpoint(directory.path(), base::Log()); });
}

const std::string kBeside = ", tensor a; expected the name of a file beside the index, without '/' and '..'";

INSTANTIATE_TEST_SUITE_P(
    Index, ShardIndexRefusal,
    testing::ValuesIn(std::vector<BadIndex>{
        {"not_json", "{", "shard index is not valid JSON: parse error", "; download it again"},
        {"empty", "", "shard index is not valid JSON: parse error", "; download it again"},
        {"git_lfs_pointer", "version https://git-lfs.example/spec/v1\n", "shard index is not valid JSON: parse error",
         "; download it again"},
        {"not_utf8", "{\"\xFF\":0}", "shard index is not UTF-8",
         "; expected UTF-8 text, found another byte at offset 2; download it again"},
        {"array", "[]", "shard index is not a JSON object", "; expected an object, found an array"},
        {"string", "\"weight_map\"", "shard index is not a JSON object", "; expected an object, found a string"},
        {"no_weight_map", R"({"metadata":{"weight_map":{"a":"s1.safetensors"}}})", "shard index has no weight_map",
         "; expected {\"weight_map\": {tensor: shard}}"},
        {"weight_map_array", R"({"weight_map":["a"]})", "weight_map of the shard index is not an object",
         "; expected {tensor: shard}, found an array"},
        {"weight_map_null", R"({"weight_map":null})", "weight_map of the shard index is not an object",
         "; expected {tensor: shard}, found null"},
        {"weight_map_twice", R"({"weight_map":{},"weight_map":{}})", "weight_map appears twice in the shard index", ""},
        {"tensor_twice", R"({"weight_map":{"a":"s1.safetensors","a":"s2.safetensors"}})",
         "tensor appears twice in the shard index", ", tensor a; expected each name once"},
        {"shard_number", R"({"weight_map":{"a":1}})", "shard index names no file for a tensor",
         ", tensor a; expected the name of a shard, found a number"},
        {"shard_object", R"({"weight_map":{"a":{"file":"s1.safetensors"}}})", "shard index names no file for a tensor",
         ", tensor a; expected the name of a shard, found an object"},
        {"shard_array", R"({"weight_map":{"a":["s1.safetensors"]}})", "shard index names no file for a tensor",
         ", tensor a; expected the name of a shard, found an array"},
        {"shard_with_slash", R"({"weight_map":{"a":"x/s1.safetensors"}})",
         "shard index names the file 'x/s1.safetensors'", kBeside},
        {"shard_absolute", R"({"weight_map":{"a":"/s1.safetensors"}})", "shard index names the file '/s1.safetensors'",
         kBeside},
        {"shard_parent", R"({"weight_map":{"a":".."}})", "shard index names the file '..'", kBeside},
        {"shard_with_dots", R"({"weight_map":{"a":"..s1.safetensors"}})",
         "shard index names the file '..s1.safetensors'", kBeside},
        {"shard_empty", R"({"weight_map":{"a":""}})", "shard index names the file ''", kBeside},
        {"shard_with_nul", R"({"weight_map":{"a":"s1.safetensors\u0000x"}})",
         "shard index names the file 's1.safetensors?x'", kBeside},
        {"shard_pickle", R"({"weight_map":{"a":"pytorch_model-1.bin"}})",
         "shard index names the pickled file 'pytorch_model-1.bin'",
         ", tensor a; convert the checkpoint to safetensors"},
    }),
    name_of);

}  // namespace
}  // namespace winnow::checkpoint
