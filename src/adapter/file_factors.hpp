// The factors of one module as an adapter's file holds them. Private to src/adapter.
#pragma once

#include <string>

#include "winnow/adapter/keys.hpp"
#include "winnow/checkpoint/catalogue.hpp"

namespace winnow::adapter {

struct FileFactors {
  const checkpoint::TensorLocation *a = nullptr, *b = nullptr;
  std::string a_key, b_key;
};

/// Whether a key is one that PEFT looks for: with base_model.model., and of no adapter or of that called "default".
bool is_loadable(const AdapterKey& key);
/// Whether those of both factors are, or of the one there is.
bool is_loadable(const FileFactors& factors);

/// Throws Error(invalid_input) for factors that make no update: one is missing, or not a matrix, not of a dtype to
/// compute on, of a rank above that of any update, or of another rank than the other.
void check_factors(const std::string& module, const FileFactors& factors, const std::string& weights_file);

}  // namespace winnow::adapter
