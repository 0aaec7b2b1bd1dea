# Spack recipe; builds the checkout it lies in. See cluster/spack/repo.yaml.
import os

from spack.package import *

try:  # part of spack.package before Spack 1.0
    from spack_repo.builtin.build_systems.cmake import CMakePackage
except ImportError:
    pass


class Winnow(CMakePackage):
    """Audits LoRA adapters for lost safety alignment, under MPI, and prunes the layers that weaken it."""

    # Five folders above: packages/winnow in cluster/spack of the checkout.
    git = "file://" + os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "..", ".."))
    license("Apache-2.0")

    version("main", branch="main")

    variant("tests", default=False, description="Build the tests and the kernel benchmark")
    variant("shared", default=True, description="Shared libraries; libtorch is then loaded only for --backend torch")

    depends_on("c", type="build")
    depends_on("cxx", type="build")
    depends_on("cmake@3.25:", type="build")
    depends_on("ninja", type="build")
    depends_on("pkgconfig", type="build")
    generator("ninja")

    # What was tested is Open MPI 4.1; the communicator uses MPI 3.1 and nothing of Open MPI's own.
    depends_on("mpi@3:")
    # Rank 0 alone writes reports: serial HDF5, which is what was tested.
    depends_on("hdf5@1.10: +hl ~mpi")
    depends_on("boost@1.74: +program_options")
    depends_on("fmt@9")  # as Debian 12 and Ubuntu 24.04 have it
    depends_on("nlohmann-json@3.11:")
    depends_on("openssl")
    depends_on("pcre2@10:")
    depends_on("xxhash@0.8:")
    depends_on("eigen@3.4:", type="build")
    depends_on("random123", type="build")
    # For --backend torch on the CPU: with or without CUDA.
    depends_on("py-torch@1.13:")
    depends_on("googletest@1.12: +gmock", when="+tests")
    depends_on("benchmark", when="+tests")

    conflicts("%gcc@:11", msg="winnow is C++20; GCC 12 is the oldest that was tested")

    def cmake_args(self):
        return [
            self.define_from_variant("BUILD_SHARED_LIBS", "shared"),
            self.define_from_variant("WINNOW_BUILD_TESTS", "tests"),
            # Not what happens to be on the machine; nobody has tried the GPU backend with Spack's CUDA and NCCL yet.
            self.define("WINNOW_WITH_CUDA", "OFF"),
            self.define("WINNOW_WERROR", False),  # with compilers we have not seen a new warning must not stop a site
        ]

    @run_after("install")
    @on_package_attributes(run_tests=True)
    def report_version(self):
        Executable(join_path(self.prefix.bin, "winnow"))("--version")
