// EngineCore on a thread of its own: what Engine::create() returns.
#pragma once

#include <memory>

#include "engine/engine.h"
#include "engine/engine_core.h"

namespace fieldprint {

// setup.waker must be empty. Errors: as EngineCore::create().
Result<std::unique_ptr<Engine>> start_engine(EngineCoreSetup setup);

// Pins the binding's artifact under its policy; empty if it has none. Errors of the
// factory: those of PinnedAnchor::load().
AnchorFactory anchor_factory(const AnchorBinding& binding);

}  // namespace fieldprint
