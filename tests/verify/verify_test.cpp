#include "winnow/verify/verify.hpp"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/expect_error.hpp"
#include "input/tiny_family.hpp"
#include "winnow/comm/communicator.hpp"
#include "winnow/pipeline/audit.hpp"
#include "winnow/report/hdf5_report.hpp"
#include "winnow/report/in_toto.hpp"

namespace winnow::verify {
namespace {

namespace fs = std::filesystem;
using test::TinyFamily;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

/// An audit of three adapters, one of them twice and one broken, and its report.
class Verify : public ::testing::Test {
 protected:
  Verify() {
    std::vector<std::string> adapters;
    for (unsigned k = 0; k < 2; ++k) {
      adapters.push_back(family.write_adapter(fmt::format("zoo/{}", k), TinyFamily::adapter(k + 1)));
    }
    adapters.push_back(family.write_adapter("zoo/again", TinyFamily::adapter(2)));
    adapters.push_back(family.write_adapter("zoo/broken", TinyFamily::adapter(3)));
    family.directory.write("zoo/broken/adapter_config.json", "{");
    request.report = family.directory / "report.h5";
    audit(family.options(adapters));
  }

  void audit(const run::AuditOptions& options) const {
    report::write_hdf5(pipeline::audit(options, *comm::make_self(), {}).report, request.report);
  }

  std::string path(const std::string& name) const { return family.directory / name; }

  /// Of byte `at`, counted from the end.
  void flip(const std::string& file, std::int64_t at = 20) const {
    std::fstream stream(path(file), std::ios::in | std::ios::out | std::ios::binary);
    stream.seekg(-at, std::ios::end);
    const auto byte = static_cast<char>(stream.get() ^ 4);
    stream.seekp(-at, std::ios::end);
    stream.put(byte);
    ASSERT_TRUE(stream.good()) << file;
  }

  std::string text(std::size_t names = 0) const { return render(verify(request, *comm::make_self(), {}), names); }

  TinyFamily family;
  Request request;
};

constexpr const char* kAllIsWell = "what was checked is what was audited\n";

TEST_F(Verify, WhatWasAuditedIsThere) {
  EXPECT_THAT(text(), AllOf(HasSubstr("report.h5: as audited; sealed with SHA-256 "),
                            HasSubstr("\n8 tensors of base " + path("base") + ": 8 as audited\n"),
                            HasSubstr("\n8 tensors of aligned " + path("aligned") + ": 8 as audited\n"),
                            HasSubstr("\n3 adapters: 3 as audited\n1 copy: 1 as audited\n"), HasSubstr(kAllIsWell)));
}

TEST_F(Verify, ATensorThatChangedIsNamed) {
  flip("base/model.safetensors");
  EXPECT_THAT(text(), AllOf(HasSubstr("8 tensors of base " + path("base") + ": 7 as audited, 1 changed: " +
                                      TinyFamily::weight(7) + " (in model.safetensors)\n"),
                            HasSubstr("8 tensors of aligned " + path("aligned") + ": 8 as audited\n"),
                            Not(HasSubstr(kAllIsWell))));
}

TEST_F(Verify, EveryTensorIsLookedAt) {
  for (int layer = 0; layer < TinyFamily::kLayers; ++layer) {
    auto changed = family.aligned;
    auto& value = changed.at(TinyFamily::weight(layer)).values.at(static_cast<std::size_t>(layer) * 9);
    value = -value;
    fs::create_directories(path("other"));
    test::write_tensors(path("other/model.safetensors"), changed);
    request.aligned = path("other");
    EXPECT_THAT(text(), HasSubstr(": 7 as audited, 1 changed: " + TinyFamily::weight(layer) + " (in"));
  }
}

TEST_F(Verify, ATensorThatIsGoneIsNamed) {
  auto without = family.base;
  without.erase(TinyFamily::weight(3));
  test::write_tensors(path("base/model.safetensors"), without);
  EXPECT_THAT(text(), AllOf(HasSubstr("changed: headers (names, sizes or headers of the shards)"),
                            HasSubstr("7 as audited, 1 missing: " + TinyFamily::weight(3) + "\n")));
}

TEST_F(Verify, ACheckpointThatCannotBeReadDiffers) {
  family.directory.write("base/model.safetensors", "short");
  EXPECT_THAT(text(), AllOf(HasSubstr("base " + path("base") + ": changed: "), HasSubstr("1 differs from")));
  EXPECT_THAT(text(), HasSubstr("3 adapters: 3 as audited")) << "the rest is checked all the same";
}

TEST_F(Verify, ACheckpointThatMovedIsNotChecked) {
  fs::rename(path("base"), path("elsewhere"));
  EXPECT_THAT(text(), AllOf(HasSubstr("base " + path("base") + ": not there and not checked; --base DIR says where"),
                            HasSubstr(kAllIsWell)));
  request.base = path("elsewhere");
  EXPECT_THAT(text(), HasSubstr("8 tensors of base " + path("elsewhere") + ": 8 as audited\n"));
  request.base = path("nowhere");
  test::expect_error(base::ErrorKind::invalid_input,
                     AllOf(HasSubstr("no such checkpoint directory"), HasSubstr("nowhere")), [&] { text(); });
}

TEST_F(Verify, AnAdapterThatChangedIsNamed) {
  flip("zoo/1/adapter_model.safetensors");
  EXPECT_THAT(text(), HasSubstr("3 adapters: 2 as audited, 1 changed: 1 (weights)\n1 copy: 1 as audited\n"));
  flip("zoo/again/adapter_model.safetensors");
  EXPECT_THAT(text(), HasSubstr("1 copy: 1 changed: " + path("zoo/again") + " (weights)\n"));
}

// The weights are the same and the update is not: twice alpha is twice the update.
TEST_F(Verify, AScaleThatChangedIsFound) {
  family.directory.write("zoo/0/adapter_config.json",
                         R"({"peft_type": "LORA", "r": 2, "lora_alpha": 8, "target_modules": ["up_proj"]})");
  EXPECT_THAT(text(), HasSubstr("1 changed: 0 (scales, by its configuration)\n"));
  family.directory.write("zoo/0/adapter_config.json",
                         R"({"target_modules": ["up_proj"], "r": 2, "lora_alpha": 4.0, "peft_type": "LORA"})");
  EXPECT_THAT(text(), HasSubstr(kAllIsWell)) << "written otherwise, but the same";
}

TEST_F(Verify, ScalesAreThoseOfTheAudit) {
  auto options = family.options({path("zoo/0"), path("zoo/1")});
  options.read.adapter.unit_scale = true;
  audit(options);
  EXPECT_THAT(text(), HasSubstr("2 adapters: 2 as audited\n"));
}

TEST_F(Verify, AnAdapterThatIsGoneIsNamed) {
  fs::remove_all(path("zoo/0"));
  EXPECT_THAT(text(), HasSubstr("2 as audited, 1 missing: 0; --zoo PATH or --adapter DIR says where they are now\n"));
}

TEST_F(Verify, AZooIsWhatWasAuditedWhereverItIs) {
  fs::rename(path("zoo"), path("moved"));
  request.zoo = path("moved");
  EXPECT_THAT(text(), AllOf(HasSubstr("3 adapters: 3 as audited\n1 copy: 1 as audited\n"), HasSubstr(kAllIsWell)));
  fs::rename(path("moved/0"), path("moved/swap"));
  fs::rename(path("moved/1"), path("moved/0"));
  fs::rename(path("moved/swap"), path("moved/1"));
  EXPECT_THAT(text(), HasSubstr("1 as audited, 2 changed: 0 (weights), 1 (weights)\n")) << "verdicts go by names";
  family.write_adapter("moved/new", TinyFamily::adapter(9));
  family.write_adapter("moved/third", TinyFamily::adapter(2));
  EXPECT_THAT(text(), HasSubstr("2 other directories: 1 with the content of an audited adapter, 1 not audited: " +
                                path("moved/new") + "\n3 differ from"));
}

TEST_F(Verify, NamedAdaptersAreCheckedAlone) {
  flip("zoo/1/adapter_model.safetensors");
  request.adapters = {path("zoo/0")};
  EXPECT_THAT(text(), AllOf(HasSubstr("3 adapters: 1 as audited, 2 not checked\n"), HasSubstr(kAllIsWell)));
  request.adapters.push_back(path("zoo/1"));
  EXPECT_THAT(text(), HasSubstr("3 adapters: 1 as audited, 1 not checked, 1 changed: 1 (weights)\n"));
  request.adapters = {path("nowhere")};
  EXPECT_THAT(text(), HasSubstr("1 other directory: 1 missing: " + path("nowhere") + "\n"));
}

TEST_F(Verify, ProbesAreChecked) {
  auto options = family.options({path("zoo/0"), path("zoo/1")});
  const auto probe = family.write_adapter("probe", TinyFamily::adapter(20));
  options.read.base.clear();
  options.read.aligned.clear();
  options.read.probes = {{probes::Effect::harmful, probes::Form::adapter, probe},
                         {probes::Effect::safe, probes::Form::direction, path("base")}};
  audit(options);
  EXPECT_THAT(text(), AllOf(HasSubstr("2 probes: 2 as audited\n"), HasSubstr(kAllIsWell)));
  flip("probe/adapter_model.safetensors");
  EXPECT_THAT(text(), HasSubstr("2 probes: 1 as audited, 1 changed: probe\n"));
  fs::remove_all(probe);
  EXPECT_THAT(text(), HasSubstr("1 probe: 1 as audited; not there and not checked: probe\n"));
  request.base = path("base");
  test::expect_error(base::ErrorKind::usage, HasSubstr("--base says nothing: the audit of this report had none"),
                     [&] { text(); });
}

TEST_F(Verify, TheReportIsItself) {
  flip("report.h5", 3000);
  test::expect_error(base::ErrorKind::invalid_input, AllOf(HasSubstr("report is damaged"), HasSubstr("report.h5")),
                     [&] { text(); });
  flip("report.h5", 3000);
  const auto size = fs::file_size(request.report);
  fs::resize_file(request.report, size - 87);  // as a program does that writes to it
  EXPECT_THAT(text(), HasSubstr("report.h5: missing: the seal (another program has written to it"));
}

TEST_F(Verify, AReportThatLiesIsContradicted) {
  auto report = report::read_hdf5(request.report);
  report.adapters[0].sha256[0] = report.adapters[0].sha256[0] == '0' ? '1' : '0';
  report.modules[2].base_digest = "no digest";
  report.adapters[1].path = "../\n\x1b[31m";
  report::write_hdf5(report, request.report);
  EXPECT_THAT(text(), AllOf(HasSubstr("1 changed: 0 (weights)"), HasSubstr("1 changed: " + TinyFamily::weight(2)),
                            HasSubstr("1 missing: 1;"), HasSubstr("3 differ from")));
}

/// With `change` of the statement of the report in "statement.json", as `text` then says.
class VerifyStatement : public Verify {
 protected:
  using Json = nlohmann::ordered_json;

  VerifyStatement() {
    statement = Json::parse(report::render_in_toto(report::read_report_file(request.report)));
    request.statement = path("statement.json");
  }

  std::string line() {
    family.directory.write("statement.json", statement.dump());
    const auto all = text();
    const auto from = all.find("statement " + request.statement);
    return all.substr(from, all.find('\n', from) - from).substr(("statement " + request.statement).size());
  }

  void refuse(const std::string& content, const std::string& why) {
    family.directory.write("statement.json", content);
    test::expect_error(base::ErrorKind::invalid_input,
                       AllOf(HasSubstr(why), HasSubstr("statement.json; expected what winnow report --in-toto writes")),
                       [&] { text(); });
  }

  Json statement;
};

TEST_F(VerifyStatement, OfTheReportSaysWhatItSays) {
  EXPECT_EQ(line(), ": as audited") << "laid out otherwise";
  auto turned = Json::object();
  for (auto member = statement.rbegin(); member != statement.rend(); ++member) turned[member.key()] = member.value();
  statement = turned;
  EXPECT_EQ(line(), ": as audited") << "in another order";
}

TEST_F(VerifyStatement, OfAnotherReportIsNamedFirstByThat) {
  auto options = family.options({path("zoo/0")});
  options.measure.seed = 9;
  audit(options);
  EXPECT_THAT(line(), ::testing::StartsWith(": changed: subject report digest sha256 ("));
}

// Every member, so that none can be signed that says something else.
TEST_F(VerifyStatement, EveryMemberCounts) {
  const auto whole = statement;
  std::size_t members = 0;
  const auto flat = whole.flatten();
  for (const auto& [pointer, value] : flat.items()) {
    if (pointer == "/_type" || pointer == "/predicateType") continue;
    statement = whole;
    statement[Json::json_pointer(pointer)] = "X";
    EXPECT_THAT(line(), Not(HasSubstr("as audited"))) << pointer;
    ++members;
  }
  EXPECT_GT(members, 50U);
}

TEST_F(VerifyStatement, MembersThatOnlyOneHasAreNamed) {
  statement["predicate"]["options"].erase("seed");
  statement["predicate"]["approved"] = true;
  statement["subject"][0]["digest"]["sha512"] = "0";
  EXPECT_EQ(line(),
            ": missing: predicate options seed (in the statement), not audited: subject report digest sha512 (not in "
            "the report), predicate approved (not in the report)");
}

TEST_F(VerifyStatement, InputsAreKnownByTheirNames) {
  auto& inputs = statement["predicate"]["inputs"];
  inputs.erase(2);  // the first adapter: those after it are still themselves
  inputs.push_back({{"name", "evil\x1b[31m"}, {"digest", {{"sha256", "0"}}}, {"annotations", {{"role", "adapter"}}}});
  EXPECT_EQ(line(),
            ": missing: predicate inputs adapter 0 (" + path("zoo/0") +
                ") (in the statement), not audited: predicate inputs adapter evil\\x1b[31m (not in the report)");
}

TEST_F(VerifyStatement, TheOrderOfInputsCounts) {
  auto& inputs = statement["predicate"]["inputs"];
  std::swap(inputs[0], inputs[1]);
  EXPECT_EQ(line(), ": changed: predicate inputs (their order)");
}

TEST_F(VerifyStatement, WhatIsNoneIsRefused) {
  refuse("", "statement is not JSON, at byte 1");
  refuse("[]", "statement is no JSON object");
  refuse("{}", "this is no in-toto statement, version 1");
  refuse(std::string(1'000'000, '[') + std::string(1'000'000, ']'), "statement is nested more than 64 deep");
  refuse(R"({"a": )" + std::string(1'000'000, '['), "statement is nested more than 64 deep");
  refuse("{\"\xff\": 1}", "statement is not JSON");
  refuse(R"({"_type": "https://in-toto.io/Statement/v0.1"})", "this is no in-toto statement, version 1");
  refuse(R"({"_type": "https://in-toto.io/Statement/v1", "predicateType": "https://slsa.dev/provenance/v1"})",
         "this is an in-toto statement of something else");
  refuse(R"({"payload": "e30=", "payloadType": "application/vnd.in-toto+json", "signatures": []})",
         "this is a signed envelope around a statement");
  refuse(R"({"dsseEnvelope": {"payload": "e30="}})", "this is a signed envelope around a statement");
  auto twice = statement.dump();
  twice.insert(twice.find("\"seed\""), "\"seed\": 7, ");
  refuse(twice, "statement has a member twice: seed");
}

TEST_F(Verify, NamesManyInPart) {
  for (const auto* name : {"0", "1", "broken"}) fs::remove_all(path(std::string("zoo/") + name));
  EXPECT_THAT(text(2), HasSubstr("3 missing: 0, 1 and 1 more; --zoo"));
}

TEST_F(Verify, AReportOfNoAdapterIsAReport) {
  auto empty = report::read_hdf5(request.report);
  empty = {};
  empty.policy = "none";
  report::write_hdf5(empty, request.report);
  EXPECT_THAT(text(), HasSubstr(kAllIsWell));
}

}  // namespace
}  // namespace winnow::verify
