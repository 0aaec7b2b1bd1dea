// What a run computes with, as far as bits depend on it.
#pragma once

#include <string>

#include "winnow/comm/communicator.hpp"
#include "winnow/run/compute_place.hpp"
#include "winnow/run/seams.hpp"

namespace winnow::run {

/// Collective. The backend with its kernels and libraries, of all ranks: what decides on roundings, so without the
/// number of threads. Empty but on the coordinator.
std::string arithmetic_of_all(const Seams& seams, const ComputePlace& where, comm::Communicator& world);

}  // namespace winnow::run
