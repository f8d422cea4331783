#include "supervisor/chain.h"

#include <algorithm>
#include <utility>

#include "core/check.h"
#include "supervisor/bytes.h"

namespace fieldprint {
namespace {

constexpr std::string_view kChainDomain = "fieldprint/fingerprint-chain/v1\n";
constexpr std::string_view kSegmentDomain = "fieldprint/fingerprint-segment/v1\n";
constexpr std::string_view kTokensDomain = "fieldprint/fingerprint-tokens/v1\n";
constexpr std::string_view kMagic = "FPS1";
constexpr std::size_t kHeaderBytes = 4 + 4 + 4 + 8 + 8 + 4 + 32 + 32;
constexpr std::uint64_t kMaxToken = std::uint64_t{1} << 48;

std::string body_of(const Segment& segment) {
  std::string body(kMagic);
  bytes::put(body, segment.index);
  bytes::put(body, segment.generation);
  bytes::put(body, segment.first_token);
  bytes::put(body, segment.gap_before);
  bytes::put(body, static_cast<std::uint32_t>(segment.records.size()));
  bytes::put(body, segment.previous);
  bytes::put(body, segment.tokens);
  for (const TokenFingerprint& record : segment.records) bytes::put(body, record);
  return body;
}

Digest256 digest_of(std::string_view body) {
  return Sha256().update(kSegmentDomain).update(body).finish();
}

bool name_ok(const std::string& name) { return !name.empty() && name.size() <= kMaxChainName; }

tl::unexpected<Error> bad_segment(std::size_t offset, const std::string& what) {
  return fail(ErrorKind::kInvalid, "fingerprint_segment_invalid",
              "fingerprint segment at byte " + std::to_string(offset) + ": " + what);
}

tl::unexpected<Error> broken(std::size_t index, const std::string& what) {
  return fail(ErrorKind::kInvalid, "fingerprint_chain_broken",
              "fingerprint segment " + std::to_string(index) + " " + what);
}

Result<Segment> parse_one(bytes::Cursor& in, std::size_t offset) {
  if (in.left() < kHeaderBytes) return bad_segment(offset, "ends inside its header");
  const auto magic = in.take(kMagic.size());
  if (!std::ranges::equal(magic, kMagic, {}, {}, [](char c) { return std::uint8_t(c); })) {
    return bad_segment(offset, "does not begin with FPS1");
  }
  Segment segment;
  segment.index = in.integer<std::uint32_t>();
  segment.generation = in.integer<std::uint32_t>();
  segment.first_token = in.integer<std::uint64_t>();
  segment.gap_before = in.integer<std::uint64_t>();
  const auto count = in.integer<std::uint32_t>();
  in.copy_to(segment.previous);
  in.copy_to(segment.tokens);
  if (segment.first_token > kMaxToken || segment.gap_before > segment.first_token) {
    return bad_segment(offset, "has a token number or a gap that no response has");
  }
  if (count > kSegmentTokens || (count == 0 && segment.gap_before == 0)) {
    return bad_segment(offset, "has " + std::to_string(count) + " records, not 1..32");
  }
  if (in.left() < count * kFingerprintBytes + segment.digest.size()) {
    return bad_segment(offset, "ends inside its records");
  }
  segment.records.resize(count);
  for (TokenFingerprint& record : segment.records) {
    in.copy_to(record);
    if (std::find(record.begin(), record.begin() + kFingerprintDims, 0x80) !=
        record.begin() + kFingerprintDims) {
      return bad_segment(offset, "has a code of -128, which no state gives");
    }
  }
  in.copy_to(segment.digest);
  if (segment.digest != digest_of(body_of(segment))) {
    return bad_segment(offset, "does not have the digest that it states");
  }
  return segment;
}

}  // namespace

std::string chain_id(std::string_view response_id, std::size_t choice) {
  return std::string(response_id) + '/' + std::to_string(choice);
}

Digest256 chain_genesis(const ChainBinding& binding) {
  Sha256 hash;
  hash.update(kChainDomain);
  hash.update_u32(static_cast<std::uint32_t>(binding.response_id.size()));
  hash.update(binding.response_id).update(binding.salt).update(binding.model_digest);
  hash.update(binding.recipe_digest).update(binding.anchor_digest);
  hash.update_u32(static_cast<std::uint32_t>(binding.numeric_profile.size()));
  return hash.update(binding.numeric_profile).finish();
}

Digest256 commit_tokens(std::span<const std::uint8_t, 32> salt, std::uint32_t index,
                        std::span<const std::int32_t> tokens) {
  Sha256 hash;
  hash.update(kTokensDomain).update(salt).update_u32(index);
  hash.update_u32(static_cast<std::uint32_t>(tokens.size()));
  for (const std::int32_t token : tokens) hash.update_u32(static_cast<std::uint32_t>(token));
  return hash.finish();
}

Result<FingerprintChain> FingerprintChain::create(ChainBinding binding) {
  if (!name_ok(binding.response_id) || !name_ok(binding.numeric_profile)) {
    return fail(ErrorKind::kInvalid, "fingerprint_binding_invalid",
                "a fingerprint chain needs a response id and a numeric profile of 1..512 bytes");
  }
  return FingerprintChain(std::move(binding));
}

FingerprintChain::FingerprintChain(ChainBinding binding)
    : binding_(std::move(binding)), head_(chain_genesis(binding_)) {}

void FingerprintChain::add(std::int32_t token, const TokenFingerprint& record) {
  tokens_.push_back(token);
  records_.push_back(record);
  ++next_token_;
  if (records_.size() == kSegmentTokens) close_segment();
}

void FingerprintChain::skip(std::uint64_t count) {
  if (count == 0) return;
  if (!records_.empty()) close_segment();
  gap_ += count;
  next_token_ += count;
}

void FingerprintChain::rollback(std::uint64_t first_dropped) {
  FP_CHECK(first_dropped <= next_token_);
  flush();
  ++generation_;
  next_token_ = first_dropped;
}

void FingerprintChain::flush() {
  if (!records_.empty() || gap_ > 0) close_segment();
}

void FingerprintChain::close_segment() {
  Segment segment;
  segment.index = index_++;
  segment.generation = generation_;
  segment.first_token = next_token_ - records_.size();
  segment.gap_before = std::exchange(gap_, 0);
  segment.previous = head_;
  segment.tokens = commit_tokens(binding_.salt, segment.index, tokens_);
  segment.records = std::exchange(records_, {});
  segment.digest = digest_of(body_of(segment));
  head_ = segment.digest;
  tokens_.clear();
  complete_.push_back(std::move(segment));
}

std::vector<Segment> FingerprintChain::take_complete() { return std::exchange(complete_, {}); }

std::string print_segments(std::span<const Segment> segments) {
  std::string out;
  for (const Segment& segment : segments) {
    out += body_of(segment);
    bytes::put(out, segment.digest);
  }
  return out;
}

Result<std::vector<Segment>> parse_segments(std::span<const std::uint8_t> bytes) {
  bytes::Cursor in(bytes);
  std::vector<Segment> segments;
  while (in.left() > 0) {
    const std::size_t offset = bytes.size() - in.left();
    if (segments.size() == kMaxSegments) return bad_segment(offset, "is one too many");
    FP_ASSIGN(Segment segment, parse_one(in, offset));
    segments.push_back(std::move(segment));
  }
  return segments;
}

Status check_chain(const ChainBinding& binding, std::span<const Segment> segments) {
  Digest256 head = chain_genesis(binding);
  std::uint32_t generation = 0;
  std::uint64_t next = 0;
  for (std::size_t i = 0; i < segments.size(); ++i) {
    const Segment& segment = segments[i];
    if (segment.index != i) return broken(i, "is missing or out of order");
    if (segment.previous != head) {
      return broken(i, i == 0 ? "does not belong to this response, model, recipe or anchor"
                              : "does not follow the one before it");
    }
    if (segment.digest != digest_of(body_of(segment))) return broken(i, "has another digest");
    if (segment.gap_before > segment.first_token) return broken(i, "has an impossible gap");
    const std::uint64_t begin = segment.first_token - segment.gap_before;
    const bool follows = segment.generation == generation && begin == next;
    const bool restarts = segment.generation > generation && begin <= next;
    if (!follows && !restarts) return broken(i, "does not begin where the one before it ended");
    generation = segment.generation;
    next = segment.first_token + segment.records.size();
    head = segment.digest;
  }
  return {};
}

}  // namespace fieldprint
