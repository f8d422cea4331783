// Statements from the command line: who signs, whether it is enough, and into the ledger.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "app/config/settings.h"
#include "app/support/trust.h"
#include "core/error.h"
#include "crypto/dsse.h"
#include "provenance/authority_state.h"

namespace fieldprint::app {

struct Signatures {
  std::string envelope;
  std::size_t held = 0;
  std::size_t needed = 0;
  bool enough() const { return held >= needed; }
};

// Reads --envelope if that file is there; nothing otherwise. Errors: io_open, those of
// dsse_parse.
Result<std::optional<DsseEnvelope>> read_envelope_file(const Settings& settings);
// Writes --envelope, 0644. Errors: io_write.
Status write_envelope_file(const Settings& settings, const std::string& envelope);

// Adds a signature of every given key that has the role and has not signed yet. Errors:
// authority_key_foreign (no key has the role), those of cosign_statement.
Result<Signatures> add_signatures(DsseEnvelope& envelope, AuthorityRole role, const TrustRoot& root,
                                  const std::vector<SignerKey>& keys);

// A statement from --envelope, or `draft` signed anew, with signatures added. Errors: those
// above; threshold_not_met when there are too few and no --envelope to collect them in.
Result<Signatures> sign_or_cosign(const Settings& settings, const TrustStack& stack,
                                  const Statement& draft);

// Judges the statement as every reader of the ledger will, appends it and waits until a
// checkpoint covers it. Errors: those of AuthorityState::add_statement; ledger_read_only (no
// log keys here); those of Ledger::commit.
Result<std::uint64_t> log_statement(TrustStack& stack, StatementType type,
                                    const std::string& envelope);

// "2026-11-24 12:00:00 UTC" of seconds since 1970.
std::string time_text(std::int64_t seconds);

}  // namespace fieldprint::app
