// Fingerprints of one response in segments of up to 32 tokens, chained by SHA-256.
// Format, grammar and test vectors: docs/formats/fingerprint.md.
//
//   head_0 = H(domain, response id, salt, model, recipe, anchor, numeric profile)
//   head_i = H(domain, body of segment i), whose body holds head_(i-1)
//
// A segment is thus bound to its response, its place and everything before it; replaying it in
// another response, or under another model or recipe, breaks the chain. Tokens are committed to
// with the salt: without the salt a segment says nothing about the text. The records themselves
// are functions of the text: who has the model and guesses a whole prompt can test the guess.
//
// Thread rule: a FingerprintChain belongs to one thread at a time.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"
#include "supervisor/fingerprint.h"

namespace fieldprint {

inline constexpr std::size_t kSegmentTokens = 32;
inline constexpr std::size_t kMaxChainName = 512;                  // bytes of id and profile
inline constexpr std::size_t kMaxSegments = std::size_t{1} << 20;  // in one stored chain

// What a chain belongs to. Digests of all zeros: no anchor.
struct ChainBinding {
  std::string response_id;              // chain_id(), 1..kMaxChainName bytes
  std::array<std::uint8_t, 32> salt{};  // random, kept with the response; erased to forget it
  Digest256 model_digest{};
  Digest256 recipe_digest{};
  Digest256 anchor_digest{};
  std::string numeric_profile;  // the runner's: bit-equality holds inside it only
};
// Each choice of a response has a chain of its own: "<response id>/<choice>".
std::string chain_id(std::string_view response_id, std::size_t choice);
Digest256 chain_genesis(const ChainBinding& binding);

struct Segment {
  std::uint32_t index = 0;                // place in the chain, from 0
  std::uint32_t generation = 0;           // rollbacks before it
  std::uint64_t first_token = 0;          // place in the response of the first record's token
  std::uint64_t gap_before = 0;           // tokens without a record just before first_token
  Digest256 previous{};                   // head of the chain before it
  Digest256 tokens{};                     // commitment to the token ids: commit_tokens()
  std::vector<TokenFingerprint> records;  // 1..32, or none in a segment that only states a gap
  Digest256 digest{};                     // head of the chain after it
};

// H(domain, salt, index, count, token ids).
Digest256 commit_tokens(std::span<const std::uint8_t, 32> salt, std::uint32_t index,
                        std::span<const std::int32_t> tokens);

// Builds the chain of one response as its states come in.
class FingerprintChain {
 public:
  // Errors: fingerprint_binding_invalid (id or profile empty or too long).
  static Result<FingerprintChain> create(ChainBinding binding);

  void add(std::int32_t token, const TokenFingerprint& record);
  // `count` tokens were generated that have no record.
  void skip(std::uint64_t count);
  // Tokens from `first_dropped` on were taken back; the next one has that place. Their segments
  // stay in the chain. first_dropped <= next_token().
  void rollback(std::uint64_t first_dropped);
  // Ends the segment under way, and states a gap that no record came after.
  void flush();

  // Segments complete since the last call, in order.
  std::vector<Segment> take_complete();
  const Digest256& head() const { return head_; }  // of the last complete segment
  std::uint64_t next_token() const { return next_token_; }
  const ChainBinding& binding() const { return binding_; }

 private:
  explicit FingerprintChain(ChainBinding binding);
  void close_segment();

  ChainBinding binding_;
  Digest256 head_{};
  std::uint32_t index_ = 0;
  std::uint32_t generation_ = 0;
  std::uint64_t next_token_ = 0;
  std::uint64_t gap_ = 0;
  std::vector<std::int32_t> tokens_;  // of the segment under way
  std::vector<TokenFingerprint> records_;
  std::vector<Segment> complete_;
};

// Stored form: segments one after another.
std::string print_segments(std::span<const Segment> segments);
// Takes outside bytes; checks each segment's own digest, not the chain. Errors:
// fingerprint_segment_invalid (message with the byte offset).
Result<std::vector<Segment>> parse_segments(std::span<const std::uint8_t> bytes);

// Checks that `segments` are the chain of `binding` from its beginning: genesis, links, indices,
// places, generations. The beginning of a chain is a chain too; its end is named by whoever signs
// the last digest. Errors: fingerprint_chain_broken (message with the segment).
Status check_chain(const ChainBinding& binding, std::span<const Segment> segments);

}  // namespace fieldprint
