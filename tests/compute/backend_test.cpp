#include <gmock/gmock.h>

#include <string>

#include "base/expect_error.hpp"
#include "compute/built_backend.hpp"
#include "torch/blas_check.hpp"
#include "torch/plugin.hpp"
#include "winnow/compute/alignment_pass.hpp"

namespace winnow::compute {
namespace {

using base::ErrorKind;
using test::expect_error;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

TEST(Backend, IsChosenByName) {
  EXPECT_EQ(parse_backend("auto"), Backend::automatic);
  EXPECT_EQ(parse_backend("cpu"), Backend::cpu);
  EXPECT_EQ(parse_backend("torch"), Backend::torch);
  EXPECT_EQ(parse_backend("reference"), Backend::reference);
  for (const auto backend : {Backend::cpu, Backend::torch, Backend::reference})
    EXPECT_EQ(parse_backend(name(backend)), backend);
  for (const auto* unknown : {"", "Torch", "eigen"}) {
    expect_error(
        ErrorKind::usage,
        AllOf(HasSubstr("unknown --backend " + std::string(unknown)), HasSubstr("auto, cpu, torch or reference")),
        [&] { parse_backend(unknown); });
  }
}

TEST(Backend, DescribesItselfForTheReport) {
  EXPECT_THAT(make_alignment_pass(Backend::reference, Device::cpu, 1)->description(),
              AllOf(HasSubstr("reference"), HasSubstr("cpu")));
  EXPECT_THAT(make_alignment_pass(Backend::cpu, Device::cpu, 3)->description(),
              AllOf(HasSubstr("cpu"), HasSubstr("kernel"), HasSubstr("3 threads")));
  if (!test::is_built(Backend::torch)) GTEST_SKIP() << "this winnow is built without libtorch";
  EXPECT_THAT(make_alignment_pass(Backend::torch, Device::cpu, 3)->description(),
              AllOf(HasSubstr("libtorch "), HasSubstr("cpu"), HasSubstr("BLAS "), HasSubstr("3 threads")));
}

TEST(TorchBackend, ThatIsNotBuiltSaysSo) {
  if (test::is_built(Backend::torch)) GTEST_SKIP() << "this winnow has it";
  expect_error(ErrorKind::usage,
               AllOf(HasSubstr("--backend torch: this winnow is built without libtorch"),
                     HasSubstr("--backend auto, cpu or reference"), HasSubstr("WINNOW_WITH_TORCH=ON")),
               [] { make_alignment_pass(Backend::torch, Device::cpu, 1); });
}

TEST(TorchPlugin, ThatCannotBeLoadedIsOneLineWithAdvice) {
  expect_error(
      ErrorKind::runtime,
      AllOf(HasSubstr("cannot load the torch backend"), HasSubstr("No such file"),
            HasSubstr("/nowhere/libwinnow_compute_torch.so"), HasSubstr("--backend cpu"), Not(HasSubstr("\n"))),
      [] { open_torch_plugin("/nowhere/libwinnow_compute_torch.so"); });
}

TEST(TorchPlugin, AnotherLibraryIsNotTakenForIt) {
  expect_error(ErrorKind::runtime, AllOf(HasSubstr("cannot load the torch backend"), HasSubstr("undefined symbol")),
               [] { open_torch_plugin("libm.so.6"); });
}

// What is thrown inside the plugin arrives as the same type outside it.
TEST(TorchPlugin, ErrorsCrossItsBoundary) {
  if (!test::is_built(Backend::torch)) GTEST_SKIP() << "this winnow is built without libtorch";
  const auto pass = make_alignment_pass(Backend::torch, Device::cpu, 1);
  FactorStack stack;
  stack.out_features = stack.in_features = 1;
  pass->begin(stack, {});
  const std::byte weight[8]{};
  slab::Slab integers;
  integers.rows = integers.columns = 1;
  integers.aligned = integers.base = weight;
  integers.aligned_dtype = integers.base_dtype = base::DType::i64;
  expect_error(ErrorKind::runtime, HasSubstr("cannot compute on"), [&] { pass->pass1(integers); });
}

TEST(Blas, TheReferenceImplementationIsRefusedWithAdvice) {
  for (const auto* path : {"/usr/lib/x86_64-linux-gnu/blas/libblas.so.3.11.0", "/usr/lib64/libblas.so.3.10.1",
                           "/opt/netlib/lib/libblas.so"}) {
    expect_error(ErrorKind::runtime,
                 AllOf(HasSubstr("reference BLAS"), HasSubstr(path), HasSubstr("OpenBLAS or MKL"),
                       HasSubstr("install libopenblas0-pthread"), HasSubstr("update-alternatives")),
                 [&] { accept_blas(path); });
  }
}

TEST(Blas, FastImplementationsAreTakenUnderTheirNames) {
  EXPECT_EQ(accept_blas("/usr/lib/x86_64-linux-gnu/openblas-pthread/libblas.so.3"), "libblas.so.3");
  EXPECT_EQ(accept_blas("/usr/lib/x86_64-linux-gnu/atlas/libblas.so.3.10.3"), "libblas.so.3.10.3");
  EXPECT_EQ(accept_blas("/usr/lib/x86_64-linux-gnu/blis-openmp/libblas.so.4"), "libblas.so.4");
  EXPECT_EQ(accept_blas("/opt/openblas/lib/libblas.so.3"), "libblas.so.3");
  EXPECT_EQ(accept_blas("/opt/conda/lib/libopenblasp-r0.3.21.so"), "libopenblasp-r0.3.21.so");
  EXPECT_EQ(accept_blas("/usr/lib/x86_64-linux-gnu/libmkl_rt.so"), "libmkl_rt.so");
  EXPECT_EQ(accept_blas("/usr/lib64/libflexiblas.so.3.4"), "libflexiblas.so.3.4");
}

TEST(Blas, AnImplementationInsideLibtorchIsCalledThat) {
  EXPECT_EQ(accept_blas("/venv/lib/python3.11/site-packages/torch/lib/libtorch_cpu.so"), "built into libtorch");
}

}  // namespace
}  // namespace winnow::compute
