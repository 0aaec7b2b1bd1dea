#include "winnow/score/factor_loader.hpp"

#include <gmock/gmock.h>

#include <atomic>
#include <cmath>
#include <fstream>
#include <limits>
#include <utility>

#include "../base/temporary_directory.hpp"
#include "winnow/base/error.hpp"

namespace winnow::score {
namespace {

using input::Inputs;
using input::LayerRef;

constexpr std::uint64_t kOut = 5000, kIn = 70;

/// Counts reads.
class CountingReader final : public slab::Reader {
 public:
  CountingReader(std::atomic<int>& reads) : reads_(reads) {}
  void read(const std::string& path, std::uint64_t offset, std::span<std::byte> destination,
            std::string_view tensor) override {
    ++reads_;
    inner_->read(path, offset, destination, tensor);
    counts_ = inner_->counts();
  }

 private:
  std::atomic<int>& reads_;
  std::unique_ptr<slab::Reader> inner_ = slab::make_reader(slab::IoMode::buffered);
};

/// Adapters of one module each, in files of plain numbers.
class FactorLoading : public ::testing::Test {
 protected:
  enum class Layout { a_first, b_first, apart };

  static float value(std::size_t adapter, bool is_b, std::size_t element) {
    return static_cast<float>(std::sin(static_cast<double>(adapter * 7 + (is_b ? 3 : 0) + element)));
  }

  void add(std::uint64_t rank, Layout layout, base::DType dtype = base::DType::f32) {
    const auto number = inputs_.adapters.size();
    adapter::LoraModule lora;
    lora.names = std::make_shared<const adapter::ModuleNames>(adapter::ModuleNames{"m", "m", "m.weight"});
    lora.rank = rank;
    lora.out_features = kOut;
    lora.in_features = kIn;
    const auto size = base::element_bytes(dtype);
    lora.lora_a = {0, rank * kIn * size, dtype};
    lora.lora_b = {0, kOut * rank * size, dtype};
    const std::uint64_t lead = 13;  // factors begin anywhere
    lora.lora_a.offset = lead + (layout == Layout::b_first ? lora.lora_b.bytes : 0);
    lora.lora_b.offset = lead + (layout == Layout::b_first ? 0 : lora.lora_a.bytes + (layout == Layout::apart ? 5 : 0));
    std::string file(lead + lora.lora_a.bytes + lora.lora_b.bytes + 5, '?');
    for (const bool is_b : {false, true}) {
      const auto& tensor = is_b ? lora.lora_b : lora.lora_a;
      for (std::size_t k = 0; k < tensor.bytes / size; ++k) {
        const float wanted =
            is_b == fault_in_b_ && k == fault_at_ ? std::numeric_limits<float>::quiet_NaN() : value(number, is_b, k);
        // The upper half of a float32 is that number as bf16, cut off.
        const auto* bytes = reinterpret_cast<const char*>(&wanted) + (dtype == base::DType::bf16 ? 2 : 0);
        file.replace(tensor.offset + k * size, size, bytes, size);
      }
    }
    adapter::Adapter adapter;
    adapter.weights_file = directory_ / ("adapter-" + std::to_string(number));
    std::ofstream(adapter.weights_file, std::ios::binary) << file;
    adapter.modules = std::vector<adapter::LoraModule>(1, lora);
    inputs_.adapters.push_back(std::move(adapter));
    batch_.push_back({static_cast<std::uint32_t>(number), 0});
    fault_at_ = std::numeric_limits<std::size_t>::max();
  }

  /// The next adapter has a NaN there.
  void spoil(bool in_b, std::size_t element) {
    fault_in_b_ = in_b;
    fault_at_ = element;
  }

  compute::FactorStack load(int threads, std::vector<std::string>& faults) {
    std::vector<std::uint64_t> ranks;
    for (const auto& ref : batch_) ranks.push_back(inputs_.lora(ref).rank);
    auto stack = compute::make_factor_stack(kOut, kIn, ranks, 2, 1, "m");
    FactorLoader loader(
        inputs_.adapters, [this] { return std::make_unique<CountingReader>(reads_); }, threads);
    reads_ = 0;
    faults.assign(batch_.size(), "");
    loader.load(batch_, stack, faults);
    bytes_ = loader.bytes_read();
    return stack;
  }

  test::TemporaryDirectory directory_;
  Inputs inputs_;
  std::vector<LayerRef> batch_;
  bool fault_in_b_ = false;
  std::size_t fault_at_ = std::numeric_limits<std::size_t>::max();
  std::atomic<int> reads_ = 0;
  std::uint64_t bytes_ = 0;
};

TEST_F(FactorLoading, PutsEveryFactorInItsPlaceWhateverTheFilesOrder) {
  add(3, Layout::a_first);
  add(16, Layout::b_first);
  add(1, Layout::apart);
  add(40, Layout::a_first, base::DType::bf16);
  std::vector<std::string> faults;
  const auto stack = load(1, faults);
  EXPECT_EQ(reads_, 5);  // one for each adapter, two if the factors lie apart
  std::uint64_t bytes = 0;
  for (std::size_t j = 0; j < batch_.size(); ++j) {
    const auto& lora = inputs_.lora(batch_[j]);
    bytes += lora.lora_a.bytes + lora.lora_b.bytes;
    const double tolerance = lora.lora_a.dtype == base::DType::bf16 ? 0.01 : 0;
    for (std::size_t k = 0; k < lora.rank * kIn; ++k) ASSERT_NEAR(stack.a[j][k], value(j, false, k), tolerance);
    for (std::size_t k = 0; k < kOut * lora.rank; ++k) {
      ASSERT_NEAR(stack.b[k / lora.rank * stack.columns() + stack.first_column(j) + k % lora.rank], value(j, true, k),
                  tolerance);
    }
    EXPECT_EQ(faults[j], "");
  }
  EXPECT_EQ(bytes_, bytes);
  const auto omega = compute::make_factor_stack(kOut, kIn, {}, 2, 1, "m");
  for (std::size_t row = 0; row < kOut; ++row) {
    ASSERT_EQ(stack.b[(row + 1) * stack.columns() - 1], omega.b[row * 2 + 1]);
  }
}

TEST_F(FactorLoading, IsTheSameOnAnyNumberOfThreads) {
  for (std::uint64_t rank = 1; rank <= 11; ++rank) add(rank, rank % 2 == 0 ? Layout::a_first : Layout::b_first);
  std::vector<std::string> faults;
  const auto one = load(1, faults);
  const auto many = load(4, faults);
  EXPECT_EQ(many.a, one.a);
  EXPECT_EQ(many.b, one.b);
  EXPECT_EQ(reads_, 11);
}

TEST_F(FactorLoading, NamesTheFirstEntryThatIsNotFiniteAndClearsThatAdapterAlone) {
  add(2, Layout::a_first);
  spoil(true, 9001);
  add(2, Layout::a_first);
  spoil(false, 69);
  add(2, Layout::b_first);
  std::vector<std::string> faults;
  const auto stack = load(1, faults);
  EXPECT_EQ(faults, (std::vector<std::string>{"", "lora_B of m is not finite at element 9001",
                                              "lora_A of m is not finite at element 69"}));
  for (std::size_t row = 0; row < kOut; ++row) {
    ASSERT_EQ(stack.b[row * stack.columns()], value(0, true, row * 2));
    for (std::size_t column = 2; column < 6; ++column) ASSERT_EQ(stack.b[row * stack.columns() + column], 0.0F);
  }
  EXPECT_EQ(stack.a[2], std::vector<float>(2 * kIn, 0.0F));
}

TEST_F(FactorLoading, AFileThatWasCutShortIsNamedAndItsNeighboursLoaded) {
  add(2, Layout::a_first);
  add(2, Layout::a_first);
  std::filesystem::resize_file(inputs_.adapters[0].weights_file, 100);
  std::vector<std::string> faults;
  const auto stack = load(1, faults);
  EXPECT_THAT(faults[0], ::testing::HasSubstr("file ends too early: " + inputs_.adapters[0].weights_file +
                                              ", tensor factors of m"));
  EXPECT_EQ(faults[1], "");
  EXPECT_EQ(stack.a[0], std::vector<float>(2 * kIn, 0.0F));
  for (std::size_t row = 0; row < kOut; ++row) {
    ASSERT_EQ(stack.b[row * stack.columns()], 0.0F);
    ASSERT_EQ(stack.b[row * stack.columns() + 2], value(1, true, row * 2));
  }
}

/// Storage that fails takes its time to say so.
TEST_F(FactorLoading, AFileThatCannotBeReadIsAskedForOnce) {
  add(2, Layout::a_first);
  std::filesystem::remove(inputs_.adapters[0].weights_file);
  FactorLoader loader(
      inputs_.adapters, [this] { return std::make_unique<CountingReader>(reads_); }, 1);
  for (int module = 0; module < 3; ++module) {
    auto stack = compute::make_factor_stack(kOut, kIn, {2}, 2, 1, "m");
    std::vector<std::string> faults(1);
    loader.load(batch_, stack, faults);
    EXPECT_THAT(faults[0], ::testing::HasSubstr("No such file"));
  }
  EXPECT_EQ(reads_, 1);
}

}  // namespace
}  // namespace winnow::score
