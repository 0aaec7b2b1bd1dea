// Names of one layer in different wrappings of a model. Private to src/adapter.
#pragma once

#include <cstddef>
#include <map>
#include <string>

#include "winnow/adapter/adapter.hpp"

namespace winnow::adapter {

inline constexpr const char* kOtherName =
    "PEFT does not load it: the adapter calls other layers of the same model otherwise";

/// What an adapter has in front of 0.self_attn.q_proj where the checkpoint has model.layers., say. A model has one of
/// those that mean the same: the checkpoint's own if the adapter has it, else that of most modules.
class Wrappings {
 public:
  void count(const ModuleNames& names);
  /// Of what was counted. True of a module that lies in no layer, but for an output head with another name than the
  /// checkpoint's whose layers have the checkpoint's.
  bool is_chosen(const ModuleNames& names) const;
  /// What the adapter would call a module of the checkpoint; as the checkpoint does where nothing else is known.
  std::string adapters_name(const std::string& module) const;

 private:
  bool is_own() const;
  static const std::string& chosen(const std::string& of_checkpoint,
                                   const std::map<std::string, std::size_t>& of_adapter);

  std::map<std::string, std::map<std::string, std::size_t>> counts_;  // by that of the checkpoint
};

}  // namespace winnow::adapter
