#include "http/fake_supervision.h"

#include <cmath>

#include "core/check.h"
#include "crypto/sha256.h"

namespace fieldprint::testing_http {
namespace {

TokenFingerprint fingerprint(TokenId token, std::uint64_t place) {
  TokenFingerprint record{};
  for (std::size_t i = 0; i < record.size(); ++i) {
    record[i] = static_cast<std::uint8_t>(static_cast<std::uint64_t>(token) * 7 + place * 13 + i);
  }
  for (std::size_t i = 0; i < 32; ++i) record[i] &= 0x3FU;  // codes: -127..127
  return record;
}

SegmentReading reading(std::uint32_t generation, std::uint64_t first, std::uint64_t end,
                       double angle, BreachCause cause) {
  SegmentReading out;
  out.generation = generation;
  out.first_token = first;
  out.end_token = end;
  out.measured = true;
  out.angle = angle;
  out.score = angle / 4;
  out.evidence = angle * 10;
  out.cause = cause;
  out.change_token = first;
  out.direction.assign(16, 0.0F);
  out.direction[0] = static_cast<float>(std::cos(angle));
  out.direction[1] = static_cast<float>(std::sin(angle));
  return out;
}

}  // namespace

Digest256 fake_recipe() { return sha256("recipe"); }

std::shared_ptr<const SupervisionReport> fake_report(const SupervisionRequest& request,
                                                     const FakePlace& place,
                                                     const FakeCourse& course) {
  auto report = std::make_shared<SupervisionReport>();
  ChainBinding binding;
  binding.response_id = chain_id(place.response_id, place.choice);
  binding.salt = request.salt;
  binding.model_digest = parse_digest(place.model).value_or(Digest256{});
  binding.recipe_digest = fake_recipe();
  binding.anchor_digest = parse_digest(place.anchor).value_or(Digest256{});
  binding.numeric_profile = "fake/exact";
  auto chain = FingerprintChain::create(binding);
  FP_CHECK(chain.has_value());
  chain->skip(course.gap);
  std::uint32_t generation = 0;
  const auto add_until = [&](std::uint64_t end) {
    while (chain->next_token() < end) {
      const std::uint64_t at = chain->next_token();
      const TokenId token = at < course.tokens.size() ? course.tokens[at] : 1;
      chain->add(token, fingerprint(token, at));
    }
  };
  for (const RollbackRecord& rollback : course.rollbacks) {
    const std::uint64_t begin = chain->next_token();
    add_until(rollback.from_token);
    report->timeline.push_back(
        reading(generation++, begin, rollback.from_token, rollback.angle, rollback.cause));
    chain->rollback(rollback.to_token);
  }
  const std::uint64_t begin = chain->next_token();
  add_until(course.tokens.size());
  chain->flush();
  if (chain->next_token() > begin) {
    report->timeline.push_back(
        reading(generation, begin, chain->next_token(), 0.25, BreachCause::kNone));
  }
  report->release = request.release;
  report->state = SupervisionState::kComplete;
  report->binding = binding;
  report->segments = chain->take_complete();
  report->chain_head = chain->head();
  report->gaps = course.gap;
  report->coherence = true;
  report->detector.segments =
      request.detector.segments + static_cast<std::uint32_t>(report->timeline.size());
  report->rollbacks = course.rollbacks;
  return report;
}

}  // namespace fieldprint::testing_http
