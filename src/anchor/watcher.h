// Tells a server which anchors may no longer be served, soon after the ledger says so.
//
// A thread looks at the ledger every `period` and whenever it is poked. It reports every new
// revocation that holds in the served place, and the served anchor itself when it stops being
// good for another reason: superseded, expired, keys retired, ledger rolled back, checkpoint
// stale. What the server then does is its policy (engine/revocation.h).
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "anchor/registry.h"
#include "core/error.h"

namespace fieldprint {

struct AnchorEnd {
  std::string anchor_digest;
  std::string cause;  // digest of the revocation; empty for another reason
  Error reason;       // anchor_revoked, promotion_expired, checkpoint_stale, ...
};

class AnchorWatcher {
 public:
  // Called on the watcher's thread. An error means "not done": it is called again at the next
  // look. After success an end is reported once.
  using OnEnd = std::function<Status(const AnchorEnd&)>;

  virtual ~AnchorWatcher() = default;  // stops the thread; no call after that

  // registry must outlive the watcher. `served` may have no artifact: then only revocations in
  // its place are reported.
  static std::unique_ptr<AnchorWatcher> start(AnchorRegistry& registry, PromotedAnchor served,
                                              std::chrono::milliseconds period, OnEnd on_end);

  // Looks now instead of at the end of the period; returns at once. From any thread.
  virtual void poke() = 0;
};

}  // namespace fieldprint
