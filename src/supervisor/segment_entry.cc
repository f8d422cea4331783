#include "supervisor/segment_entry.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "codec/base64.h"
#include "supervisor/bytes.h"

namespace fieldprint {
namespace {

constexpr std::string_view kMaskDomain = "fieldprint/segment-mask/v1\n";
constexpr std::int64_t kMaxTokens = std::int64_t{1} << 48;

tl::unexpected<Error> invalid(const std::string& what) {
  return fail(ErrorKind::kInvalid, "segment_entry_invalid", "segment in the ledger: " + what);
}

// Floor of value * scale, kept within what an entry can hold; 0 for what is no number.
std::int64_t scaled(double value, double scale) {
  const double product = value * scale;
  if (!(product > 0)) return 0;
  return static_cast<std::int64_t>(std::min(product, static_cast<double>(kJsonIntegerMax)));
}

std::int64_t integer(std::uint64_t value) {
  return static_cast<std::int64_t>(std::min(value, static_cast<std::uint64_t>(kJsonIntegerMax)));
}

std::string records_of(const Segment& segment) {
  std::string out;
  for (const TokenFingerprint& record : segment.records) bytes::put(out, record);
  return out;
}

std::span<std::uint8_t> bytes_of(std::string& text) {
  return {reinterpret_cast<std::uint8_t*>(text.data()), text.size()};
}

}  // namespace

void mask_records(const ChainBinding& binding, std::uint32_t index, std::span<std::uint8_t> bytes) {
  Sha256 hash;
  for (std::uint32_t block = 0; !bytes.empty(); ++block) {
    hash.update(kMaskDomain).update(binding.salt);
    hash.update_u32(static_cast<std::uint32_t>(binding.response_id.size()));
    hash.update(binding.response_id).update_u32(index).update_u32(block);
    const Digest256 key = hash.finish();
    const std::size_t count = std::min(bytes.size(), key.size());
    for (std::size_t i = 0; i < count; ++i) bytes[i] ^= key[i];
    bytes = bytes.subspan(count);
  }
}

Entry segment_entry(const ChainBinding& binding, const Segment& segment) {
  std::string records = records_of(segment);
  mask_records(binding, segment.index, bytes_of(records));
  Entry entry;
  entry.kind = EntryKind::kSegment;
  entry.subject = binding.response_id;
  entry.body.emplace("chain", digest_string(segment.digest));
  entry.body.emplace("fingerprints", base64_encode(records));
  entry.body.emplace("first_token", integer(segment.first_token));
  entry.body.emplace("gap", integer(segment.gap_before));
  entry.body.emplace("generation", std::int64_t{segment.generation});
  entry.body.emplace("index", std::int64_t{segment.index});
  entry.body.emplace("numeric_profile", binding.numeric_profile);
  entry.body.emplace("tokens", static_cast<std::int64_t>(segment.records.size()));
  entry.body.emplace("tokens_commitment", digest_string(segment.tokens));
  return entry;
}

Entry breach_entry(const SupervisedBreach& breach) {
  const SegmentReading& reading = breach.reading;
  Entry entry;
  entry.kind = EntryKind::kBreach;
  entry.subject = breach.response_id;
  if (reading.measured) entry.body.emplace("angle_urad", scaled(reading.angle, 1e6));
  entry.body.emplace("chain", digest_string(breach.chain));
  entry.body.emplace("change_token", integer(reading.change_token));
  entry.body.emplace("detector", breach_cause_name(reading.cause));
  entry.body.emplace("evidence_milli", scaled(reading.evidence, 1e3));
  entry.body.emplace("first_token", integer(reading.first_token));
  entry.body.emplace("generation", std::int64_t{reading.generation});
  entry.body.emplace("score_ppm", scaled(reading.score, 1e6));
  entry.body.emplace("token", integer(reading.end_token));
  return entry;
}

Entry rollback_entry(const std::string& response_id, const RollbackRecord& record) {
  Entry entry;
  entry.kind = EntryKind::kRollback;
  entry.subject = response_id;
  entry.body.emplace("from_token", integer(record.from_token));
  entry.body.emplace("to_token", integer(record.to_token));
  entry.body.emplace("change", rollback_change_name(record.change));
  entry.body.emplace("released_tokens", integer(record.released_tokens));
  entry.body.emplace("cause", breach_cause_name(record.cause));
  entry.body.emplace("angle_urad", scaled(record.angle, 1e6));
  if (record.change == RollbackChange::kQuarantine) {
    entry.body.emplace("quarantined", kv_class_name(record.quarantined));
  }
  for (int i = 0; i < kKvClasses; ++i) {
    const auto cls = static_cast<KvClass>(i);
    if (cls == KvClass::kReserved) continue;
    const std::int64_t ppm = scaled(record.mass[static_cast<std::size_t>(i)], 1e6);
    if (ppm > 0) entry.body.emplace(std::string("mass_") + kv_class_name(cls) + "_ppm", ppm);
  }
  return entry;
}

Result<Segment> read_segment_entry(const Entry& entry, const ChainBinding& binding,
                                   const Digest256& previous) {
  if (entry.kind != EntryKind::kSegment || entry.subject != binding.response_id) {
    return invalid("the entry is not a segment of this response");
  }
  const CanonicalValue body(entry.body);
  FieldReader fields(body, "ledger segment");
  const std::string chain = fields.string("chain", 71);
  const std::string masked = fields.string("fingerprints", 4096);
  Segment segment;
  segment.first_token = static_cast<std::uint64_t>(fields.integer("first_token", 0, kMaxTokens));
  segment.gap_before = static_cast<std::uint64_t>(fields.integer("gap", 0, kMaxTokens));
  segment.generation = static_cast<std::uint32_t>(fields.integer("generation", 0, 0xFFFFFFFFLL));
  segment.index = static_cast<std::uint32_t>(fields.integer("index", 0, 0xFFFFFFFFLL));
  const std::string profile = fields.string("numeric_profile", kMaxChainName);
  const auto count = static_cast<std::size_t>(
      fields.integer("tokens", 0, static_cast<std::int64_t>(kSegmentTokens)));
  const std::string commitment = fields.string("tokens_commitment", 71);
  const Status read = fields.finish();
  if (!read) return invalid(read.error().message);
  if (profile != binding.numeric_profile) return invalid("it has another numeric profile");
  const auto digest = parse_digest(chain);
  const auto tokens = parse_digest(commitment);
  if (!digest || !tokens) return invalid("a digest is none");
  segment.digest = *digest;
  segment.tokens = *tokens;
  segment.previous = previous;
  auto records = base64_decode(masked);
  if (!records || records->size() != count * kFingerprintBytes) {
    return invalid("its records do not have the size of " + std::to_string(count) + " tokens");
  }
  mask_records(binding, segment.index, *records);
  segment.records.resize(count);
  for (std::size_t i = 0; i < count; ++i) {
    std::memcpy(segment.records[i].data(), records->data() + i * kFingerprintBytes,
                kFingerprintBytes);
  }
  // The stored form's reader knows every rule of a segment, its digest among them.
  const std::string stored = print_segments({&segment, 1});
  auto parsed =
      parse_segments({reinterpret_cast<const std::uint8_t*>(stored.data()), stored.size()});
  if (!parsed) {
    return invalid("it is not what the chain says, or the salt is another's (" +
                   parsed.error().message + ")");
  }
  return std::move(parsed->front());
}

}  // namespace fieldprint
