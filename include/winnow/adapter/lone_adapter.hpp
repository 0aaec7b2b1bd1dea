// An adapter without the model it is for: its own factors say which modules there are and what shape they have.
#pragma once

#include <string>
#include <vector>

#include "winnow/adapter/adapter.hpp"
#include "winnow/base/log.hpp"

namespace winnow::adapter {

/// The modules of the adapter whose weights are in `weights_file`, as a model that has no others would store them:
/// tensors of [out, in], or [in, out] with the configuration's fan_in_fan_out, that lie nowhere; of fused experts each
/// by itself, [out, in]. Throws as read_safetensors_file() does.
checkpoint::Catalogue modules_in(const std::string& weights_file, const PeftConfig& config);

/// The same of the adapter in a directory. Empty if it cannot be read: opening the adapter tells why.
checkpoint::Catalogue modules_of(const std::string& directory);

/// Opens an adapter of which no checkpoint is at hand, by the rules of open_adapter(); its modules are named as it
/// names them. Throws Error(invalid_input), `what` first, for one that an audit would quarantine (Error(runtime) if
/// storage fails): there is nothing left
/// to do without it.
Adapter open_lone_adapter(const std::string& directory, const std::string& what, const base::Log& log);

/// The module of `adapter` that `module`, a module of another adapter of the same model, stands for: the one of its
/// name, or under one of its aliases (module_aliases). nullptr if there is none.
const LoraModule* find_counterpart(const Adapter& adapter, const std::string& module);

/// Both factors of a module in float64, row-major.
struct FactorValues {
  std::vector<double> b, a;  ///< out x rank, rank x in
};

/// Reads them. Throws Error(invalid_input) if an element is not finite, Error(runtime) for an I/O error.
FactorValues read_factors(const Adapter& adapter, const LoraModule& module);

/// Throws Error(invalid_input), saying what is there instead, for what has not both files of an adapter.
void require_adapter_files(const std::string& directory);

/// Whether a directory has an adapter's configuration, whatever it says.
bool holds_adapter(const std::string& directory);

}  // namespace winnow::adapter
