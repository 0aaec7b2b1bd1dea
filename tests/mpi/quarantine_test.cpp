// Bad adapters among good ones: whatever is wrong with them, and whenever it shows, the others are scored as if they
// were alone. On any number of ranks, with and without teams.
#include <gtest/gtest.h>

#include <sys/stat.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <mutex>

#include "input/tiny_family.hpp"
#include "mpi/golden_audit.hpp"
#include "mpi/shared_directory.hpp"

namespace winnow {
namespace {

namespace fs = std::filesystem;
using base::Error;
using base::ErrorKind;
using test::error_of;
using test::Matrix;
using test::Tensors;
using test::TinyFamily;
using test::world;
using ::testing::HasSubstr;

/// Fails for one adapter, as a disk does that holds nothing else.
class BadSector final : public slab::Reader {
 public:
  BadSector(std::string bad, int error_number) : bad_(std::move(bad)), error_number_(error_number) {}
  void read(const std::string& path, std::uint64_t offset, std::span<std::byte> destination,
            std::string_view tensor) override {
    if (path.find(bad_) != std::string::npos) {
      throw Error(ErrorKind::runtime, "cannot read file").file(path).tensor(tensor).os_error(error_number_);
    }
    inner_->read(path, offset, destination, tensor);
  }

 private:
  std::string bad_;
  int error_number_;
  std::unique_ptr<slab::Reader> inner_ = slab::make_reader(slab::IoMode::buffered);
};

/// A family with two good adapters, on every rank; the coordinator's is read.
class Quarantine : public ::testing::Test {
 protected:
  Quarantine() {
    good_ = {family_.write_adapter("good-1", TinyFamily::adapter(1)),
             family_.write_adapter("good-2", TinyFamily::adapter(2))};
  }
  ~Quarantine() override { world().barrier(); }

  run::AuditOptions options(std::vector<std::string> adapters) const { return family_.options(std::move(adapters)); }

  /// Good, bad..., good.
  std::vector<std::string> among_good(const std::vector<std::string>& bad) const {
    std::vector<std::string> all{good_[0]};
    all.insert(all.end(), bad.begin(), bad.end());
    all.push_back(good_[1]);
    return all;
  }

  /// On the coordinator: the good adapters are scored as in `alone`, of the two of them.
  static void expect_good_ones(const report::Report& report, const report::Report& alone) {
    if (!world().is_coordinator()) return;
    const auto modules = report.modules.size();
    const auto last = report.adapters.size() - 1;
    EXPECT_EQ(report.adapters.front().status, "ok") << report.adapters.front().reason;
    EXPECT_EQ(report.adapters[last].status, "ok") << report.adapters[last].reason;
    for (std::size_t m = 0; m < alone.modules.size(); ++m) {
      const auto& name = alone.modules[m].name;
      std::size_t at = 0;
      while (at < modules && report.modules[at].name != name) ++at;
      ASSERT_LT(at, modules) << name;
      for (const auto* metric : {"distance", "cosine", "alignment_removed", "ediem"}) {
        const auto& found = report.find_metric(metric)->values;
        const auto& expected = alone.find_metric(metric)->values;
        EXPECT_NEAR(found[at], expected[m], 1e-6) << metric << " of " << name;
        EXPECT_NEAR(found[last * modules + at], expected[alone.modules.size() + m], 1e-6) << metric << " of " << name;
      }
    }
  }

  static void expect_quarantined(const report::Report& report, std::size_t adapter, const std::string& reason) {
    if (!world().is_coordinator()) return;
    EXPECT_EQ(report.adapters.at(adapter).status, "quarantined") << reason;
    EXPECT_THAT(report.adapters.at(adapter).reason, HasSubstr(reason));
    for (const auto& metric : report.metrics) {
      if (!metric.categories.empty()) continue;  // codes, 0 for none
      for (std::size_t m = 0; m < report.modules.size(); ++m) {
        EXPECT_TRUE(std::isnan(metric.values[adapter * report.modules.size() + m])) << metric.name;
      }
    }
  }

  report::Report alone() const { return pipeline::audit(options(good_), world(), {}).report; }

  TinyFamily family_;
  std::vector<std::string> good_;
};

TEST_F(Quarantine, FilesThatCannotBeRead) {
  const auto expected = alone();
  std::vector<std::string> bad;
  std::vector<std::string> reasons;
  const auto add = [&](const std::string& name, const std::string& reason) {
    bad.push_back(family_.write_adapter(name, TinyFamily::adapter(3)));
    reasons.push_back(reason);
    return bad.back() + "/adapter_model.safetensors";
  };
  const auto replace = [](const std::string& file, const std::string& target) {
    fs::remove(file);
    fs::create_symlink(target, file);
  };
  replace(add("a-loop", "Too many levels of symbolic links"), "adapter_model.safetensors");
  replace(add("b-device", "expected a plain file"), "/dev/zero");
  replace(add("c-folder", "Is a directory"), ".");
  {
    const auto pipe = add("d-pipe", "expected a plain file");
    fs::remove(pipe);
    ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  }
  // A plain file of 4096 bytes whose read fails, for root as well.
  if (const std::string failing = "/sys/class/net/lo/speed"; fs::exists(failing)) {
    replace(add("e-failing", "cannot read file"), failing);
  }
  {  // a TiB that nobody wrote: not to be read from end to end
    const auto sparse = add("f-endless", "f-endless");
    std::error_code error;
    fs::resize_file(sparse, std::uintmax_t{1} << 40U, error);
    if (error) fs::resize_file(sparse, 100);
  }
  bad.push_back(family_.directory / "g-\xFF\xFE-absent");
  reasons.emplace_back("no such adapter directory");
  bad.push_back(good_[0] + "/adapter_model.safetensors");
  reasons.emplace_back("an adapter is a directory, not a file");

  for (const int team : {1, 2}) {
    auto zoo = options(among_good(bad));
    zoo.means.team = team;
    const auto report = pipeline::audit(zoo, world(), {}).report;
    expect_good_ones(report, expected);
    for (std::size_t n = 0; n < bad.size(); ++n) expect_quarantined(report, n + 1, reasons[n]);
  }
  auto strict = options(among_good(bad));
  strict.read.strict = true;
  EXPECT_EQ(error_of(strict).kind(), ErrorKind::invalid_input);
}

TEST_F(Quarantine, AFileThatFailsWhileItsFactorsAreRead) {
  const auto expected = alone();
  const auto bad = family_.write_adapter("bad", TinyFamily::adapter(3));
  for (int failing = -1; failing < world().size(); ++failing) {  // on one rank alone, and on all
    for (const int team : {1, 2, 3}) {
      auto zoo = options(among_good({bad}));
      zoo.means.team = team;
      std::atomic<bool> read = false;
      zoo.seams.make_reader = [&]() -> std::unique_ptr<slab::Reader> {
        if (failing >= 0 && world().rank() != failing) return slab::make_reader(slab::IoMode::buffered);
        read = true;
        return std::make_unique<BadSector>("/bad/", EIO);
      };
      const auto report = pipeline::audit(zoo, world(), {}).report;
      expect_good_ones(report, expected);
      // A rank without a module reads no factors.
      if (world().maximum(read ? 1 : 0) != 0) {
        expect_quarantined(report, 1, "cannot read file (Input/output error)");
      }
      zoo.read.strict = true;
      EXPECT_EQ(error_of(zoo).kind(), ErrorKind::invalid_input);
    }
  }
}

TEST_F(Quarantine, AMachineWithoutDescriptorsIsNoAdaptersFault) {
  const auto bad = family_.write_adapter("bad", TinyFamily::adapter(3));
  auto zoo = options(among_good({bad}));
  zoo.seams.make_reader = [] { return std::make_unique<BadSector>("/bad/", EMFILE); };
  const auto error = error_of(zoo);
  EXPECT_EQ(error.kind(), ErrorKind::runtime);
  EXPECT_EQ(error.os_error(), EMFILE);
}

TEST_F(Quarantine, AFileThatChangesBetweenItsHeaderAndItsFactors) {
  const auto expected = alone();
  enum class Change { cut, gone, pipe, other };
  for (const auto change : {Change::cut, Change::gone, Change::pipe, Change::other}) {
    for (const auto mode : {slab::IoMode::automatic, slab::IoMode::buffered, slab::IoMode::mmap}) {
      fs::remove_all(family_.directory / "bad");  // what the last round made of it
      const auto bad = family_.write_adapter("bad", TinyFamily::adapter(3));
      const auto file = bad + "/adapter_model.safetensors";
      auto zoo = options(among_good({bad}));
      std::once_flag once;
      // The first reader of a rank is made once all headers were read.
      zoo.seams.make_reader = [&] {
        std::call_once(once, [&] {
          if (!world().is_coordinator()) return;
          if (change == Change::cut) return fs::resize_file(file, 900);
          fs::remove(file);
          if (change == Change::pipe) ::mkfifo(file.c_str(), 0600);
          if (change == Change::other) std::ofstream(file) << std::string(5000, 'x');
        });
        return slab::make_reader(mode);
      };
      const auto report = pipeline::audit(zoo, world(), {}).report;
      expect_good_ones(report, expected);
      expect_quarantined(report, 1, "");
    }
  }
}

TEST_F(Quarantine, AFactorThatIsNotFinite) {
  const auto expected = alone();
  auto tensors = TinyFamily::adapter(3);
  tensors[TinyFamily::key(5, "lora_B")].values[7] = std::numeric_limits<float>::quiet_NaN();
  const auto bad = family_.write_adapter("bad", tensors);
  for (const int team : {1, 2}) {
    auto zoo = options(among_good({bad}));
    zoo.means.team = team;
    const auto report = pipeline::audit(zoo, world(), {}).report;
    expect_good_ones(report, expected);
    expect_quarantined(report, 1, "not finite at element 7");
  }
}

/// LoRA on the head, whose vocabulary the aligned model has enlarged, beside LoRA on layer 0 or alone.
TEST_F(Quarantine, AHeadWhoseVocabularyWasResized) {
  const auto expected = alone();
  family_.base["lm_head.weight"] = Matrix::random(20, 10, 1);
  family_.aligned["lm_head.weight"] = Matrix::random(24, 10, 2);
  Tensors head;
  head["base_model.model.lm_head.lora_A.weight"] = Matrix::random(2, 10, 3);
  head["base_model.model.lm_head.lora_B.weight"] = Matrix::random(20, 2, 4);
  const auto only_head = family_.write_adapter("head", head);
  head[TinyFamily::key(0, "lora_A")] = Matrix::random(2, 10, 5);
  head[TinyFamily::key(0, "lora_B")] = Matrix::random(12, 2, 6);
  const auto and_layer = family_.write_adapter("head-and-layer", head);

  auto zoo = options(among_good({only_head, and_layer}));
  const auto report = pipeline::audit(zoo, world(), {}).report;
  expect_good_ones(report, expected);
  expect_quarantined(report, 1, "the two checkpoints differ in the shape of a tensor");
  if (world().is_coordinator()) {
    const auto& row = report.adapters[2];
    EXPECT_EQ(row.status, "ok");
    EXPECT_EQ(row.modules_not_judged, 1U);
    EXPECT_EQ(row.not_judged, "the two checkpoints differ in the shape of a tensor: lm_head");
    EXPECT_FALSE(std::isnan(report.find_metric("distance")->values[2 * report.modules.size()]));
    EXPECT_EQ(report.adapters[0].modules_not_judged, 0U);
  }
  zoo = options(among_good({and_layer}));
  zoo.read.strict = true;
  EXPECT_THAT(error_of(zoo).what(), HasSubstr("module lm_head cannot be judged: the two checkpoints differ"));
}

TEST_F(Quarantine, AModuleThatOneAdapterAloneNeeds) {
  const auto expected = alone();
  const std::string lone = "model.layers.3.mlp.down_proj";
  auto tensors = TinyFamily::adapter(3);
  tensors["base_model.model." + lone + ".lora_A.weight"] = Matrix::random(2, 12, 3);
  tensors["base_model.model." + lone + ".lora_B.weight"] = Matrix::random(10, 2, 4);
  const auto user = family_.write_adapter("user", tensors);
  family_.base[lone + ".weight"] = Matrix::random(10, 12, 1);
  for (const bool missing : {true, false}) {
    family_.aligned.erase(lone + ".weight");
    if (!missing) family_.aligned[lone + ".weight"] = Matrix::random(11, 12, 2);
    const auto report = pipeline::audit(options(among_good({user})), world(), {}).report;
    expect_good_ones(report, expected);
    if (world().is_coordinator()) {
      EXPECT_EQ(report.adapters[1].status, "ok");
      EXPECT_EQ(report.adapters[1].modules_not_judged, 1U);
      EXPECT_THAT(report.adapters[1].not_judged, HasSubstr(lone));
    }
  }
}

TEST_F(Quarantine, CheckpointsThatAreNoPairAreAnErrorStill) {
  family_.aligned[TinyFamily::weight(3)] = Matrix::random(13, 10, 2);
  auto error = error_of(options(good_));
  EXPECT_EQ(error.kind(), ErrorKind::invalid_input);
  EXPECT_EQ(error.tensor(), TinyFamily::weight(3));
  family_.aligned.erase(TinyFamily::weight(3));
  error = error_of(options(good_));
  EXPECT_EQ(error.kind(), ErrorKind::invalid_input);
  EXPECT_THAT(error.what(), HasSubstr("the aligned checkpoint lacks a tensor"));
}

}  // namespace
}  // namespace winnow
