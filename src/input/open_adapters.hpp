// The adapters of a run, opened by all ranks together: each file is looked at once, by one rank.
//
//     coordinator   directories --broadcast--> rank r opens r, r + P, r + 2P, ... on some threads
//                   adapters, in the order given <--gather--
#pragma once

#include <string>
#include <vector>

#include "winnow/adapter/adapter.hpp"
#include "winnow/base/log.hpp"
#include "winnow/comm/communicator.hpp"
#include "winnow/input/inputs.hpp"
#include "winnow/run/means.hpp"
#include "winnow/run/stopping.hpp"

namespace winnow::input {

/// Collective. Opens `directories`, the same on all ranks, against the checkpoint in `inputs`. Returns them on the
/// coordinator, in that order, and nothing elsewhere; what is worth a message is logged there.
std::vector<adapter::Adapter> open_adapters(const std::vector<std::string>& directories, const Inputs& inputs,
                                            const adapter::AdapterOptions& options, const run::Means& means,
                                            const run::Stopping& stopping, comm::Communicator& world,
                                            const base::Log& log);

}  // namespace winnow::input
