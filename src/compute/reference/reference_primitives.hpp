// Plain float64 loops: the truth every other backend is compared with.
#pragma once

#include <memory>

#include "../primitives.hpp"

namespace winnow::compute {

std::unique_ptr<Primitives> make_reference_primitives();

}  // namespace winnow::compute
