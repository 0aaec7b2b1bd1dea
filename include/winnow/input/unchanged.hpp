// Whether the files of an audit stayed as they were while it read them. For the coordinator alone.
//
// States are noted before the first byte of a file is read and compared once all is read: a file that a training job or
// a download still writes to shows that way, whenever it was replaced in between; bytes that rot on the device do not.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "winnow/base/file_state.hpp"
#include "winnow/base/log.hpp"
#include "winnow/input/inputs.hpp"

namespace winnow::input {

/// Of the weights and the configuration of each adapter, by path. `between` is called with each of many, on this
/// thread.
std::map<std::string, base::FileState> states_of_adapters(const std::vector<std::string>& directories,
                                                          const std::function<void()>& between);

/// Quarantines adapters that have changed since, with a warning; with `strict` throws Error(invalid_input) instead.
/// Throws Error(runtime) for a shard or a probe.
void quarantine_changed(Inputs& inputs, bool strict, const base::Log& log, const std::function<void()>& between);

}  // namespace winnow::input
