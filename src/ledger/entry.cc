#include "ledger/entry.h"

#include <algorithm>

#include "core/check.h"

namespace fieldprint {
namespace {

constexpr std::int64_t kLeafVersion = 1;

// An object of strings and integers, arrays of digests at most.
constexpr JsonLimits kLeafLimits{.max_bytes = kMaxLeafBytes, .max_values = 4096, .max_depth = 4};

tl::unexpected<Error> invalid(const std::string& what, std::string param) {
  return fail(ErrorKind::kInvalid, "entry_invalid", "ledger entry: " + what, std::move(param));
}

Status check_entry(const Entry& entry) {
  if (!is_name(entry.subject, kMaxSubjectBytes))
    return invalid("subject must be 1 to 255 printable ASCII characters without space", "subject");
  if (entry.time_ms < 0 || entry.time_ms > kJsonIntegerMax)
    return invalid("time_ms is outside 0 to 2^53-1", "time_ms");
  return check_body(entry.kind, entry.body);
}

tl::unexpected<Error> too_large(std::size_t bytes) {
  return fail(ErrorKind::kTooLarge, "entry_too_large",
              "ledger entry: " + std::to_string(bytes) + " bytes, at most " +
                  std::to_string(kMaxLeafBytes) + " fit a leaf");
}

}  // namespace

std::string_view kind_name(EntryKind kind) {
  switch (kind) {
    case EntryKind::kGenesis:
      return "genesis";
    case EntryKind::kAnchor:
      return "anchor";
    case EntryKind::kPromotion:
      return "promotion";
    case EntryKind::kRevocation:
      return "revocation";
    case EntryKind::kOverride:
      return "override";
    case EntryKind::kSegment:
      return "segment";
    case EntryKind::kBreach:
      return "breach";
    case EntryKind::kRollback:
      return "rollback";
    case EntryKind::kMemory:
      return "memory";
    case EntryKind::kReceipt:
      return "receipt";
    case EntryKind::kTrustRoot:
      return "trust_root";
  }
  FP_UNREACHABLE();
}

Result<EntryKind> parse_kind(std::string_view name) {
  for (const EntryKind kind : kEntryKinds)
    if (kind_name(kind) == name) return kind;
  return fail(
      ErrorKind::kInvalid, "entry_kind_unknown",
      "ledger entry: kind '" + std::string(name.substr(0, 40)) + "' is not known to this version",
      "kind");
}

bool is_indexed(EntryKind kind) { return kind != EntryKind::kSegment; }

bool is_name(std::string_view text, std::size_t max_bytes) {
  return !text.empty() && text.size() <= max_bytes &&
         std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c <= '~'; });
}

Result<std::string> print_entry(const Entry& entry) {
  FP_TRY(check_entry(entry));
  CanonicalValue::Object leaf;
  leaf.emplace("body", entry.body);
  leaf.emplace("kind", std::string(kind_name(entry.kind)));
  leaf.emplace("subject", entry.subject);
  leaf.emplace("time_ms", entry.time_ms);
  leaf.emplace("v", kLeafVersion);
  Result<std::string> text = canonical_print(std::move(leaf));
  if (!text) return invalid(text.error().message, "body");
  if (text->size() > kMaxLeafBytes) return too_large(text->size());
  return text;
}

Result<Entry> parse_entry(std::string_view leaf) {
  if (leaf.size() > kMaxLeafBytes) return too_large(leaf.size());
  const Result<CanonicalValue> value = canonical_parse(leaf, kLeafLimits);
  if (!value) return invalid(value.error().message, "");
  if (value->object() == nullptr) return invalid("a leaf is one JSON object", "");
  FieldReader fields(*value, "ledger entry");
  const std::string kind = fields.string("kind", 16);
  Entry entry;
  entry.subject = fields.string("subject", kMaxSubjectBytes);
  entry.time_ms = fields.integer("time_ms", 0, kJsonIntegerMax);
  (void)fields.integer("v", kLeafVersion, kLeafVersion);
  const CanonicalValue& body = fields.object("body");
  const Status read = fields.finish();
  if (!read) return invalid(read.error().message, read.error().param);
  FP_ASSIGN(entry.kind, parse_kind(kind));
  entry.body = *body.object();
  FP_TRY(check_entry(entry));
  return entry;
}

}  // namespace fieldprint
