// EngineCore on a thread of its own: what Engine::create() returns.
#pragma once

#include <memory>

#include "engine/engine.h"
#include "engine/engine_core.h"

namespace fieldprint {

// setup.waker and setup.supervisor must be empty; an engine with an anchor gets a supervisor
// that keeps what it says in `sink` (may be null). Errors: as EngineCore::create() and
// Supervisor::create().
Result<std::unique_ptr<Engine>> start_engine(EngineCoreSetup setup, SegmentSink* sink = nullptr);

// Pins the binding's artifact under its policy; empty if it has none. Errors of the
// factory: those of PinnedAnchor::load().
AnchorFactory anchor_factory(const AnchorBinding& binding);

}  // namespace fieldprint
