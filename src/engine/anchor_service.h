// The anchors of a running engine, seen from outside: by whose authority one stands in front,
// and the two ways it goes: a signed revocation that was sent here, or something that the
// watcher found in the ledger (a revocation made elsewhere, an expired promotion, a stale or
// rolled-back log).
//
// Thread rule: any thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "anchor/registry.h"
#include "core/error.h"
#include "engine/engine.h"
#include "ledger/ledger.h"

namespace fieldprint {

// An anchor with its strengths and the authority behind it.
struct AnchorStanding {
  AnchorBinding binding;
  std::optional<AnchorAuthority> authority;  // absent: --insecure-anchors
};

// An anchor that was taken away while this process ran.
struct AnchorEnding {
  std::string digest;
  std::string cause;    // digest of the revocation statement; empty for another reason
  std::string code;     // anchor_revoked, promotion_expired, checkpoint_stale, ...
  std::int64_t at = 0;  // seconds since 1970
  RevocationOutcome outcome;
};

struct AnchorReport {
  AnchorState state;
  std::optional<AnchorStanding> front;  // what stands in front now
  std::string tenant;
  std::string root_digest;
  std::int64_t root_version = 0;
  std::uint64_t policy_epoch = 0;
  std::uint64_t checkpoint_size = 0;
  std::int64_t checkpoint_time = 0;     // seconds since 1970; 0: undated
  std::int64_t checkpoint_max_age = 0;  // seconds
  std::vector<AnchorEnding> endings;    // oldest first, the last 100
};

struct RevocationReceipt {
  std::string statement_digest;
  std::string subject_digest;
  std::uint64_t index = 0;                   // of its ledger entry
  bool in_place = false;                     // its scope covers what this server serves
  std::optional<RevocationOutcome> outcome;  // present if it named what stood in front
};

class AnchorService {
 public:
  virtual ~AnchorService() = default;
  virtual AnchorReport report() const = 0;
  // The anchor of that digest, if it stands or stood in front. For receipts.
  virtual std::optional<AnchorStanding> standing(const std::string& digest) const = 0;
  // Carries out a signed revocation: takes the anchor away, writes the statement to the
  // ledger. Errors: those of verify_statement; statement_type_mismatch; ledger_read_only (no
  // log keys here: refused before anything is done); revocation_not_logged (the anchor is gone
  // here, but the ledger could not be written).
  virtual Result<RevocationReceipt> revoke(std::string_view envelope) = 0;
};

struct AnchorServiceOptions {
  RevocationPolicy policy = RevocationPolicy::kEnd;
  std::string fallback_folder;  // kReanchor: signed anchor to go on behind; empty: none
  std::chrono::milliseconds watch_period{2000};
  std::chrono::milliseconds ledger_patience{10'000};
};

// engine, registry and ledger must outlive the service. ledger: null where this process has
// no log keys. front: what the engine was created with.
std::unique_ptr<AnchorService> make_anchor_service(Engine& engine, AnchorRegistry& registry,
                                                   Ledger* ledger, PromotedAnchor front,
                                                   const AnchorBinding& binding,
                                                   const AnchorServiceOptions& options);

}  // namespace fieldprint
