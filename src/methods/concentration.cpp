// Whether an update is made of a few outputs or inputs: a payload that is redirected into some tokens' directions,
// which no norm, spectrum or cosine of the whole sees.
#include <array>

#include "methods.hpp"

namespace winnow::methods {
namespace {

constexpr std::array<Column, 4> kColumns{{
    {.name = "row_concentration",
     .title = "row concentration",
     .long_name = "share of ||dW||^2 in its 8 largest rows, which are outputs; undefined of 8 or fewer",
     .sense = Sense::high_is_worse,
     .form = Form::share},
    {.name = "column_concentration",
     .title = "column concentration",
     .long_name = "share of ||dW||^2 in its 8 largest columns, which are inputs; undefined of 8 or fewer",
     .sense = Sense::high_is_worse,
     .form = Form::share},
    {.name = "row_sparsity",
     .title = "row sparsity",
     .long_name = "Hoyer's sparsity of the row norms of dW: 0 all alike, 1 all in one",
     .form = Form::share},
    {.name = "column_sparsity",
     .title = "column sparsity",
     .long_name = "Hoyer's sparsity of the column norms of dW: 0 all alike, 1 all in one",
     .form = Form::share},
}};

constexpr std::array<AdapterColumn, 2> kAdapterColumns{{
    {.name = "row_concentration_max", .long_name = "largest row_concentration of the adapter's modules"},
    {.name = "column_concentration_max", .long_name = "largest column_concentration of the adapter's modules"},
}};

void values_of(const Layer& layer, std::span<double> values) {
  const auto* spread = layer.spread();
  if (spread == nullptr) return;
  values[0] = spread->rows.largest;
  values[1] = spread->columns.largest;
  values[2] = spread->rows.sparsity;
  values[3] = spread->columns.sparsity;
}

void adapters_of(const Zoo& zoo, std::span<std::vector<double>> columns) {
  columns[0] = zoo.largest_of_modules("row_concentration");
  columns[1] = zoo.largest_of_modules("column_concentration");
}

}  // namespace

constinit const Method kConcentration{.name = "concentration",
                                      .what = "whether an update is made of a few outputs or inputs",
                                      .source = "ours; sparsity: Hoyer, JMLR 5 (2004) 1457",
                                      .sums = kUpdateSums | kSpreadSums,
                                      .columns = kColumns,
                                      .of_layer = values_of,
                                      .adapter_columns = kAdapterColumns,
                                      .of_adapters = adapters_of};

}  // namespace winnow::methods
