// The size of an update, whatever it does.
#include <array>

#include "methods.hpp"

namespace winnow::methods {
namespace {

constexpr std::array<Column, 1> kColumns{{
    {.name = "update_norm",
     .title = "update norm",
     .long_name = "Frobenius norm of the update dW",
     .sense = Sense::high_is_worse},
}};

void values_of(const Layer& layer, std::span<double> values) { values[0] = layer.whole(layer.update_norm()); }

void dense_values_of(const DenseLayer& layer, std::span<double> values) { values[0] = layer.norm; }

}  // namespace

constinit const Method kUpdateNorm{.name = "update_norm",
                                   .what = "the size of an update",
                                   .source = "||dW|| from r x r sums",
                                   .sums = kUpdateSums,
                                   .columns = kColumns,
                                   .of_layer = values_of,
                                   .of_dense = dense_values_of};

}  // namespace winnow::methods
