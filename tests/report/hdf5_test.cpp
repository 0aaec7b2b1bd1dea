#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <hdf5.h>
#include <sys/resource.h>

#include <algorithm>
#include <csignal>
#include <fstream>
#include <iterator>
#include <span>

#include "report/sample.hpp"
#include "winnow/base/error.hpp"
#include "winnow/report/hdf5_report.hpp"

namespace winnow::report {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::kNaN;
using testing::sample;
using testing::TemporaryDirectory;
using testing::with_copies;
using testing::with_heads;
using testing::with_verdicts;

std::string slurp(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

void spill(const std::string& path, std::string_view bytes) {
  std::ofstream(path, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

std::vector<std::string> entries(const TemporaryDirectory& directory) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(directory.path())) {
    names.push_back(entry.path().filename().string());
  }
  return names;
}

void expect_same_bits(const std::vector<double>& a, const std::vector<double>& b, const std::string& what) {
  EXPECT_TRUE(std::ranges::equal(std::as_bytes(std::span(a)), std::as_bytes(std::span(b)))) << what;
}

/// With two probes: of one that is a direction no value in the last module.
Report with_probes(Report report) {
  const auto modules = report.modules.size(), adapters = report.adapters.size();
  report.probes = {{"refusals", "harmful", "direction", "probes/refusals", std::string(64, 'a')},
                   {"polite", "safe", "adapter", "probes/polite", std::string(64, 'b')}};
  for (std::size_t k = 0; k < 2; ++k) {
    for (std::size_t m = 0; m < modules; ++m) {
      report.probe_norms.push_back(k == 0 && m + 1 == modules ? kNaN : 1.5 + static_cast<double>(m));
    }
    for (std::size_t cell = 0; cell < adapters * modules; ++cell) {
      const bool absent = k == 0 && cell % modules + 1 == modules;
      report.probe_dots.push_back(absent ? kNaN : 0.001 * static_cast<double>(cell) - 0.01 * static_cast<double>(k));
      report.probe_blocks.push_back(k == 0 ? kNaN : 0.002 * static_cast<double>(cell));
    }
  }
  for (const char* name :
       {"probe_pull", "probe_cosine", "probe_cosine_max", "probe_coefficient", "alignment_removed"}) {
    Metric metric{name, "1", fmt::format("the number {} of an adapter", name), {}, {}};
    for (std::size_t n = 0; n < adapters; ++n) metric.values.push_back(n == 1 ? kNaN : 0.1 * static_cast<double>(n));
    report.of_adapters.push_back(std::move(metric));
  }
  return report;
}

// Bit for bit, so that NaN equals NaN.
void expect_same(const Report& a, const Report& b) {
  EXPECT_EQ(a.attributes, b.attributes);
  EXPECT_EQ(a.modules, b.modules);
  EXPECT_EQ(a.adapters, b.adapters);
  EXPECT_EQ(a.copies, b.copies);
  EXPECT_EQ(a.shards, b.shards);
  ASSERT_EQ(a.metrics.size(), b.metrics.size());
  for (std::size_t k = 0; k < a.metrics.size(); ++k) {
    EXPECT_EQ(a.metrics[k].name, b.metrics[k].name);
    EXPECT_EQ(a.metrics[k].units, b.metrics[k].units);
    EXPECT_EQ(a.metrics[k].long_name, b.metrics[k].long_name);
    EXPECT_EQ(a.metrics[k].categories, b.metrics[k].categories);
    ASSERT_EQ(a.metrics[k].values.size(), b.metrics[k].values.size());
    const auto bytes = [](const Metric& metric) { return std::as_bytes(std::span(metric.values)); };
    EXPECT_TRUE(std::ranges::equal(bytes(a.metrics[k]), bytes(b.metrics[k]))) << a.metrics[k].name;
  }
  ASSERT_EQ(a.of_adapters.size(), b.of_adapters.size());
  for (std::size_t k = 0; k < a.of_adapters.size(); ++k) {
    EXPECT_EQ(a.of_adapters[k].name, b.of_adapters[k].name);
    EXPECT_EQ(a.of_adapters[k].long_name, b.of_adapters[k].long_name);
    expect_same_bits(a.of_adapters[k].values, b.of_adapters[k].values, a.of_adapters[k].name);
  }
  EXPECT_EQ(a.probes, b.probes);
  expect_same_bits(a.probe_norms, b.probe_norms, "norm");
  expect_same_bits(a.probe_dots, b.probe_dots, "dot");
  expect_same_bits(a.probe_blocks, b.probe_blocks, "block");
  ASSERT_EQ(a.heads.has_value(), b.heads.has_value());
  if (a.heads) {
    expect_same_bits(a.heads->dots, b.heads->dots, "heads");
    EXPECT_EQ(a.heads->attention, b.heads->attention);
    EXPECT_EQ(a.heads->headless, b.heads->headless);
    EXPECT_EQ((std::array{a.heads->query, a.heads->key_value, a.heads->width}),
              (std::array{b.heads->query, b.heads->key_value, b.heads->width}));
  }
  EXPECT_EQ(a.bank, b.bank);
  expect_same_bits(a.bank_units, b.bank_units, "bank");
  expect_same_bits(a.bank_pulls, b.bank_pulls, "bank");
  expect_same_bits(a.bank_log_norms, b.bank_log_norms, "bank");
  ASSERT_EQ(a.bank_numbers.size(), b.bank_numbers.size());
  for (std::size_t k = 0; k < a.bank_numbers.size(); ++k) {
    EXPECT_EQ(a.bank_numbers[k].name, b.bank_numbers[k].name);
    EXPECT_EQ(a.bank_numbers[k].long_name, b.bank_numbers[k].long_name);
    expect_same_bits(a.bank_numbers[k].values, b.bank_numbers[k].values, "bank");
  }
  EXPECT_EQ(a.verdicts, b.verdicts);
  EXPECT_EQ(a.false_discovery_rate, b.false_discovery_rate);
  EXPECT_EQ(a.present, b.present);
  EXPECT_EQ(a.action, b.action);
  EXPECT_EQ(a.policy, b.policy);
  EXPECT_EQ(a.rank_by, b.rank_by);
  EXPECT_EQ(a.scope, b.scope);
  EXPECT_EQ(a.population, b.population);
  EXPECT_EQ(a.run, b.run);
}

void expect_round_trip(const Report& report) {
  const TemporaryDirectory directory;
  const auto path = directory.file("report.h5");
  write_hdf5(report, path);
  expect_same(report, read_hdf5(path));
  EXPECT_THAT(entries(directory), ::testing::ElementsAre("report.h5"));
}

base::Error read_error(const std::string& path) {
  try {
    read_hdf5(path);
  } catch (const base::Error& error) {
    return error;
  }
  ADD_FAILURE() << "was read: " << path;
  return base::Error(base::ErrorKind::runtime, "no error");
}

TEST(Hdf5Report, RoundTrip) {
  auto report = sample(3, 4);
  report.adapters[1].modules_not_judged = 2;
  report.adapters[1].not_judged = "why: a, b";
  report.adapters[2].tensors_not_judged = 1;
  report.adapters[2].tensors_skipped = "trained bias: c";
  report.adapters[2].parameters = std::uint64_t{1} << 40;
  report.adapters[2].parameters_judged = 3;
  report.adapters[2].base_model = "some/model@main";
  expect_round_trip(report);
}

TEST(Hdf5Report, RoundTripKeepsOrderOfMetricsAndTextOfAnyLength) {
  auto report = sample(2, 1);
  std::swap(report.metrics.front(), report.metrics.back());
  report.adapters[0].name = "\xC3\xA4\xE2\x82\xAC name, with \"quotes\"\nand a line";
  report.modules[0].name = "unseen \xE2\x80\xAE \xC2\x9B \x1b";
  report.adapters[1].status = "quarantined";
  report.adapters[1].reason = std::string(70000, 'x');
  report.attributes["command_line"] = std::string(100000, 'y');
  report.attributes["empty"] = std::string();
  report.attributes["not_a_number"] = 0.25;
  expect_round_trip(report);
}

TEST(Hdf5Report, RoundTripOfTheAlignedWeightsAlone) {
  auto report = sample(2, 3);
  for (auto& module : report.modules) module.base_digest.clear();
  report.modules.back().aligned_digest = std::string(32, 'a');
  expect_round_trip(report);
}

TEST(Hdf5Report, RoundTripWithProbes) {
  expect_round_trip(with_probes(sample(3, 4)));
  expect_round_trip(with_probes(sample(0, 2)));
  expect_round_trip(with_probes(sample(2, 0)));
  auto one = with_probes(sample(2, 1));
  one.probes.pop_back();
  one.probe_norms.resize(one.modules.size());
  one.probe_dots.resize(2 * one.modules.size());
  one.probe_blocks.clear();  // as an earlier version wrote it
  one.probes[0].path = "with \xC3\xA4 and \"quotes\"\nand a line";
  expect_round_trip(one);
}

TEST(Hdf5Report, RoundTripWithHeads) {
  auto report = with_heads(with_probes(sample(3, 4)));
  expect_round_trip(report);
  report.heads->headless.clear();
  report.heads->key_value = 2;
  expect_round_trip(report);
  report.heads->attention.clear();  // no module has any
  report.heads->dots.clear();
  expect_round_trip(report);
  expect_round_trip(with_heads(with_probes(sample(0, 2))));
}

TEST(Hdf5Report, RoundTripWithABank) {
  auto report = with_probes(sample(3, 4));
  report.bank = {{"harmless", std::string(64, 'c')}, {"plain", std::string(64, 'd')}, {"mild", std::string(64, 'e')}};
  report.bank_units = {2.5, 1};
  report.bank_pulls = {0.01, 0.02, kNaN, -0.01, 0.0, 0.5};
  report.bank_log_norms = {0.5, kNaN, -2};
  for (const char* name : {"bank_deviation", "bank_p", "bank_statistic"}) {
    report.of_adapters.push_back({name, "1", "of the bank", {0.5, kNaN, 1}, {}});
  }
  expect_round_trip(report);
  report.bank_numbers = {{"alignment_against", "1", "length against", {0.1, -0.1, kNaN}},
                         {"ablation_max", "1", "ablation", {0.3, kNaN, 0.4}}};
  expect_round_trip(report);
  auto without_probes = report;
  without_probes.probes.clear();
  without_probes.probe_norms.clear();
  without_probes.probe_dots.clear();
  without_probes.probe_blocks.clear();
  without_probes.bank_units.clear();
  without_probes.bank_pulls.clear();
  expect_round_trip(without_probes);
  report.bank_numbers.back().values.pop_back();
  EXPECT_THROW(expect_round_trip(report), base::Error) << "of another size";
  report.bank_numbers.clear();
  report.bank_units.pop_back();
  EXPECT_THROW(expect_round_trip(report), base::Error) << "of another size";
}

TEST(Hdf5Report, RoundTripWithVerdicts) {
  auto report = with_verdicts(with_probes(sample(4, 2)));
  expect_round_trip(report);
  report.verdicts.pop_back();
  EXPECT_THROW(expect_round_trip(report), base::Error) << "of another size";
}

TEST(Hdf5Report, RoundTripWithCopies) {
  auto report = with_copies(sample(3, 4));
  expect_round_trip(report);
  report.copies[0].path = "with \xC3\xA4 and \"quotes\"\nand a line";
  expect_round_trip(report);
  report.copies[1].of = 3;
  EXPECT_THROW(expect_round_trip(report), base::Error) << "of an adapter that is not there";
}

TEST(Hdf5Report, VerdictsAreTextAndSayWhatTheyRestOn) {
  const TemporaryDirectory directory;
  const auto path = directory.file("r.h5");
  write_hdf5(with_verdicts(with_probes(sample(4, 2))), path);
  const auto file = H5Fopen(path.c_str(), H5F_ACC_RDONLY, H5P_DEFAULT);
  double rate = 0;
  std::int64_t members = 0;
  const auto dataset = H5Dopen2(file, "adapters/verdict", H5P_DEFAULT);
  const auto read = [&](const char* name, hid_t type, void* value) {
    const auto attribute = H5Aopen(dataset, name, H5P_DEFAULT);
    EXPECT_GE(H5Aread(attribute, type, value), 0) << name;
    H5Aclose(attribute);
  };
  read("false_discovery_rate", H5T_NATIVE_DOUBLE, &rate);
  read("bank_members", H5T_NATIVE_INT64, &members);
  const auto type = H5Dget_type(dataset);
  std::string text(4 * H5Tget_size(type), '?');
  EXPECT_EQ(text.size(), 4 * std::string("incomplete").size());
  H5Dread(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, text.data());
  std::erase(text, '\0');
  EXPECT_EQ(text, "passincompleteblockreview");
  EXPECT_EQ(rate, 0.05);
  EXPECT_EQ(members, 3);
  H5Tclose(type);
  H5Dclose(dataset);
  H5Fclose(file);
}

TEST(Hdf5Report, ReportsWithoutVerdictsAreRead) {
  const TemporaryDirectory directory;
  const auto path = directory.file("r.h5");
  auto report = with_verdicts(with_probes(sample(4, 2)));
  report.verdicts.clear();
  report.false_discovery_rate = 0;
  write_hdf5(report, path);
  const auto file = H5Fopen(path.c_str(), H5F_ACC_RDONLY, H5P_DEFAULT);
  EXPECT_EQ(H5Lexists(file, "adapters/verdict", H5P_DEFAULT), 0);
  H5Fclose(file);
  expect_same(report, read_hdf5(path));
}

TEST(Hdf5Report, AVerdictWithoutMeaningIsRefused) {
  const TemporaryDirectory directory;
  const auto path = directory.file("r.h5");
  write_hdf5(with_verdicts(with_probes(sample(4, 2))), path);
  const auto sealed = slurp(path);
  spill(path, std::string_view(sealed).substr(0, sealed.rfind("\nwinnow report sha256 ")));
  const auto file = H5Fopen(path.c_str(), H5F_ACC_RDWR, H5P_DEFAULT);
  const auto dataset = H5Dopen2(file, "adapters/verdict", H5P_DEFAULT);
  const auto type = H5Dget_type(dataset);
  std::string text(4 * H5Tget_size(type), '\0');
  text.replace(0, 4, "fine");
  H5Dwrite(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, text.data());
  H5Tclose(type);
  H5Fflush(file, H5F_SCOPE_GLOBAL);
  H5Dclose(dataset);
  H5Fclose(file);
  EXPECT_THAT(read_error(path).what(),
              AllOf(HasSubstr("verdict without meaning"), HasSubstr("pass, review, block or incomplete, found fine")));
}

TEST(Hdf5Report, WhatRanksAdaptersIsNamed) {
  const TemporaryDirectory directory;
  const auto metric_of = [&](const Report& report) {
    const auto path = directory.file("r.h5");
    write_hdf5(report, path);
    const auto file = H5Fopen(path.c_str(), H5F_ACC_RDONLY, H5P_DEFAULT);
    const auto dataset = H5Dopen2(file, "adapters/score", H5P_DEFAULT);
    EXPECT_GE(dataset, 0);
    std::vector<double> scores(report.adapters.size());
    H5Dread(dataset, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, scores.data());
    const auto attribute = H5Aopen(dataset, "metric", H5P_DEFAULT);
    const auto type = H5Aget_type(attribute);
    std::string text(H5Tget_size(type), '\0');
    if (H5Tis_variable_str(type) > 0) {
      char* value = nullptr;
      H5Aread(attribute, type, &value);
      text = value;
      H5free_memory(value);
    } else {
      H5Aread(attribute, type, text.data());
    }
    H5Tclose(type);
    H5Aclose(attribute);
    H5Dclose(dataset);
    H5Fclose(file);
    return std::pair(std::string(text.c_str()), scores);
  };
  const auto probed = with_probes(sample(3, 2));
  const auto [name, scores] = metric_of(probed);
  EXPECT_EQ(name, "probe_pull");
  expect_same_bits(scores, probed.of_adapters.front().values, "score");
  auto earlier = probed;  // of a version that ranked by cosines
  earlier.of_adapters.erase(earlier.of_adapters.begin());
  const auto [earlier_name, earlier_scores] = metric_of(earlier);
  EXPECT_EQ(earlier_name, "probe_cosine");
  expect_same_bits(earlier_scores, earlier.of_adapters.front().values, "score");
  auto banked = sample(3, 2);
  banked.bank = {{"harmless", std::string(64, 'c')}};
  banked.bank_log_norms = {0.5};
  banked.of_adapters.push_back({"alignment_removed", "1", "", {3, 2, 1}, {}});
  banked.of_adapters.push_back({"bank_deviation", "1", "", {1, 2, 3}, {}});
  const auto [banked_name, banked_scores] = metric_of(banked);
  EXPECT_EQ(banked_name, "bank_deviation");
  expect_same_bits(banked_scores, banked.of_adapters.back().values, "score");
  const auto plain = sample(3, 2);
  const auto [plain_name, plain_scores] = metric_of(plain);
  EXPECT_EQ(plain_name, "ediem");
  for (std::size_t n = 0; n < 3; ++n) {
    double worst = -1e300;
    for (std::size_t m = 0; m + 1 < plain.modules.size(); ++m) {
      worst = std::max(worst, plain.find_metric("ediem")->values[n * plain.modules.size() + m]);
    }
    EXPECT_EQ(plain_scores[n], worst);
  }
}

TEST(Hdf5Report, RoundTripOfNothing) {
  expect_round_trip(sample(0, 0));
  expect_round_trip(sample(0, 2));
  expect_round_trip(sample(2, 0));
  Report report;
  expect_round_trip(report);
}

TEST(Hdf5Report, AbsentSelectionReadsAsNone) {
  auto report = sample(2, 1);
  report.action.clear();
  report.present.clear();
  const TemporaryDirectory directory;
  write_hdf5(report, directory.file("r.h5"));
  const auto back = read_hdf5(directory.file("r.h5"));
  EXPECT_EQ(back.action, std::vector<Action>(14, Action::none));
  EXPECT_EQ(back.present, std::vector<std::uint8_t>(14, 0));
}

TEST(Hdf5Report, SameReportSameBytes) {
  const TemporaryDirectory directory;
  const auto report = sample(5, 6);
  write_hdf5(report, directory.file("a.h5"));
  const auto first = slurp(directory.file("a.h5"));
  // Past the next full second of any time stamp, and with other garbage in freed memory.
  ::timespec pause{1, 100'000'000};
  ::nanosleep(&pause, nullptr);
  { const std::vector<std::string> garbage(1000, std::string(1000, '\xA5')); }
  write_hdf5(report, directory.file("another-name.h5"));
  EXPECT_EQ(first, slurp(directory.file("another-name.h5")));
}

TEST(Hdf5Report, ReplacesAnOlderReport) {
  const TemporaryDirectory directory;
  const auto path = directory.file("r.h5");
  write_hdf5(sample(3, 2), path);
  write_hdf5(sample(1, 1), path);
  expect_same(sample(1, 1), read_hdf5(path));
}

TEST(Hdf5Report, TextThatIsNotUtf8IsMadeSo) {
  const TemporaryDirectory directory;
  auto report = sample(1, 1);
  report.adapters[0].path = "zoo/\xFF\xC3";
  write_hdf5(report, directory.file("r.h5"));
  EXPECT_EQ(read_hdf5(directory.file("r.h5")).adapters[0].path, "zoo/\xEF\xBF\xBD\xEF\xBF\xBD");
}

TEST(Hdf5Report, InconsistentReportIsNotWritten) {
  const TemporaryDirectory directory;
  auto report = sample(2, 1);
  report.metrics[3].values.pop_back();
  EXPECT_THROW(write_hdf5(report, directory.file("r.h5")), base::Error);
  report = sample(2, 1);
  report.metrics[0].name = "a/b";
  EXPECT_THROW(write_hdf5(report, directory.file("r.h5")), base::Error);
  for (auto Report::*values : {&Report::probe_norms, &Report::probe_dots, &Report::probe_blocks}) {
    report = with_probes(sample(2, 1));
    (report.*values).pop_back();
    EXPECT_THROW(write_hdf5(report, directory.file("r.h5")), base::Error);
  }
  report = with_heads(with_probes(sample(2, 1)));
  report.heads->dots.pop_back();
  EXPECT_THROW(write_hdf5(report, directory.file("r.h5")), base::Error);
  report = with_probes(sample(2, 1));
  report.of_adapters[1].values.push_back(0);
  EXPECT_THROW(write_hdf5(report, directory.file("r.h5")), base::Error);
  EXPECT_THAT(entries(directory), IsEmpty());
}

TEST(Hdf5Report, UnwritableDirectoryIsNamed) {
  const TemporaryDirectory directory;
  try {
    write_hdf5(sample(1, 1), directory.file("absent/report.h5"));
    FAIL();
  } catch (const base::Error& error) {
    EXPECT_EQ(error.kind(), base::ErrorKind::runtime);
    EXPECT_THAT(error.what(), HasSubstr("absent/"));
    EXPECT_THAT(error.what(), HasSubstr("No such file or directory"));
  }
}

TEST(Hdf5Report, FullDiskLeavesTheOldReportAndNothingElse) {
  const TemporaryDirectory directory;
  const auto path = directory.file("r.h5");
  write_hdf5(sample(1, 1), path);
  const auto before = slurp(path);
  ::rlimit old{};
  ASSERT_EQ(0, ::getrlimit(RLIMIT_FSIZE, &old));
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  const ::rlimit small{1000, old.rlim_max};
  ASSERT_EQ(0, ::setrlimit(RLIMIT_FSIZE, &small));
  std::string message;
  try {
    write_hdf5(sample(20, 20), path);
  } catch (const base::Error& error) {
    message = error.what();
  }
  ::setrlimit(RLIMIT_FSIZE, &old);
  std::signal(SIGXFSZ, handler);
  EXPECT_THAT(message, HasSubstr("File too large"));
  EXPECT_EQ(before, slurp(path));
  EXPECT_THAT(entries(directory), ::testing::ElementsAre("r.h5"));
}

TEST(Hdf5Report, ReadingWhatIsNoReport) {
  const TemporaryDirectory directory;
  const auto path = directory.file("r.h5");
  EXPECT_EQ(read_error(path).kind(), base::ErrorKind::runtime) << "absent";
  for (const std::string_view bytes : {"", "\x89HDF", "not a report", "\x89HDF\r\n\x1a\n and then nothing of use"}) {
    spill(path, bytes);
    const auto error = read_error(path);
    EXPECT_EQ(error.kind(), base::ErrorKind::invalid_input) << error.what();
    EXPECT_THAT(error.what(), HasSubstr(path));
  }
}

TEST(Hdf5Report, TruncatedAnywhereIsAnError) {
  const TemporaryDirectory directory;
  write_hdf5(sample(2, 2), directory.file("r.h5"));
  const auto whole = slurp(directory.file("r.h5"));
  spill(directory.file("cut.h5"), whole);
  for (std::size_t size = whole.size(); size-- > 0; size -= std::min(size, size < 600 ? std::size_t{0} : 96)) {
    std::filesystem::resize_file(directory.file("cut.h5"), size);
    ASSERT_EQ(read_error(directory.file("cut.h5")).kind(), base::ErrorKind::invalid_input) << size;
  }
}

// HDF5 itself crashes on some of these: they must be found before it sees them.
TEST(Hdf5Report, FlippedBitsAreAnError) {
  const TemporaryDirectory directory;
  write_hdf5(sample(2, 2), directory.file("r.h5"));
  const auto whole = slurp(directory.file("r.h5"));
  std::mt19937 random(7);
  for (int i = 0; i < 300; ++i) {
    auto bytes = whole;
    bytes[random() % (bytes.size() - 90)] ^= static_cast<char>(1U << random() % 8);
    spill(directory.file("bad.h5"), bytes);
    const auto error = read_error(directory.file("bad.h5"));
    ASSERT_EQ(error.kind(), base::ErrorKind::invalid_input) << i;
  }
}

class Edited {  // a report changed by another program, which drops our checksum
 public:
  explicit Edited(const Report& report = sample(2, 2)) {
    write_hdf5(report, path_);
    const auto whole = slurp(path_);
    spill(path_, std::string_view(whole).substr(0, whole.rfind("\nwinnow report sha256 ")));
    file_ = H5Fopen(path_.c_str(), H5F_ACC_RDWR, H5P_DEFAULT);
    EXPECT_GE(file_, 0);
  }
  hid_t file() const { return file_; }
  std::string close() {
    H5Fclose(file_);
    return path_;
  }

 private:
  TemporaryDirectory directory_;
  std::string path_ = directory_.file("edited.h5");
  hid_t file_ = -1;
};

void replace_dataset(hid_t file, const char* name, hid_t type, const std::vector<hsize_t>& shape) {
  H5Ldelete(file, name, H5P_DEFAULT);
  const auto space = H5Screate_simple(static_cast<int>(shape.size()), shape.data(), nullptr);
  const auto dataset = H5Dcreate2(file, name, type, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
  ASSERT_GE(dataset, 0);
  H5Dclose(dataset);
  H5Sclose(space);
}

TEST(Hdf5Report, EditedReportsAreStillRead) {
  Edited edited;
  expect_same(sample(2, 2), read_hdf5(edited.close()));
}

TEST(Hdf5Report, AnEarlierVersionSelectedInEachAdapter) {
  auto report = sample(2, 2);
  report.scope = "zoo";
  expect_round_trip(report);
  Edited edited(report);
  ASSERT_GE(H5Adelete_by_name(edited.file(), "selection", "scope", H5P_DEFAULT), 0);
  EXPECT_EQ(read_hdf5(edited.close()).scope, "adapter");
}

TEST(Hdf5Report, WhatIsMissingIsNamed) {
  for (const char* name : {"modules", "adapters", "metrics", "selection", "run", "modules/role", "selection/action",
                           "adapters/sha256", "run/seconds"}) {
    Edited edited;
    ASSERT_GE(H5Ldelete(edited.file(), name, H5P_DEFAULT), 0);
    const auto error = read_error(edited.close());
    EXPECT_EQ(error.kind(), base::ErrorKind::invalid_input);
    const std::string_view text(name);
    EXPECT_THAT(error.what(), HasSubstr(std::string(text.substr(text.find('/') + 1))));
  }
  Edited edited;
  H5Adelete(edited.file(), "schema_version");
  EXPECT_THAT(read_error(edited.close()).what(), HasSubstr("schema_version"));
}

TEST(Hdf5Report, AnotherSchemaIsRefused) {
  Edited edited;
  const auto attribute = H5Aopen(edited.file(), "schema_version", H5P_DEFAULT);
  const std::int64_t version = 2;
  H5Awrite(attribute, H5T_NATIVE_INT64, &version);
  H5Aclose(attribute);
  const auto error = read_error(edited.close());
  EXPECT_EQ(error.kind(), base::ErrorKind::invalid_input);
  EXPECT_THAT(error.what(), HasSubstr("schema_version 1, found 2"));
}

TEST(Hdf5Report, WrongShapesAndTypesAreRefused) {
  const auto expect = [](const char* name, hid_t type, const std::vector<hsize_t>& shape, const char* message) {
    Edited edited;
    replace_dataset(edited.file(), name, type, shape);
    const auto error = read_error(edited.close());
    EXPECT_EQ(error.kind(), base::ErrorKind::invalid_input);
    EXPECT_THAT(error.what(), HasSubstr(message));
  };
  expect("metrics/ediem", H5T_NATIVE_DOUBLE, {14, 2}, "expected [2, 14], found [14, 2]");
  expect("metrics/ediem", H5T_NATIVE_INT, {2, 14}, "ediem has the wrong type");
  expect("modules/layer", H5T_NATIVE_INT64, {15}, "layer has the wrong shape");
  expect("modules/role", H5T_NATIVE_DOUBLE, {14}, "role has the wrong type");
  expect("modules/name", H5T_C_S1, {2, 7}, "name has the wrong shape");
  // Shapes that no memory holds, without a byte stored.
  expect("modules/name", H5T_C_S1, {hsize_t{1} << 40}, "claims more elements than are stored");
  expect("run/stage", H5T_C_S1, {hsize_t{1} << 33}, "claims more elements than are stored");
}

TEST(Hdf5Report, ReportsWithoutProbesAreRead) {
  Edited edited(with_probes(sample(2, 2)));
  ASSERT_GE(H5Ldelete(edited.file(), "probes", H5P_DEFAULT), 0);
  auto expected = with_probes(sample(2, 2));
  expected.probes.clear();
  expected.probe_norms.clear();
  expected.probe_dots.clear();
  expected.probe_blocks.clear();
  expect_same(expected, read_hdf5(edited.close()));
}

TEST(Hdf5Report, DamagedProbesAreRefusedInOneLine) {
  const auto refused = [](const char* name, hid_t type, const std::vector<hsize_t>& shape, const char* message) {
    Edited edited(with_probes(sample(2, 2)));
    replace_dataset(edited.file(), name, type, shape);
    const auto error = read_error(edited.close());
    EXPECT_EQ(error.kind(), base::ErrorKind::invalid_input);
    EXPECT_THAT(error.what(), ::testing::AllOf(HasSubstr(message), ::testing::Not(HasSubstr("\n")))) << name;
  };
  refused("probes/norm", H5T_NATIVE_DOUBLE, {14, 2}, "expected [2, 14], found [14, 2]");
  refused("probes/dot", H5T_NATIVE_DOUBLE, {2, 14, 2}, "expected [2, 2, 14], found [2, 14, 2]");
  refused("probes/dot", H5T_NATIVE_DOUBLE, {56}, "dot has the wrong shape");
  refused("probes/dot", H5T_NATIVE_INT, {2, 2, 14}, "dot has the wrong type");
  refused("probes/effect", H5T_C_S1, {3}, "effect has the wrong shape");
  refused("probes/name", H5T_C_S1, {hsize_t{1} << 40}, "claims more elements than are stored");
  refused("probes/name", H5T_C_S1, {0}, "effect has the wrong shape");
  refused("adapters/probe_cosine", H5T_NATIVE_DOUBLE, {3}, "probe_cosine has the wrong shape");
  for (const char* name :
       {"probes/name", "probes/effect", "probes/form", "probes/path", "probes/digest", "probes/norm", "probes/dot"}) {
    Edited edited(with_probes(sample(2, 2)));
    ASSERT_GE(H5Ldelete(edited.file(), name, H5P_DEFAULT), 0);
    const auto error = read_error(edited.close());
    EXPECT_EQ(error.kind(), base::ErrorKind::invalid_input);
    EXPECT_THAT(error.what(), HasSubstr(std::string(name).substr(7)));
  }
}

TEST(Hdf5Report, DamagedHeadsAreRefusedInOneLine) {
  const auto refused = [](const char* name, hid_t type, const std::vector<hsize_t>& shape, const char* message) {
    Edited edited(with_heads(with_probes(sample(2, 2))));
    replace_dataset(edited.file(), name, type, shape);
    const auto error = read_error(edited.close());
    EXPECT_EQ(error.kind(), base::ErrorKind::invalid_input);
    EXPECT_THAT(error.what(), ::testing::AllOf(HasSubstr(message), ::testing::Not(HasSubstr("\n")))) << name;
  };
  refused("heads/dot", H5T_NATIVE_DOUBLE, {2, 2, 4, 2}, "expected [2, 2, 2, 4], found [2, 2, 4, 2]");
  refused("heads/dot", H5T_NATIVE_INT, {2, 2, 2, 4}, "dot has the wrong type");
  refused("heads/layer", H5T_NATIVE_INT64, {3}, "layer has the wrong shape");
  refused("heads/headless_reason", H5T_C_S1, {2}, "headless_reason has the wrong shape");
  for (const char* name : {"heads/dot", "heads/attention", "heads/layer", "heads/headless_reason"}) {
    Edited edited(with_heads(with_probes(sample(2, 2))));
    ASSERT_GE(H5Ldelete(edited.file(), name, H5P_DEFAULT), 0);
    EXPECT_THAT(read_error(edited.close()).what(), HasSubstr(std::string(name).substr(6)));
  }
  for (const char* name : {"num_attention_heads", "num_key_value_heads", "head_dim"}) {
    Edited edited(with_heads(with_probes(sample(2, 2))));
    ASSERT_GE(H5Adelete_by_name(edited.file(), "heads", name, H5P_DEFAULT), 0);
    EXPECT_THAT(read_error(edited.close()).what(), HasSubstr(std::string("/heads has no attribute ") + name));
  }
}

TEST(Hdf5Report, ThereAreNoCopiesWhereThereAreNone) {
  const auto has_copies = [](const Report& report) {
    Edited edited(report);
    const bool found = H5Lexists(edited.file(), "copies", H5P_DEFAULT) > 0;
    edited.close();
    return found;
  };
  EXPECT_FALSE(has_copies(sample(2, 2)));
  EXPECT_TRUE(has_copies(with_copies(sample(2, 2))));
}

TEST(Hdf5Report, DamagedCopiesAreRefusedInOneLine) {
  Edited edited(with_copies(sample(2, 2)));
  const auto dataset = H5Dopen2(edited.file(), "copies/of", H5P_DEFAULT);
  const std::vector<std::uint64_t> of{1, 0, 2};
  H5Dwrite(dataset, H5T_NATIVE_UINT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, of.data());
  H5Dclose(dataset);
  const auto error = read_error(edited.close());
  EXPECT_EQ(error.kind(), base::ErrorKind::invalid_input);
  EXPECT_THAT(error.what(), ::testing::StartsWith("mirror/adapter-001 is a copy of an adapter that is not there: "));
  EXPECT_THAT(error.what(), HasSubstr("expected one of 2 adapters, found number 2; give a report written by"));
  for (const char* name : {"copies/path", "copies/of"}) {
    Edited without(with_copies(sample(2, 2)));
    ASSERT_GE(H5Ldelete(without.file(), name, H5P_DEFAULT), 0);
    EXPECT_THAT(read_error(without.close()).what(), HasSubstr(std::string(name).substr(7)));
  }
  Edited other(with_copies(sample(2, 2)));
  replace_dataset(other.file(), "copies/of", H5T_NATIVE_UINT64, {2});
  EXPECT_THAT(read_error(other.close()).what(), HasSubstr("of has the wrong shape"));
}

// A probe that is neither harmful nor safe would count as harmful.
TEST(Hdf5Report, AProbeOfNoKnownEffectIsRefused) {
  auto report = with_probes(sample(2, 2));
  report.probes[1].effect = "sofa";
  Edited edited(report);
  EXPECT_THAT(read_error(edited.close()).what(), HasSubstr("sofa"));
}

TEST(Hdf5Report, ValuesWithoutMeaningAreRefused) {
  Edited edited;
  const auto dataset = H5Dopen2(edited.file(), "selection/action", H5P_DEFAULT);
  const std::vector<std::uint8_t> values(28, 9);
  H5Dwrite(dataset, H5T_NATIVE_UINT8, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data());
  H5Dclose(dataset);
  EXPECT_THAT(read_error(edited.close()).what(), HasSubstr("action holds a value without meaning"));
}

}  // namespace
}  // namespace winnow::report
