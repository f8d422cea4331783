// Carries a log's add-checkpoint requests to witnesses over HTTP or HTTPS.
#pragma once

#include <chrono>
#include <memory>

#include "ledger/witness_client.h"

namespace fieldprint {

struct WitnessTransportOptions {
  std::chrono::milliseconds connect_timeout{5'000};
  std::chrono::milliseconds answer_timeout{10'000};
};

// HTTPS checks the server's certificate against the system's store. Redirects are not followed.
// Thread rule: one thread at a time. post() errors: witness_url (not http:// or https://),
// witness_unreachable, witness_answer_too_large.
std::shared_ptr<WitnessTransport> make_witness_transport(
    const WitnessTransportOptions& options = {});

}  // namespace fieldprint
