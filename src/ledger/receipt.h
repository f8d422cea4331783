// A receipt: what produced one response, as canonical JSON, signed and committed to the log.
//
//   payload   canonical JSON, the fields of Receipt (docs/formats/receipt.md has the grammar)
//   envelope  DSSE, payload type kReceiptPayloadType, signed by the log's key
//   leaf      ledger entry of kind receipt: the payload's digest, nothing of its content
//   file      {"format":"fieldprint-receipt-file/v1", id, state, envelope, leaf, proof, chains}:
//             what is handed out. id and state are for people and signed by nobody
//   chains    the fingerprint chain of each choice (supervisor/chain.h, stored form), which the
//             payload commits to by its last digest
//
// Text of people is in none of them: request, response and tokens are salted commitments, and
// the salt is in the receipt, which only the parties of the conversation hold.
// Thread rule: plain values and pure functions.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"
#include "crypto/note_key.h"
#include "ledger/entry.h"

namespace fieldprint {

inline constexpr const char* kReceiptPayloadType = "application/vnd.fieldprint.receipt+json";
inline constexpr const char* kReceiptNone = "none";     // a digest of something that was not there
inline constexpr std::size_t kReceiptMaxBytes = 65536;  // payload
inline constexpr std::size_t kReceiptMaxChainBytes = std::size_t{8} << 20;  // of all choices
// With envelope, leaf, proof and the chains in base64.
inline constexpr std::size_t kReceiptMaxFileBytes = std::size_t{12} << 20;
inline constexpr std::size_t kReceiptMaxRollbacks = 16;  // listed of one choice; all are counted
inline constexpr std::size_t kReceiptMaxChoices = 16;
inline constexpr std::size_t kReceiptMaxAnchors = 16;
inline constexpr std::size_t kReceiptSaltBytes = 32;

using ReceiptSalt = std::array<std::uint8_t, kReceiptSaltBytes>;

// Angles in millionths of a radian; -1: none.
struct ReceiptRollback {
  std::int64_t from = 0;      // tokens generated when it happened
  std::int64_t to = 0;        // tokens that stayed
  std::int64_t released = 0;  // of the dropped ones, sent to the client before
  std::string change;         // rollback_change_name()
  std::string cause;          // breach_cause_name()
  std::int64_t angle_urad = -1;
  std::string quarantined = kReceiptNone;  // class taken out of the prompt
};

// How one choice was supervised. With state "none" it was not, and the rest is as it stands here.
struct ReceiptSupervision {
  std::string state = kReceiptNone;    // "complete"; "incomplete": the chain's end is missing
  std::string release = kReceiptNone;  // "off", "optimistic", "strict"
  // What the chain belongs to, with the receipt's response, salt, model and numeric profile.
  std::string anchor = kReceiptNone;
  std::string recipe = kReceiptNone;
  std::string chain_head = kReceiptNone;  // digest of its last segment, if complete
  std::int64_t segments = 0;              // of the chain
  std::int64_t gaps = 0;                  // tokens without a fingerprint
  std::int64_t unlogged = 0;              // segments that the ledger could not take
  std::int64_t alarms = 0;                // segments that were a breach
  std::int64_t measured = 0;              // angles of the text that stayed
  std::int64_t angle_max_urad = -1;       // of those
  std::int64_t rollback_count = 0;
  std::vector<ReceiptRollback> rollbacks;  // the last kReceiptMaxRollbacks
};

struct ReceiptChoice {
  std::string finish;         // "stop", "length", "content_filter"
  std::uint64_t seed = 0;     // effective seed of this choice
  std::int64_t tokens = 0;    // generated
  std::string text_digest;    // commitment "response/<i>" of the text
  std::string tokens_digest;  // commitment "tokens/<i>" of the token ids, 4 bytes each, LE
  ReceiptSupervision supervision;
};

// Numbers as decimal text that reads back to the same float: signed data has no floats.
struct ReceiptSampler {
  std::string temperature = "1";
  std::string top_p = "1";
  std::string min_p = "0";
  std::string repetition_penalty = "1";
  std::string presence_penalty = "0";
  std::string frequency_penalty = "0";
  std::int64_t top_k = 0;
  std::int64_t logit_bias = 0;   // entries; the request's commitment covers their values
  std::int64_t max_tokens = -1;  // -1: up to the context's end
};

struct ReceiptAnchor {
  // What stood in front, in order: digest or "none". More than one after a revocation.
  std::vector<std::string> digests = {kReceiptNone};
  std::string mode = kReceiptNone;  // "joint", "gated", "floored"
  std::string gamma = "0";
  std::string psi = "0";
  std::string beta = "0";
  std::string promotion = kReceiptNone;  // digest of the promotion statement
  std::int64_t policy_epoch = 0;         // AuthorityState::policy_epoch(); 0: no authority
  std::int64_t insecure = 0;             // 1: loaded by --insecure-anchors, nobody vouched for it
};

struct ReceiptTokens {
  std::int64_t anchor = 0;  // logical length T
  std::int64_t prompt = 0;
  std::int64_t cached = 0;   // of the prompt, found in the prefix cache
  std::int64_t dropped = 0;  // generated and taken back
  std::int64_t completion = 0;
};

struct Receipt {
  std::string id;  // "fpr-" and 32 hex digits
  std::string origin;
  std::int64_t issued_at = 0;  // seconds since 1970
  ReceiptSalt salt{};
  std::string endpoint;        // "/v1/chat/completions"
  std::string request_digest;  // commitment "request" of the body's bytes
  std::string response_id;
  std::vector<ReceiptChoice> choices;
  std::string build;  // program version
  std::string model_digest;
  std::string template_digest = kReceiptNone;  // of the chat template's text
  std::string numeric_profile;
  ReceiptAnchor anchor;
  std::string override_digest = kReceiptNone;  // statement that let it run without the anchor
  ReceiptSampler sampler;
  ReceiptTokens tokens;
  std::map<std::string, std::int64_t> mass_ppm;  // attention mass by class, parts per million
};

// SHA-256("fieldprint-commitment-v1\n" | salt | u64 label size | label | u64 size | bytes), as
// "sha256:<hex>". Labels: "request", "response/<i>", "tokens/<i>".
std::string receipt_commitment(const ReceiptSalt& salt, std::string_view label,
                               std::string_view bytes);
std::string tokens_commitment(const ReceiptSalt& salt, std::size_t choice,
                              std::span<const std::int32_t> tokens);
std::string response_label(std::size_t choice);
// Shortest decimal text that reads back to `value`, which is finite.
std::string receipt_number(float value);
bool is_receipt_id(std::string_view text);

// Errors: receipt_field_invalid (param names the field), receipt_too_large.
Result<std::string> print_receipt(const Receipt& receipt);
// Reads canonical bytes only. Fuzz entry point. Errors: receipt_corrupt, receipt_too_large,
// receipt_unknown_field, receipt_field_invalid.
Result<Receipt> parse_receipt(std::string_view payload);

// The leaf that commits to a payload. Its subject is the receipt's id.
Result<Entry> receipt_entry(const Receipt& receipt, std::string_view payload);
// The signed envelope. Errors: as print_receipt.
Result<std::string> sign_receipt(const Receipt& receipt, const SignerKey& log_key);

// What a person keeps. leaf and proof are empty as long as the log has not integrated it.
struct ReceiptFile {
  std::string id;     // hint
  std::string state;  // hint: durability_name() when it was handed out
  std::string envelope;
  std::string leaf;   // exact bytes
  std::string proof;  // c2sp.org/tlog-proof@v1
  // The chain of each choice, bytes; empty for one that has none or whose chain was not kept. No
  // element at all: no choice has any.
  std::vector<std::string> chains;
};
std::string print_receipt_file(const ReceiptFile& file);
// Fuzz entry point. Takes a bare DSSE envelope too. Errors: receipt_file_invalid,
// receipt_too_large.
Result<ReceiptFile> parse_receipt_file(std::string_view text);

}  // namespace fieldprint
