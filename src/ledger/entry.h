// What a leaf of the ledger says. One leaf is one canonical JSON object:
//
//   leaf    := {"body":BODY,"kind":KIND,"subject":NAME,"time_ms":INT,"v":1}
//   KIND    := genesis | anchor | promotion | revocation | override | segment | breach |
//              rollback | memory | receipt | trust_root
//   subject := what the entry is about, and what it is found by: an artifact's digest
//              "sha256:<hex>", a receipt's or response's id, the log's origin
//   BODY    := flat object; its fields by kind are the table in entry_schema.cc and
//              docs/formats/ledger.md
//
// A leaf holds no personal text, only salted commitments: the log forgets nothing.
// Fields that the table does not name are refused, so no reader ever ignores a meaning.
// Thread rule: plain values and pure functions.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "codec/canonical_json.h"
#include "core/error.h"

namespace fieldprint {

// tlog-tiles: entries are length-prefixed with 16 bits.
inline constexpr std::size_t kMaxLeafBytes = 65'535;
inline constexpr std::size_t kMaxSubjectBytes = 255;

// Values are stored in the ledger's index: never renumber.
enum class EntryKind : std::uint8_t {
  kGenesis = 1,     // the log's first leaf: its origin and keys
  kAnchor = 2,      // an anchor was signed
  kPromotion = 3,   // DSSE envelope: an authority lifts an artifact in a scope
  kRevocation = 4,  // DSSE envelope: an authority ends an artifact
  kOverride = 5,    // DSSE envelope: issued or used
  kSegment = 6,     // fingerprints of up to 32 tokens of one response
  kBreach = 7,      // the drift detector's alarm
  kRollback = 8,    // what followed a breach
  kMemory = 9,      // a memory was written, promoted, forgotten
  kReceipt = 10,    // digest of a signed receipt
  kTrustRoot = 11,  // DSSE envelope: the next version of the trust root
};
inline constexpr std::array kEntryKinds = {
    EntryKind::kGenesis,  EntryKind::kAnchor,  EntryKind::kPromotion, EntryKind::kRevocation,
    EntryKind::kOverride, EntryKind::kSegment, EntryKind::kBreach,    EntryKind::kRollback,
    EntryKind::kMemory,   EntryKind::kReceipt, EntryKind::kTrustRoot};

std::string_view kind_name(EntryKind kind);
// Errors: entry_kind_unknown.
Result<EntryKind> parse_kind(std::string_view name);

// Whether Ledger::find() knows entries of this kind by subject. Segments are too many; they
// are reached through the receipt of their response.
bool is_indexed(EntryKind kind);

struct Entry {
  EntryKind kind = EntryKind::kGenesis;
  std::string subject;          // 1..255 printable ASCII characters, no space
  std::int64_t time_ms = 0;     // Unix time; Ledger::append fills in 0
  CanonicalValue::Object body;  // fields by kind
};

// The leaf. Errors: entry_invalid (param names the field), entry_too_large.
Result<std::string> print_entry(const Entry& entry);
// Reads exactly what print_entry writes. Errors: entry_invalid, entry_kind_unknown,
// entry_too_large.
Result<Entry> parse_entry(std::string_view leaf);

// Checks a body against its kind's table. Errors: entry_invalid. Part of both calls above.
Status check_body(EntryKind kind, const CanonicalValue::Object& body);
// 1..max bytes of printable ASCII without space.
bool is_name(std::string_view text, std::size_t max_bytes);

}  // namespace fieldprint
