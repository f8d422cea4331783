// A runner that keeps the final hidden state of every token it evaluates, for an engine that
// runs one sequence and asks for none.
//
// Thread rule: as Runner.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "runner/runner.h"

namespace fieldprint::app {

// Filled by the recorder, owned by whoever wants the states.
struct RecordedStates {
  std::vector<TokenId> tokens;
  std::vector<float> states;  // [tokens, hidden]
};

// `states` must outlive the runner.
std::unique_ptr<Runner> record_states(std::unique_ptr<Runner> runner, RecordedStates& states);

}  // namespace fieldprint::app
