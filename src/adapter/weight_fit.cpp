#include "weight_fit.hpp"

#include <fmt/format.h>

#include "refusal.hpp"
#include "winnow/adapter/mapping.hpp"
#include "winnow/base/dtype.hpp"

namespace winnow::adapter {

namespace {

base::Error other_shape(const LoraModule& module, const std::vector<std::uint64_t>& shape, const std::string& file,
                        bool may_be_transposed) {
  return bad_adapter(fmt::format("module {} does not fit the checkpoint", module.adapter_module()))
      .tensor(module.weight())
      .expected(fmt::format("[{}, {}]{} as lora_B and lora_A say, found {}{}", module.out_features, module.in_features,
                            may_be_transposed ? " or its transpose" : "", shape_text(shape),
                            file.empty() ? "" : " in " + file));
}

}  // namespace

std::optional<bool> fit_of(const LoraModule& module, const checkpoint::TensorLocation& weight, const std::string& file,
                           bool may_be_transposed) {
  const auto& name = module.adapter_module();
  const auto& shape = weight.shape;
  if (shape.size() != 2) {
    throw Mismatch{"its weight is not a matrix", bad_adapter(fmt::format("module {} is not a linear layer", name))
                                                     .tensor(module.weight())
                                                     .expected(fmt::format("a matrix, found {}", shape_text(shape)))};
  }
  if (!base::is_computable(weight.dtype)) {
    throw Mismatch{fmt::format("its weight is of dtype {}", base::name(weight.dtype)),
                   bad_adapter(fmt::format("the weight of module {} cannot be computed on", name))
                       .tensor(module.weight())
                       .expected(fmt::format("F64, F32, F16 or BF16, found {}", base::name(weight.dtype)))};
  }
  const bool straight = shape[0] == module.out_features && shape[1] == module.in_features;
  const bool transposed = may_be_transposed && shape[0] == module.in_features && shape[1] == module.out_features;
  if (!straight && !transposed) {
    // A vocabulary grows with the tokens that an adapter adds.
    if (is_output_head(name))
      throw Mismatch{"the checkpoint's vocabulary has another size",
                     other_shape(module, shape, file, may_be_transposed)};
    throw other_shape(module, shape, file, may_be_transposed);
  }
  if (straight && transposed) return std::nullopt;
  return transposed;
}

}  // namespace winnow::adapter
