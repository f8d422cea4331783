#include "ledger/receipt.h"

#include <charconv>
#include <cmath>

#include "codec/base64.h"
#include "codec/canonical_json.h"
#include "codec/hex.h"
#include "core/check.h"
#include "crypto/dsse.h"
#include "crypto/sha256.h"

namespace fieldprint {
namespace {

constexpr const char* kFileFormat = "fieldprint-receipt-file/v1";
constexpr std::string_view kCommitmentDomain = "fieldprint-commitment-v1\n";
constexpr std::string_view kIdPrefix = "fpr-";

}  // namespace

std::string receipt_commitment(const ReceiptSalt& salt, std::string_view label,
                               std::string_view bytes) {
  Sha256 hash;
  hash.update(kCommitmentDomain).update(salt);
  hash.update_u64(label.size()).update(label).update_u64(bytes.size()).update(bytes);
  return digest_string(hash.finish());
}

std::string response_label(std::size_t choice) { return "response/" + std::to_string(choice); }

std::string tokens_commitment(const ReceiptSalt& salt, std::size_t choice,
                              std::span<const std::int32_t> tokens) {
  std::string bytes;
  bytes.reserve(tokens.size() * 4);
  for (const std::int32_t token : tokens) {
    const auto value = static_cast<std::uint32_t>(token);
    for (int shift = 0; shift < 32; shift += 8) {
      bytes.push_back(static_cast<char>((value >> shift) & 0xFFU));
    }
  }
  return receipt_commitment(salt, "tokens/" + std::to_string(choice), bytes);
}

std::string receipt_number(float value) {
  FP_CHECK(std::isfinite(value));
  std::array<char, 64> text{};
  const auto [end, error] = std::to_chars(text.data(), text.data() + text.size(), value);
  FP_CHECK(error == std::errc());
  return {text.data(), end};
}

bool is_receipt_id(std::string_view text) {
  return text.size() == kIdPrefix.size() + 32 && text.starts_with(kIdPrefix) &&
         text.find_first_not_of("0123456789abcdef", kIdPrefix.size()) == std::string_view::npos;
}

Result<Entry> receipt_entry(const Receipt& receipt, std::string_view payload) {
  Entry entry;
  entry.kind = EntryKind::kReceipt;
  entry.subject = receipt.id;
  entry.time_ms = receipt.issued_at * 1000;
  entry.body.emplace("receipt_digest", digest_string(sha256(payload)));
  const std::string& anchor = receipt.anchor.digests.back();
  if (anchor != kReceiptNone) entry.body.emplace("anchor_digest", anchor);
  if (receipt.override_digest != kReceiptNone) {
    entry.body.emplace("override_digest", receipt.override_digest);
  }
  entry.body.emplace("policy_epoch", receipt.anchor.policy_epoch);
  return entry;
}

Result<std::string> sign_receipt(const Receipt& receipt, const SignerKey& log_key) {
  FP_ASSIGN(const std::string payload, print_receipt(receipt));
  return dsse_print(dsse_sign(kReceiptPayloadType, payload, log_key));
}

std::string print_receipt_file(const ReceiptFile& file) {
  CanonicalValue::Object object;
  object.emplace("format", kFileFormat);
  object.emplace("id", file.id);
  object.emplace("state", file.state);
  object.emplace("envelope", file.envelope);
  object.emplace("leaf", file.leaf);
  object.emplace("proof", file.proof);
  CanonicalValue::Array chains;
  for (const std::string& chain : file.chains) chains.emplace_back(base64_encode(chain));
  object.emplace("chains", std::move(chains));
  Result<std::string> text = canonical_print(std::move(object));
  FP_CHECK(text.has_value());  // all of it was printed or parsed as UTF-8 before
  return std::move(*text);
}

Result<ReceiptFile> parse_receipt_file(std::string_view text) {
  const auto invalid = [](const std::string& what) {
    return fail(ErrorKind::kInvalid, "receipt_file_invalid",
                "not a receipt file: " + what +
                    "; it is what GET /v1/fieldprint/receipts/<id> "
                    "answers");
  };
  if (text.size() > kReceiptMaxFileBytes) {
    return fail(ErrorKind::kTooLarge, "receipt_too_large",
                "a receipt file has at most " + std::to_string(kReceiptMaxFileBytes) + " bytes");
  }
  const JsonLimits limits{.max_bytes = kReceiptMaxFileBytes, .max_values = 512, .max_depth = 4};
  const Result<CanonicalValue> value = json_parse(text, limits);
  if (!value) return invalid(value.error().message);
  if (value->object() == nullptr) return invalid("no JSON object");
  ReceiptFile file;
  if (value->object()->contains("payloadType")) {
    file.envelope = std::string(text);
    return file;
  }
  FieldReader fields(*value, "receipt file");
  const CanonicalValue::Array& chains = fields.array("chains", kReceiptMaxChoices);
  const std::string format = fields.string("format", 64);
  file.id = fields.string("id", 64);
  file.state = fields.string("state", 32);
  file.envelope = fields.string("envelope", kReceiptMaxFileBytes);
  file.leaf = fields.string("leaf", kMaxLeafBytes);
  file.proof = fields.string("proof", kReceiptMaxFileBytes);
  const Status read = fields.finish();
  if (!read) return invalid(read.error().message);
  if (format != kFileFormat) return invalid("format '" + format + "'");
  for (const CanonicalValue& chain : chains) {
    if (chain.string() == nullptr) return invalid("a chain is not text");
    const auto bytes = base64_decode(*chain.string());
    if (!bytes) return invalid("a chain is not base64");
    file.chains.emplace_back(bytes->begin(), bytes->end());
  }
  return file;
}

}  // namespace fieldprint
