// Whether a module of an adapter fits the weight that it updates. Private to src/adapter.
#pragma once

#include <optional>
#include <string>

#include "winnow/adapter/adapter.hpp"
#include "winnow/checkpoint/catalogue.hpp"

namespace winnow::adapter {

/// Whether the weight is stored [in, out], which `may_be_transposed` allows; nothing if it is square, so that its shape
/// does not tell. Throws Mismatch for a weight that cannot be judged and says nothing about its neighbours,
/// Error(invalid_input) for one of another shape, which is of another model; they name `file`, in which it lies.
std::optional<bool> fit_of(const LoraModule& module, const checkpoint::TensorLocation& weight, const std::string& file,
                           bool may_be_transposed = true);

}  // namespace winnow::adapter
