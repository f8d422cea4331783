// What supervision writes into the ledger: segments, breaches, rollbacks as entries.
// Format and test vector: docs/formats/ledger.md, docs/formats/fingerprint.md (masking).
//
// A record is a function of the text, so in a public log it would let anybody who has the model
// confirm a guess of the whole prompt. In a leaf records are therefore masked by a keystream of
// the response's salt; whoever holds the receipt can take the mask off, and erasing the salt
// shreds them. All else in a leaf is either a salted digest or a number.
//
// Thread rule: pure functions.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "core/error.h"
#include "ledger/entry.h"
#include "supervisor/supervisor.h"

namespace fieldprint {

// XORs `bytes` with the keystream of segment `index`: the same call puts a mask on and takes it
// off. Id and index belong to the keystream, so no two segments share one even under one salt.
void mask_records(const ChainBinding& binding, std::uint32_t index, std::span<std::uint8_t> bytes);

// Entries without a time.
Entry segment_entry(const ChainBinding& binding, const Segment& segment);
Entry breach_entry(const SupervisedBreach& breach);
Entry rollback_entry(const std::string& response_id, const RollbackRecord& record);

// The segment behind a leaf, mask off; `previous`: the chain's head before it. Its own digest is
// checked, so a wrong salt does not pass. Fuzz entry point. Errors: segment_entry_invalid.
Result<Segment> read_segment_entry(const Entry& entry, const ChainBinding& binding,
                                   const Digest256& previous);

}  // namespace fieldprint
