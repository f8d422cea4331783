// The fields of each kind of entry: the one table that printer, parser and docs share.
#include <array>
#include <span>

#include "codec/base64.h"
#include "core/check.h"
#include "ledger/entry.h"

namespace fieldprint {
namespace {

enum class FieldType : std::uint8_t {
  kName,        // printable ASCII without space, up to 512 bytes: ids, keys, enumerations
  kText,        // any UTF-8; only for envelopes, which are signed statements
  kDigest,      // "sha256:" and 64 hex digits: a digest, or a salted commitment
  kDigestList,  // up to 64 of those
  kInteger,     // 0 .. 2^53-1
  kBase64,      // padded standard base64
};
enum class Presence : std::uint8_t { kRequired, kOptional };

struct FieldSpec {
  EntryKind kind;
  const char* name;
  FieldType type;
  Presence presence;
};

constexpr std::size_t kMaxNameBytes = 512;
constexpr std::size_t kMaxListItems = 64;
constexpr Presence kRequired = Presence::kRequired;
constexpr Presence kOptional = Presence::kOptional;

// Sorted by kind. Adding an optional field keeps old leaves valid; nothing else does.
constexpr FieldSpec kFields[] = {
    {EntryKind::kGenesis, "origin", FieldType::kName, kRequired},
    {EntryKind::kGenesis, "log_key", FieldType::kName, kRequired},
    {EntryKind::kGenesis, "cosigner_key", FieldType::kName, kRequired},

    {EntryKind::kAnchor, "name", FieldType::kName, kOptional},  // none if it is not ASCII
    {EntryKind::kAnchor, "model_digest", FieldType::kDigest, kRequired},
    {EntryKind::kAnchor, "bundle_digest", FieldType::kDigest, kRequired},
    {EntryKind::kAnchor, "tokens", FieldType::kInteger, kOptional},

    {EntryKind::kPromotion, "envelope", FieldType::kText, kRequired},
    {EntryKind::kPromotion, "statement_digest", FieldType::kDigest, kOptional},

    {EntryKind::kRevocation, "envelope", FieldType::kText, kRequired},
    {EntryKind::kRevocation, "statement_digest", FieldType::kDigest, kOptional},

    {EntryKind::kOverride, "envelope", FieldType::kText, kOptional},
    {EntryKind::kOverride, "statement_digest", FieldType::kDigest, kRequired},
    {EntryKind::kOverride, "event", FieldType::kName, kRequired},  // issued | used
    {EntryKind::kOverride, "request_commitment", FieldType::kDigest, kOptional},
    {EntryKind::kOverride, "response", FieldType::kName, kOptional},

    {EntryKind::kSegment, "first_token", FieldType::kInteger, kRequired},
    {EntryKind::kSegment, "tokens", FieldType::kInteger, kRequired},
    {EntryKind::kSegment, "fingerprints", FieldType::kBase64, kRequired},
    {EntryKind::kSegment, "chain", FieldType::kDigest, kRequired},
    {EntryKind::kSegment, "numeric_profile", FieldType::kName, kOptional},
    {EntryKind::kSegment, "index", FieldType::kInteger, kOptional},
    {EntryKind::kSegment, "generation", FieldType::kInteger, kOptional},
    {EntryKind::kSegment, "gap", FieldType::kInteger, kOptional},
    {EntryKind::kSegment, "tokens_commitment", FieldType::kDigest, kOptional},

    {EntryKind::kBreach, "token", FieldType::kInteger, kRequired},
    {EntryKind::kBreach, "detector", FieldType::kName, kRequired},
    {EntryKind::kBreach, "angle_urad", FieldType::kInteger, kOptional},
    {EntryKind::kBreach, "chain", FieldType::kDigest, kOptional},
    {EntryKind::kBreach, "generation", FieldType::kInteger, kOptional},
    {EntryKind::kBreach, "first_token", FieldType::kInteger, kOptional},
    {EntryKind::kBreach, "change_token", FieldType::kInteger, kOptional},
    {EntryKind::kBreach, "score_ppm", FieldType::kInteger, kOptional},
    {EntryKind::kBreach, "evidence_milli", FieldType::kInteger, kOptional},

    {EntryKind::kRollback, "from_token", FieldType::kInteger, kRequired},
    {EntryKind::kRollback, "to_token", FieldType::kInteger, kRequired},
    {EntryKind::kRollback, "change", FieldType::kName, kRequired},
    {EntryKind::kRollback, "released_tokens", FieldType::kInteger, kOptional},
    {EntryKind::kRollback, "cause", FieldType::kName, kOptional},
    {EntryKind::kRollback, "angle_urad", FieldType::kInteger, kOptional},
    {EntryKind::kRollback, "quarantined", FieldType::kName, kOptional},  // a provenance class
    {EntryKind::kRollback, "mass_sink_ppm", FieldType::kInteger, kOptional},
    {EntryKind::kRollback, "mass_anchor_ppm", FieldType::kInteger, kOptional},
    {EntryKind::kRollback, "mass_system_ppm", FieldType::kInteger, kOptional},
    {EntryKind::kRollback, "mass_user_ppm", FieldType::kInteger, kOptional},
    {EntryKind::kRollback, "mass_tool_ppm", FieldType::kInteger, kOptional},
    {EntryKind::kRollback, "mass_memory_ppm", FieldType::kInteger, kOptional},
    {EntryKind::kRollback, "mass_output_ppm", FieldType::kInteger, kOptional},

    {EntryKind::kMemory, "event", FieldType::kName, kRequired},
    {EntryKind::kMemory, "commitment", FieldType::kDigest, kRequired},
    {EntryKind::kMemory, "label", FieldType::kName, kOptional},
    {EntryKind::kMemory, "parents", FieldType::kDigestList, kOptional},

    {EntryKind::kReceipt, "receipt_digest", FieldType::kDigest, kRequired},
    {EntryKind::kReceipt, "anchor_digest", FieldType::kDigest, kOptional},
    {EntryKind::kReceipt, "override_digest", FieldType::kDigest, kOptional},
    {EntryKind::kReceipt, "policy_epoch", FieldType::kInteger, kOptional},

    {EntryKind::kTrustRoot, "envelope", FieldType::kText, kRequired},
    {EntryKind::kTrustRoot, "version", FieldType::kInteger, kRequired},
};

bool is_digest(std::string_view text) {
  constexpr std::string_view kPrefix = "sha256:";
  return text.size() == kPrefix.size() + 64 && text.starts_with(kPrefix) &&
         text.find_first_not_of("0123456789abcdef", kPrefix.size()) == std::string_view::npos;
}

bool is_digest_list(const CanonicalValue& value) {
  const CanonicalValue::Array* items = value.array();
  if (items == nullptr || items->size() > kMaxListItems) return false;
  for (const CanonicalValue& item : *items)
    if (item.string() == nullptr || !is_digest(*item.string())) return false;
  return true;
}

bool has_type(const CanonicalValue& value, FieldType type) {
  const std::string* text = value.string();
  switch (type) {
    case FieldType::kName:
      return text != nullptr && is_name(*text, kMaxNameBytes);
    case FieldType::kText:
      return text != nullptr && !text->empty();  // the leaf's limit bounds it
    case FieldType::kDigest:
      return text != nullptr && is_digest(*text);
    case FieldType::kDigestList:
      return is_digest_list(value);
    case FieldType::kInteger:
      return value.integer() != nullptr && *value.integer() >= 0;
    case FieldType::kBase64:
      return text != nullptr && base64_decode(*text).has_value();
  }
  FP_UNREACHABLE();
}

const char* type_text(FieldType type) {
  switch (type) {
    case FieldType::kName:
      return "printable ASCII without space, up to 512 bytes";
    case FieldType::kText:
      return "a text that is not empty";
    case FieldType::kDigest:
      return "\"sha256:\" and 64 lower case hex digits";
    case FieldType::kDigestList:
      return "a list of up to 64 digests";
    case FieldType::kInteger:
      return "an integer that is not negative";
    case FieldType::kBase64:
      return "padded base64";
  }
  FP_UNREACHABLE();
}

tl::unexpected<Error> invalid(EntryKind kind, const std::string& field, const std::string& what) {
  return fail(ErrorKind::kInvalid, "entry_invalid",
              "ledger entry of kind " + std::string(kind_name(kind)) + ": field '" +
                  field.substr(0, 80) + "' " + what,
              field.substr(0, 80));
}

}  // namespace

Status check_body(EntryKind kind, const CanonicalValue::Object& body) {
  std::size_t known = 0;
  for (const FieldSpec& field : kFields) {
    if (field.kind != kind) continue;
    const auto found = body.find(field.name);
    if (found == body.end()) {
      if (field.presence == Presence::kRequired) return invalid(kind, field.name, "is missing");
      continue;
    }
    if (!has_type(found->second, field.type))
      return invalid(kind, field.name, std::string("must be ") + type_text(field.type));
    ++known;
  }
  if (known == body.size()) return {};
  for (const auto& [name, value] : body) {
    bool named = false;
    for (const FieldSpec& field : kFields) named |= field.kind == kind && name == field.name;
    if (!named) return invalid(kind, name, "is not known");
  }
  FP_UNREACHABLE();
}

}  // namespace fieldprint
