// The anchor in front of an engine's contexts, and the door that requests pass before it.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "core/error.h"
#include "engine/revocation.h"
#include "kv/block_pool.h"
#include "runner/runner.h"
#include "supervisor/recipe.h"

namespace fieldprint {

// A pinned anchor as the engine sees it: the sink page and the rows to put in front of
// every context. `view` and `sink` stay valid as long as `owner`.
struct AnchorInFront {
  std::int32_t length = 0;  // T: the first prompt token's position, sink included
  PageEntry sink;           // row of position 0, class sink
  AnchorView view;
  std::string digest;  // of the artifact: what a revocation names
  std::string seed;    // names rows and policy: part of every prefix key behind it
  std::shared_ptr<void> owner;
  std::shared_ptr<const SupervisionModel> supervision;  // null: nothing behind it is supervised
  Digest256 model_digest{};                             // for fingerprint chains
};
// Pins an anchor's rows: once on an empty pool, and once for each replacement.
using AnchorFactory = std::function<Result<AnchorInFront>(BlockPool&, Runner&)>;

// Overwrites the anchor's rows with zeros in every layer. Errors: the runner's.
Status scrub_rows(const AnchorInFront& anchor, Runner& runner);

// What threads other than the engine's may know of the anchor, and the digests that may
// never come back. A digest is on that list from the moment revocation is asked for,
// before the engine's thread has acted on it.
//
// Thread rule: every method from any thread.
class AnchorDoor {
 public:
  struct Front {
    std::uint64_t number = 0;  // counts changes: 0 before the first anchor
    std::int32_t length = 0;   // T; 0: nothing is in front
    std::int32_t pages = 0;    // pinned
    std::string digest;        // empty: nothing is in front
    std::shared_ptr<const SupervisionModel> supervision;
    Digest256 model_digest{};
  };

  // Engine's thread: what stands in front from now on.
  void open(Front front);
  // The first reason given for a digest stays.
  void revoke(const std::string& digest, const Error& reason);
  // Errors: the reason the digest was revoked for.
  Status check(const std::string& digest) const;
  // What a request that wants the anchor gets: a front of length 0 where the engine never
  // had one. Errors: that reason, where nothing replaced the anchor.
  Result<Front> enter() const;
  Front front() const;
  AnchorState state() const;

 private:
  mutable std::mutex mutex_;
  Front front_;
  std::string last_;  // digest that stood in front last, for the message
  std::map<std::string, Error> revoked_;
};

}  // namespace fieldprint
