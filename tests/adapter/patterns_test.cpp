#include "winnow/adapter/patterns.hpp"

#include <cmath>

#include "adapter/fixture.hpp"
#include "winnow/adapter/peft_config.hpp"

namespace winnow::adapter {
namespace {

using testing::HasSubstr;

TEST(Patterns, MatchTheWholeTailOfAName) {
  EXPECT_TRUE(pattern_matches("q_proj", "model.layers.0.self_attn.q_proj"));
  EXPECT_TRUE(pattern_matches("self_attn.q_proj", "model.layers.0.self_attn.q_proj"));
  EXPECT_TRUE(pattern_matches("model.layers.0.self_attn.q_proj", "model.layers.0.self_attn.q_proj"));
  EXPECT_TRUE(pattern_matches("q_proj", "q_proj"));
  EXPECT_FALSE(pattern_matches("q_proj", "model.layers.0.self_attn.q_proj.extra"));
  EXPECT_FALSE(pattern_matches("proj", "model.layers.0.self_attn.q_proj"));  // only at a dot
}

TEST(Patterns, CaretNeverMatchesANestedModule) {
  EXPECT_FALSE(pattern_matches("^q_proj", "model.layers.0.self_attn.q_proj"));
  EXPECT_TRUE(pattern_matches("^q_proj", "q_proj"));
}

TEST(Patterns, LayerOneIsNotLayerEleven) {
  EXPECT_TRUE(pattern_matches(R"(layers.1\..*q_proj)", "model.layers.1.self_attn.q_proj"));
  EXPECT_FALSE(pattern_matches(R"(layers.1\..*q_proj)", "model.layers.11.self_attn.q_proj"));
  EXPECT_FALSE(pattern_matches("layers.1.self_attn.q_proj", "model.layers.11.self_attn.q_proj"));
}

TEST(Patterns, TakeLookaheadsAndLookbehinds) {
  const auto* not_first = R"(layers\.(?!0\.)\d+\.self_attn\.[qv]_proj)";
  EXPECT_FALSE(pattern_matches(not_first, "model.layers.0.self_attn.q_proj"));
  EXPECT_TRUE(pattern_matches(not_first, "model.layers.10.self_attn.v_proj"));
  EXPECT_TRUE(pattern_matches(R"(.*(?<!k)_proj)", "a.q_proj"));
  EXPECT_FALSE(pattern_matches(R"(.*(?<!k)_proj)", "a.k_proj"));
}

TEST(Patterns, TakeAlternativesOfTheKeyItselfTogether) {
  EXPECT_TRUE(pattern_matches("q_proj|v_proj", "a.v_proj"));
  EXPECT_FALSE(pattern_matches("q_proj|v_proj", "a.v_proj.b"));
  EXPECT_TRUE(pattern_matches("a)|(b", "x.a"));  // the key is put between parentheses as text,
  EXPECT_TRUE(pattern_matches("a)|(b", "b"));    // so this is (.*\.)?(a) | (b)$
  EXPECT_FALSE(pattern_matches("a)|(b", "x.b"));
}

TEST(Patterns, TreatNewlinesAsPythonDoes) {
  EXPECT_TRUE(pattern_matches("q", "q\n"));  // "$" matches before a final newline
  EXPECT_FALSE(pattern_matches("q", "q\n\n"));
  EXPECT_FALSE(pattern_matches("a.b", "a\nb"));    // "." takes no newline
  EXPECT_TRUE(pattern_matches("a.b", "a\rb"));     // and nothing else is one
  EXPECT_FALSE(pattern_matches(R"(q\Z)", "q\n"));  // \Z is the very end
  EXPECT_FALSE(pattern_matches("q", "x\n.q"));
}

TEST(Patterns, CountCharactersAndNotBytes) {
  EXPECT_TRUE(pattern_matches("a.b",
                              "a\xC3\xA9"
                              "b"));
  EXPECT_TRUE(pattern_matches(R"(\w)", "\xC3\xA9"));
  EXPECT_TRUE(pattern_matches(R"(\u00e9)", "\xC3\xA9"));
}

TEST(Patterns, FollowPythonWherePcre2Differs) {
  EXPECT_TRUE(pattern_matches("a{,2}b", "aab"));
  EXPECT_FALSE(pattern_matches("a{,2}b", "aaab"));
  EXPECT_FALSE(pattern_matches("a{,2}b", "a{,2}b"));
  EXPECT_TRUE(pattern_matches("a{,x}", "a{,x}"));
  EXPECT_TRUE(pattern_matches("[[:alpha:]]", "[]"));  // the class [:alph and a bracket
  EXPECT_TRUE(pattern_matches("[]a]", "]"));
  EXPECT_FALSE(pattern_matches(R"(\v)", "\n"));
  EXPECT_TRUE(pattern_matches(R"(\v)", "\v"));
  EXPECT_TRUE(pattern_matches(R"([\v])", "\v"));
  EXPECT_TRUE(pattern_matches("(?#remark)q", "q"));
  EXPECT_TRUE(pattern_matches("(?i:Q)", "q"));
  EXPECT_TRUE(pattern_matches(R"((?P<n>a)(?P=n))", "aa"));
  EXPECT_TRUE(pattern_matches(R"((a)\3)", "aa"));  // two groups stand before the key's own
}

class BadPatterns : public testing::TestWithParam<const char*> {};

TEST_P(BadPatterns, AreRefusedWithThePattern) {
  const auto error = test::error_of([] { Pattern pattern(GetParam()); });
  EXPECT_EQ(error.kind(), base::ErrorKind::invalid_input);
  EXPECT_THAT(error.what(), HasSubstr("bad pattern"));
  EXPECT_THAT(error.what(), HasSubstr("as Python's re module takes it"));
}

INSTANTIATE_TEST_SUITE_P(All, BadPatterns,
                         testing::Values("(", "[", "a**", "*", "(?P<n>a)(?P<n>b)", "\\", R"(\Q)", R"(\K)", R"(\x1)",
                                         R"(\u00g0)", R"(\p{L})", R"(\h)", "(?R)", "(?1)", "(*ACCEPT)", "(?<n>a)",
                                         "(?i)q", "(?|a|b)", "(?C1)", "(?&n)", "(?(R)a)", "(?P>n)", "(?#", "[b-a]",
                                         R"([\Z])", "(?'n'a)", "(?(DEFINE)a)", "(?-)", R"(a\2)"));

TEST(Patterns, TooLongAreRefused) {
  const auto error = test::error_of([] { Pattern pattern(std::string(100'000, 'a')); });
  EXPECT_THAT(error.what(), HasSubstr("at most 16384 bytes"));
}

TEST(Patterns, CatastrophicOnesEndInAnError) {
  const std::string name(64, 'a');
  const auto error = test::error_of([&] { pattern_matches("(a+)+[xy]", name + "c"); });
  EXPECT_EQ(error.kind(), base::ErrorKind::invalid_input);
  EXPECT_THAT(error.what(), HasSubstr("takes too long on module " + name));
}

PeftConfig config(double r, double alpha, PatternTable ranks = {}, PatternTable alphas = {}) {
  PeftConfig result;
  result.peft_type = "LORA";
  result.r = r;
  result.lora_alpha = alpha;
  result.rank_pattern = std::move(ranks);
  result.alpha_pattern = std::move(alphas);
  return result;
}

TEST(Scaling, IsAlphaOverR) {
  EXPECT_DOUBLE_EQ(module_scaling(config(8, 16), "a.q_proj", 8).scale, 2);
  EXPECT_DOUBLE_EQ(module_scaling(config(8, 16), "a.q_proj", 8).alpha, 16);
}

TEST(Scaling, WithRsLoraIsAlphaOverTheRootOfR) {
  auto rslora = config(16, 32);
  rslora.use_rslora = true;
  EXPECT_DOUBLE_EQ(module_scaling(rslora, "a.q_proj", 16).scale, 8);
}

TEST(Scaling, TakesTheTrueRankAndNotTheConfigured) {
  EXPECT_DOUBLE_EQ(module_scaling(config(8, 16), "a.q_proj", 4).scale, 4);
}

TEST(Scaling, TakesTheFirstPatternThatMatches) {
  const auto patterns = config(8, 16, {}, {{"q_proj", 64}, {R"(layers\.0\..*)", 128}});
  EXPECT_DOUBLE_EQ(module_scaling(patterns, "layers.0.q_proj", 8).scale, 8);
  EXPECT_DOUBLE_EQ(module_scaling(patterns, "layers.0.k_proj", 8).scale, 16);
  EXPECT_DOUBLE_EQ(module_scaling(patterns, "layers.1.k_proj", 8).scale, 2);
  const auto reversed = config(8, 16, {}, {{R"(layers\.0\..*)", 128}, {"q_proj", 64}});
  EXPECT_DOUBLE_EQ(module_scaling(reversed, "layers.0.q_proj", 8).scale, 16);
}

TEST(Scaling, KnowsTheConfiguredRank) {
  const ScalingRules rules(config(8, 16, {{"q_proj", 4}}));
  EXPECT_DOUBLE_EQ(rules.configured_rank("a.q_proj"), 4);
  EXPECT_DOUBLE_EQ(rules.configured_rank("a.k_proj"), 8);
}

}  // namespace
}  // namespace winnow::adapter
