// What is told of the adapters of a run, or refused with --strict. Private to src/input.
#pragma once

#include "winnow/adapter/adapter.hpp"
#include "winnow/base/log.hpp"
#include "winnow/base/shared_list.hpp"

namespace winnow::input {

/// With --strict, for an adapter that cannot be scored or one of which a part cannot: throws Error(invalid_input).
void require_whole(const adapter::Adapter& adapter);

void tell_about(const adapter::Adapter& adapter, const base::Log& log);

struct Standing {
  adapter::AdapterStatus status;
  base::SharedList<adapter::UnjudgedModule> unjudged;
};

/// What pairing the checkpoints made of an adapter.
void tell_of_change(const Standing& before, const adapter::Adapter& now, const base::Log& log);

}  // namespace winnow::input
