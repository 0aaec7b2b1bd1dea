// The alignment pass on resident weights, against the FMA peak and the BLAS measured in the same moments.
//
//     kernel_benchmark --benchmark_filter=passes/8192x8192/R:24 --benchmark_repetitions=5 --benchmark_format=json
//
//     passes/OxI/R:N/threads:T   begin() to finish() with 32 MiB slabs of a bf16 pair
//     passes_KIND/...            the same with another dtype or kernel
//     sgemm/R:N/threads:T        the BLAS on the products of one pass, V given as float32
//     pack/..., pass1_products/..., pass2_products/...   one tile that stays in the cache, through parts of a kernel
//
// `peak` is the FMA peak of as many threads, `of_peak` the benchmark's flop/s (4 o i R for both passes) divided by it,
// `of_sgemm` the same for the BLAS's square sgemm; GB/s are those of the stored pair, once for each pass.
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include "cpu/column_groups.hpp"
#include "cpu/cpu_primitives.hpp"
#include "cpu/kernel.hpp"
#include "peak.hpp"
#include "sweep_pass.hpp"
#include "winnow/base/parallel.hpp"
#include "winnow/compute/factor_stack.hpp"
#include "winnow/slab/aligned_buffer.hpp"

namespace winnow::benchmark {
namespace {

using Clock = std::chrono::steady_clock;
using base::DType;
using compute::FactorStack;

constexpr std::uint64_t kSlabBytes = std::uint64_t{32} << 20;  // of the pair

/// A pair of weights in memory, as the reader leaves it: beginning anywhere in a cache line, as tensors in files do.
struct Pair {
  static constexpr std::size_t kLead = 40;

  std::uint64_t out, in;
  DType dtype;
  slab::AlignedBuffer base, aligned;

  Pair(std::uint64_t o, std::uint64_t i, DType type) : out(o), in(i), dtype(type) {
    base.reserve(kLead + bytes() / 2);
    aligned.reserve(kLead + bytes() / 2);
    std::mt19937_64 engine(1);
    for (auto* const buffer : {&base, &aligned}) {
      // Random signs and mantissas, exponents of weights: what the values are does not change the speed.
      auto* const words = reinterpret_cast<std::uint64_t*>(buffer->data() + kLead);
      const std::uint64_t mask = dtype == DType::bf16 ? 0x807F807F807F807F : 0x83FF83FF83FF83FF;
      const std::uint64_t exponent = dtype == DType::bf16 ? 0x3C003C003C003C00 : 0x2400240024002400;
      for (std::uint64_t k = 0; k < bytes() / 16; ++k) words[k] = (engine() & mask) | exponent;
      if (dtype == DType::f32) {
        for (std::uint64_t k = 0; k < bytes() / 16; ++k)
          words[k] = (words[k] & 0x807FFFFF807FFFFF) | 0x3C0000003C000000;
      }
    }
  }

  std::uint64_t bytes() const { return 2 * out * in * base::element_bytes(dtype); }

  template <class Use>
  void for_each_slab(Use use) const {
    const std::uint64_t row_bytes = in * base::element_bytes(dtype);
    const std::uint64_t rows = std::max<std::uint64_t>(1, kSlabBytes / (2 * row_bytes));
    for (std::uint64_t row = 0; row < out; row += rows) {
      use(slab::Slab{row, std::min(rows, out - row), in, base.data() + kLead + row * row_bytes,
                     aligned.data() + kLead + row * row_bytes, dtype, dtype});
    }
  }
};

FactorStack random_stack(std::uint64_t out, std::uint64_t in, std::uint64_t columns) {
  // As many adapters of rank 16 as fit, the rest a sketch: 24 is one adapter and 8 columns.
  std::vector<std::uint64_t> ranks(columns / 16, 16);
  auto stack = compute::make_factor_stack(out, in, ranks, columns % 16, 1, "benchmark");
  std::mt19937 engine(2);
  std::uniform_real_distribution<float> uniform(-0.1F, 0.1F);
  for (auto& value : stack.b) value = uniform(engine);
  for (auto& a : stack.a) {
    a.resize(16 * in);
    for (auto& value : a) value = uniform(engine);
  }
  return stack;
}

/// One measurement: `work` is timed, the peak is taken right after it, untimed.
template <class Work>
void measure(::benchmark::State& state, int threads, double flops, double bytes, Work work) {
  double total = 0, peaks = 0;
  for (auto _ : state) {
    const auto begin = Clock::now();
    work();
    const double elapsed = seconds(Clock::now() - begin);
    state.SetIterationTime(elapsed);
    total += elapsed;
    peaks += fma_peak(threads);
  }
  const auto rounds = static_cast<double>(state.iterations());
  state.counters["GFLOP/s"] = flops * rounds / total / 1e9;
  state.counters["peak"] = peaks / rounds / 1e9;
  state.counters["of_peak"] = flops * rounds / total / (peaks / rounds);
  if (bytes > 0) state.counters["GB/s"] = bytes * rounds / total / 1e9;
}

struct Shape {
  std::uint64_t out, in;
};

/// begin() to finish(), which is what an audit pays for a module; the memory has been used for one before.
void passes(::benchmark::State& state, Shape shape, DType dtype, std::uint64_t columns, int threads,
            compute::Kernel kernel) {
  const Pair pair(shape.out, shape.in, dtype);
  const FactorStack stack = random_stack(shape.out, shape.in, columns);
  const auto pass = compute::make_sweep_pass(compute::make_cpu_primitives(threads, kernel));
  double first = 0, second = 0, rest = 0;
  const auto timed = [](double& sum, auto&& work) {
    const auto begin = Clock::now();
    work();
    sum += seconds(Clock::now() - begin);
  };
  const double flops = 2.0 * static_cast<double>(shape.out * shape.in * columns);
  pass->begin(stack, {});
  measure(state, threads, 2 * flops, 2 * static_cast<double>(pair.bytes()), [&] {
    timed(rest, [&] { pass->begin(stack, {}); });
    timed(first, [&] { pair.for_each_slab([&](const auto& slab) { pass->pass1(slab); }); });
    timed(second, [&] { pair.for_each_slab([&](const auto& slab) { pass->pass2(slab); }); });
    timed(rest, [&] { ::benchmark::DoNotOptimize(pass->finish()); });
  });
  const auto rounds = static_cast<double>(state.iterations());
  state.counters["pass1_GFLOP/s"] = flops * rounds / first / 1e9;
  state.counters["pass2_GFLOP/s"] = flops * rounds / second / 1e9;
  state.counters["begin+finish_share"] = rest / (first + second + rest);
  const double blas = sgemm_peak(threads);
  if (blas == 0) return;
  state.counters["sgemm"] = blas / 1e9;
  state.counters["of_sgemm"] = 2 * flops * rounds / (first + second + rest) / blas;
}

/// What a BLAS would do with the same products, were V in memory as float32 already: 1024 rows of it at a time, as in
/// a slab.
void sgemm(::benchmark::State& state, std::uint64_t columns, int threads) {
  const Sgemm multiply = blas_sgemm(threads);
  if (!multiply) return state.SkipWithError("no OpenBLAS in this process");
  constexpr int rows = 1024, inner = 8192;
  const int wide = static_cast<int>(columns);
  std::vector<float> v(std::size_t{rows} * inner, 0.5F), y(inner * columns, 0.5F), p(rows * columns);
  measure(state, threads, 2.0 * rows * inner * static_cast<double>(columns), 0,
          [&] { multiply(rows, wide, inner, v.data(), y.data(), p.data()); });
}

/// One tile that stays in the cache, through one function of a kernel: what the passes could do at best.
enum class Part { pack, pack_squares, transposed, straight };

void part(::benchmark::State& state, Part which, compute::Kernel kernel, DType dtype, std::uint64_t columns) {
  constexpr int repeats = 200;
  const Pair pair(120, 256, dtype);
  const compute::TileSource tile{
      pair.base.data() + Pair::kLead, pair.aligned.data() + Pair::kLead, dtype, dtype, pair.in, pair.out, pair.in};
  slab::AlignedBuffer memory;
  memory.reserve(compute::kTileFloats * sizeof(float));
  auto* const panels = reinterpret_cast<float*>(memory.data());
  kernel.pack(tile, false, panels);
  compute::ColumnGroups b(kernel.group_columns), y(kernel.group_columns), p(kernel.group_columns);
  b.reset(pair.out, columns);
  y.reset(pair.in, columns);
  p.reset(pair.out, columns);
  const bool packs = which == Part::pack || which == Part::pack_squares;
  const double flops = packs ? 0 : 2.0 * static_cast<double>(pair.out * pair.in * columns) * repeats;
  measure(state, 1, flops, static_cast<double>(pair.bytes()) * repeats, [&] {
    for (int repeat = 0; repeat < repeats; ++repeat) {
      compute::Ahead nothing;
      if (packs) ::benchmark::DoNotOptimize(kernel.pack(tile, which == Part::pack_squares, panels));
      for (std::size_t group = 0; group < b.groups(); ++group) {
        if (which == Part::transposed) {
          kernel.transposed(panels, pair.out, pair.in, b.width(group), b.row(group, 0), y.row(group, 0), nothing);
        } else if (which == Part::straight) {
          kernel.straight(panels, pair.out, pair.in, y.width(group), y.row(group, 0), p.row(group, 0), nothing);
        }
      }
    }
  });
}

template <class... Arguments>
void add(const std::string& name, int iterations, Arguments... arguments) {
  auto* const added = ::benchmark::RegisterBenchmark(name.c_str(), arguments...);
  added->UseManualTime()->Unit(::benchmark::kMillisecond);
  if (iterations > 0) added->Iterations(iterations);
}

void add_parts() {
  for (const auto& kernel : compute::supported_kernels()) {
    for (const auto dtype : {DType::bf16, DType::f16, DType::f32}) {
      const auto name = fmt::format("{}/{}", kernel.name, base::name(dtype));
      add(fmt::format("pack/{}", name), 0, part, Part::pack, kernel, dtype, 24);
      add(fmt::format("pack_squares/{}", name), 0, part, Part::pack_squares, kernel, dtype, 24);
    }
    for (const std::uint64_t columns : {8, 16, 24, 32, 48, 192}) {
      const auto name = fmt::format("{}/R:{}", kernel.name, columns);
      add(fmt::format("pass1_products/{}", name), 0, part, Part::transposed, kernel, DType::bf16, columns);
      add(fmt::format("pass2_products/{}", name), 0, part, Part::straight, kernel, DType::bf16, columns);
    }
  }
}

void add_passes(int threads) {
  const auto& best = compute::best_kernel();
  for (const std::uint64_t columns : {8, 16, 24, 32, 40, 64, 128, 256, 512, 1624}) {
    const int iterations = columns > 500 ? 1 : 0;
    for (const Shape shape : {Shape{8192, 8192}, Shape{4096, 14336}, Shape{1024, 8192}}) {
      add(fmt::format("passes/{}x{}/R:{}/threads:{}", shape.out, shape.in, columns, threads), iterations, passes, shape,
          DType::bf16, columns, threads, best);
    }
    add(fmt::format("sgemm/R:{}/threads:{}", columns, threads), 0, sgemm, columns, threads);
  }
  const Shape square{8192, 8192};
  for (const auto dtype : {DType::f16, DType::f32}) {
    add(fmt::format("passes_{}/8192x8192/R:24/threads:{}", base::name(dtype), threads), 0, passes, square, dtype, 24,
        threads, best);
  }
  for (const auto& kernel : compute::supported_kernels()) {
    add(fmt::format("passes_{}/8192x8192/R:24/threads:{}", kernel.name, threads), 0, passes, square, DType::bf16, 24,
        threads, kernel);
  }
}

}  // namespace
}  // namespace winnow::benchmark

int main(int argc, char** argv) {
  winnow::benchmark::add_parts();
  const int cores = winnow::base::default_threads(1);
  for (int threads = 1; threads <= cores; threads *= 2) winnow::benchmark::add_passes(threads);
  ::benchmark::Initialize(&argc, argv);
  if (::benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  ::benchmark::RunSpecifiedBenchmarks();
  ::benchmark::Shutdown();
}
