#include "winnow/checkpoint/model_config.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <vector>

#include "base/expect_error.hpp"
#include "base/temporary_directory.hpp"
#include "winnow/base/error.hpp"
#include "winnow/checkpoint/model_kind.hpp"

namespace winnow::checkpoint {
namespace {

ModelConfig read(const std::string& text) {
  const test::TemporaryDirectory directory;
  directory.write("config.json", text);
  return read_model_config(directory.path());
}

TEST(ModelConfig, of_a_plain_model) {
  const auto config = read(R"({"architectures":["LlamaForCausalLM"],"model_type":"llama","num_hidden_layers":32,
                               "tie_word_embeddings":false,"rope_theta":1e4,"quantization_config":null})");
  EXPECT_EQ(config.architecture, "LlamaForCausalLM");
  EXPECT_EQ(config.model_type, "llama");
  EXPECT_EQ(config.num_hidden_layers, 32U);
  EXPECT_EQ(config.tie_word_embeddings, false);
}

TEST(ModelConfig, under_other_names) {
  EXPECT_EQ(read(R"({"n_layer":12})").num_hidden_layers, 12U);
  const auto nested = read(R"({"text_config":{"num_hidden_layers":5,"tie_word_embeddings":true}})");
  EXPECT_EQ(nested.num_hidden_layers, 5U);
  EXPECT_EQ(nested.tie_word_embeddings, true);
  // What the outer object says goes first.
  EXPECT_EQ(read(R"({"text_config":{"num_hidden_layers":5},"num_hidden_layers":6})").num_hidden_layers, 6U);
}

TEST(ModelConfig, of_a_model_with_towers) {
  EXPECT_EQ(read(R"({"model_type":"llava","text_config":{"model_type":"llama"}})").model_type, "llava/llama");
  EXPECT_EQ(read(R"({"model_type":"internvl_chat","llm_config":{"model_type":"gpt_oss"}})").model_type,
            "internvl_chat/gpt_oss");
  EXPECT_EQ(read(R"({"model_type":"llava","text_config":{"hidden_size":8}})").model_type, "llava");
}

TEST(ModelConfig, tells_kinds_of_models_apart) {
  const auto differ = [](const char* one, const char* other) {
    ModelConfig a, b;
    a.model_type = one;
    b.model_type = other;
    EXPECT_EQ(differ_in_kind(a, b), differ_in_kind(b, a));
    return differ_in_kind(a, b);
  };
  EXPECT_TRUE(differ("llama", "mistral"));
  EXPECT_TRUE(differ("llava/llama", "llava/mistral"));
  EXPECT_TRUE(differ("llava/llama", "llama"));
  EXPECT_FALSE(differ("llama", "llama"));
  EXPECT_FALSE(differ("llava/llama", "llava/llama"));
  EXPECT_FALSE(differ("llava/llama", "llava")) << "an older release did not write the part for text";
  EXPECT_FALSE(differ("llama", ""));
  EXPECT_FALSE(differ("llama", "/llama"));
}

TEST(ModelConfig, without_what_is_asked_for) {
  const test::TemporaryDirectory directory;
  for (const auto& config :
       {read_model_config(directory.path()), read("{}"),
        read(R"({"architectures":null,"model_type":null,"num_hidden_layers":null,"tie_word_embeddings":null})"),
        read(R"({"architectures":[]})")}) {
    EXPECT_EQ(config.architecture, "");
    EXPECT_EQ(config.model_type, "");
    EXPECT_EQ(config.num_hidden_layers, std::nullopt);
    EXPECT_EQ(config.tie_word_embeddings, std::nullopt);
  }
}

TEST(ModelConfig, survives_being_sent) {
  for (const auto* text :
       {"{}", R"({"architectures":["A"],"model_type":"m","n_layer":7,"tie_word_embeddings":true})",
        R"({"model_type":"phi3","num_attention_heads":8,"num_key_value_heads":2,"hidden_size":64})"}) {
    const auto sent = read(text);
    base::ByteWriter out;
    sent.serialise(out);
    base::ByteReader in(out.bytes());
    const auto got = ModelConfig::deserialise(in);
    EXPECT_TRUE(in.at_end());
    EXPECT_EQ(got.architecture, sent.architecture);
    EXPECT_EQ(got.model_type, sent.model_type);
    EXPECT_EQ(got.num_hidden_layers, sent.num_hidden_layers);
    EXPECT_EQ(got.tie_word_embeddings, sent.tie_word_embeddings);
    EXPECT_EQ(got.heads, sent.heads);
  }
}

TEST(ModelConfig, of_attention_heads) {
  const auto heads = [](const char* text) { return to_text(read(text).heads); };
  EXPECT_EQ(heads(R"({"num_attention_heads":32,"num_key_value_heads":8,"hidden_size":4096})"),
            "32 heads of 128, 8 of keys and values");
  EXPECT_EQ(heads(R"({"num_attention_heads":32,"hidden_size":4096,"num_key_value_heads":null})"), "32 heads of 128");
  EXPECT_EQ(heads(R"({"num_attention_heads":16,"num_key_value_heads":16,"hidden_size":3072,"head_dim":256})"),
            "16 heads of 256");
  EXPECT_EQ(heads(R"({"n_head":16,"n_embd":4096})"), "16 heads of 256");
  EXPECT_EQ(heads(R"({"model_type":"phi3","num_attention_heads":4,"hidden_size":32})"),
            "4 heads of 8, q, k and v in one");
  EXPECT_EQ(heads(R"({"model_type":"llava","num_attention_heads":2,"hidden_size":8,
                     "text_config":{"num_attention_heads":4,"hidden_size":32}})"),
            "4 heads of 8")
      << "those of the text";
  EXPECT_EQ(heads(R"({"num_attention_heads":4,"hidden_size":32,"text_config":{"hidden_size":64}})"), "4 heads of 8");
}

// Nobody who does not ask for heads is to be refused for them.
TEST(ModelConfig, of_attention_heads_that_are_not_told) {
  for (const auto* text : {"{}", R"({"num_attention_heads":32})", R"({"num_attention_heads":3,"hidden_size":32})",
                           R"({"num_attention_heads":[4,8],"head_dim":8})", R"({"num_attention_heads":0,"head_dim":8})",
                           R"({"num_attention_heads":-4,"head_dim":8})", R"({"num_attention_heads":"4","head_dim":8})",
                           R"({"num_attention_heads":4,"head_dim":8,"num_key_value_heads":3})",
                           R"({"num_attention_heads":4,"head_dim":8,"num_key_value_heads":0})",
                           R"({"num_attention_heads":4,"head_dim":8,"num_key_value_heads":[1,2]})",
                           R"({"num_attention_heads":4,"head_dim":0})", R"({"num_attention_heads":4.0,"head_dim":8})",
                           R"({"num_attention_heads":4294967296,"head_dim":4294967296})"}) {
    EXPECT_FALSE(read(text).heads) << text;
  }
}

TEST(ModelConfig, heads_of_a_quantized_model_are_known) {
  const test::TemporaryDirectory directory;
  EXPECT_FALSE(read_attention_heads(directory.path()));
  directory.write("config.json", R"({"num_attention_heads":4,"head_dim":8,"quantization_config":{}})");
  EXPECT_EQ(to_text(read_attention_heads(directory.path())), "4 heads of 8");
  directory.write("config.json", "{");
  test::expect_error(base::ErrorKind::invalid_input, testing::HasSubstr("not valid JSON"),
                     [&] { read_attention_heads(directory.path()); });
}

struct BadConfig {
  std::string name, text, before_file, after_file;
};
void PrintTo(const BadConfig& bad, std::ostream* out) { *out << bad.name; }
std::string name_of(const testing::TestParamInfo<BadConfig>& info) { return info.param.name; }

class ModelConfigRefusal : public testing::TestWithParam<BadConfig> {};

TEST_P(ModelConfigRefusal, has_its_own_message) {
  const test::TemporaryDirectory directory;
  const auto path = directory.write("config.json", GetParam().text);
  test::expect_error(base::ErrorKind::invalid_input,
                     testing::AllOf(testing::StartsWith(GetParam().before_file),
                                    testing::EndsWith(": " + path + GetParam().after_file)),
                     [&] { read_model_config(directory.path()); });
}

const std::string kBefore =
    "; an update against quantized weights is not defined here: give the checkpoint before quantization";

INSTANTIATE_TEST_SUITE_P(
    Config, ModelConfigRefusal,
    testing::ValuesIn(std::vector<BadConfig>{
        {"not_json", "{", "config is not valid JSON: parse error", ""},
        {"not_utf8", "{\"a\xC3\":0}", "config is not valid JSON: parse error", ""},
        {"array", "[]", "config is not a JSON object", "; expected {\"model_type\": ...}"},
        {"quantized", R"({"quantization_config":{"quant_method":"bitsandbytes"}})",
         "checkpoint is quantized (quantization_config)",
         "; expected weights in F64, F32, F16 or BF16, found quant_method \"bitsandbytes\"" + kBefore},
        {"quantized_inside", R"({"text_config":{"quantization_config":{}}})",
         "checkpoint is quantized (quantization_config)",
         "; expected weights in F64, F32, F16 or BF16, found quantized weights" + kBefore},
        {"architectures_string", R"({"architectures":"Llama"})", "architectures has the wrong type",
         "; expected an array of names, found \"Llama\""},
        {"architecture_number", R"({"architectures":[1]})", "architectures[0] has the wrong type",
         "; expected a string, found 1"},
        {"model_type_array", R"({"model_type":[]})", "model_type has the wrong type", "; expected a string, found []"},
        {"layers_negative", R"({"num_hidden_layers":-1})", "num_hidden_layers has the wrong type",
         "; expected a number of layers, found -1"},
        {"layers_fractional", R"({"n_layer":1.5})", "n_layer has the wrong type",
         "; expected a number of layers, found 1.5"},
        {"layers_string", R"({"num_hidden_layers":"32"})", "num_hidden_layers has the wrong type",
         "; expected a number of layers, found \"32\""},
        {"tied_number", R"({"tie_word_embeddings":1})", "tie_word_embeddings has the wrong type",
         "; expected true or false, found 1"},
        {"text_config_string", R"({"text_config":"x"})", "text_config has the wrong type",
         "; expected an object, found \"x\""},
        {"long_value", "{\"model_type\":[\"" + std::string(1000, 'x') + "\"]}", "model_type has the wrong type",
         "; expected a string, found [\"" + std::string(58, 'x') + "..."},
    }),
    name_of);

TEST(ModelConfig, a_file_of_gigabytes_is_not_read) {
  const test::TemporaryDirectory directory;
  const auto path = directory.write("config.json", "{}");
  std::filesystem::resize_file(path, 17U << 20);
  test::expect_error(
      base::ErrorKind::invalid_input,
      "file is too large to be what its name says: " + path + "; expected at most 16777216 bytes, found 17825792",
      [&] { read_model_config(directory.path()); });
}

}  // namespace
}  // namespace winnow::checkpoint
