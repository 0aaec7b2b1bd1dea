// The factors of one module as an adapter's file holds them. Private to src/adapter.
#pragma once

#include <string>

#include "winnow/checkpoint/catalogue.hpp"

namespace winnow::adapter {

struct FileFactors {
  const checkpoint::TensorLocation *a = nullptr, *b = nullptr;
  std::string a_key, b_key;
};

/// Whether the keys of both, or of the one there is, begin with base_model.model.
bool is_prefixed(const FileFactors& factors);

/// Throws Error(invalid_input) for factors that make no update: one is missing, or not a matrix, not of a dtype to
/// compute on, of a rank above that of any update, or of another rank than the other.
void check_factors(const std::string& module, const FileFactors& factors, const std::string& weights_file);

}  // namespace winnow::adapter
