#include "kernel.hpp"

namespace winnow::compute {
namespace {
constexpr std::size_t kWideLanes = 4, kGroupColumns = 16;
#include "kernel_body.hpp"
#include "tally_body.hpp"
}  // namespace

Kernel portable_kernel() { return {"portable", kGroupColumns, pack, transposed, straight, gram, tally}; }

}  // namespace winnow::compute
