#include <cstring>

#include "kernel.hpp"

namespace winnow::compute {
namespace {
#include "kernel_body.hpp"
}  // namespace

Kernel portable_kernel() { return {"portable", pack, transposed, straight}; }

}  // namespace winnow::compute
