// verify -> promote -> load: the only way by which an anchor comes to be served.
//
// load() hands out an artifact when, and only when, its folder is what an anchor key of the
// trust root signed, a promotion in scope holds for it now, that promotion is in the ledger
// under a checkpoint which the root's policy accepts and which is fresh, and no revocation
// names the anchor or its promotion. Anything else is an error with a code of its own.
//
// Thread rule: from any thread; calls take turns.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "anchor/artifact.h"
#include "core/error.h"
#include "provenance/authority_log.h"
#include "provenance/trust_folder.h"

namespace fieldprint {

// By whose authority an anchor stands: what a receipt repeats.
struct AnchorAuthority {
  std::string anchor_digest;          // "sha256:<hex>" of anchor.json
  std::string bundle_digest;          // of model.sig
  std::string anchor_key;             // name of the key that signed the folder
  std::string promotion_digest;       // of the statement
  std::uint64_t promotion_index = 0;  // of its leaf in the ledger
  std::vector<std::string> promoted_by;
  std::int64_t not_after = 0;      // end of the promotion, seconds since 1970
  std::uint64_t policy_epoch = 0;  // AuthorityState::policy_epoch() when it was checked
  std::int64_t root_version = 0;
  std::string root_digest;
  std::string checkpoint;  // signed note that everything was checked under
  std::int64_t checkpoint_time_s = 0;
  std::string promotion_leaf;   // the ledger's entry, and its proof under that checkpoint
  std::string promotion_proof;  // c2sp.org/tlog-proof@v1
};

struct PromotedAnchor {
  std::shared_ptr<const AnchorArtifact> artifact;
  Place place;
  AnchorAuthority authority;
};

using UnixClock = std::function<std::int64_t()>;  // seconds since 1970
std::int64_t unix_now();

struct RegistryOptions {
  std::int64_t checkpoint_max_age = 0;  // seconds; 0: what the trust root says
  UnixClock now = unix_now;
};

class AnchorRegistry {
 public:
  // Opens the trust folder's ledger and reads it once. Errors: those of AuthorityLog::refresh
  // and of load_seen_head.
  static Result<std::unique_ptr<AnchorRegistry>> open(Env& env, const TrustFolder& folder,
                                                      RegistryOptions options = {});
  // The same over another source, e.g. an export. The trust folder still remembers the head.
  static Result<std::unique_ptr<AnchorRegistry>> open(Env& env, const TrustFolder& folder,
                                                      std::unique_ptr<LogSource> source,
                                                      RegistryOptions options = {});

  // Errors: those of load_signed_anchor, AuthorityLog::refresh, check_fresh and prove,
  // AuthorityState::check_anchor; anchor_model_mismatch.
  Result<PromotedAnchor> load(const std::string& folder, const Place& place);

  // Whether an anchor that load() gave may go on being served. Errors: as load(), without the
  // folder's. A ledger that cannot be read for the moment is not an error until its last
  // checkpoint is stale.
  Status recheck(const PromotedAnchor& anchor);

  // Whether an override holds for this request now, by the ledger as it is now. The caller
  // must append its use and see it included before it takes effect (engine/override_gate.h).
  // Errors: those of refresh, check_fresh and AuthorityState::check_override.
  Result<SignedStatement> check_override(std::string_view envelope, const OverrideUse& use);

  // Reads what the ledger has got since. Errors: those of AuthorityLog::refresh.
  Status refresh();
  AuthorityState state() const;  // copies; as of the last refresh
  CheckpointView checkpoint() const;
  std::int64_t checkpoint_max_age() const;
  Status check_fresh() const;

 private:
  AnchorRegistry(Env& env, TrustFolder folder, AuthorityLog log, RegistryOptions options);
  Status refresh_locked();
  std::int64_t max_age_locked() const;
  Status fresh_locked() const;

  Env& env_;
  TrustFolder folder_;
  RegistryOptions options_;
  mutable std::mutex mutex_;  // guards log_
  AuthorityLog log_;
};

}  // namespace fieldprint
