#include "supervisor/receipt_chain.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "crypto/sha256.h"

namespace fieldprint {
namespace {

constexpr double kMicro = 1e6;

std::int64_t to_urad(double angle) {
  return std::isfinite(angle) && angle >= 0 ? std::llround(angle * kMicro) : -1;
}

std::string digest_or_none(const Digest256& digest) {
  return digest == Digest256{} ? std::string(kReceiptNone) : digest_string(digest);
}

tl::unexpected<Error> refused(const char* code, std::size_t choice, const std::string& what) {
  return fail(ErrorKind::kInvalid, code, "choice " + std::to_string(choice) + ": " + what);
}

// Tokens that are left when the last segment and the rollbacks after it have been.
std::int64_t tokens_left(const ReceiptSupervision& stated, std::span<const Segment> segments) {
  std::int64_t left = 0;
  std::int64_t generation = 0;
  if (!segments.empty()) {
    const Segment& last = segments.back();
    left = static_cast<std::int64_t>(last.first_token + last.records.size());
    generation = last.generation;
  }
  const auto listed = static_cast<std::int64_t>(stated.rollbacks.size());
  for (std::int64_t i = 0; i < listed; ++i) {
    if (stated.rollback_count - listed + i < generation) continue;
    left = std::min(left, stated.rollbacks[static_cast<std::size_t>(i)].to);
  }
  return left;
}

Status check_counts(const ReceiptChoice& stated, std::span<const Segment> segments,
                    std::size_t choice) {
  const ReceiptSupervision& supervision = stated.supervision;
  std::int64_t gaps = 0;
  for (const Segment& segment : segments) gaps += static_cast<std::int64_t>(segment.gap_before);
  const std::int64_t generation = segments.empty() ? 0 : segments.back().generation;
  const char* wrong = nullptr;
  if (static_cast<std::int64_t>(segments.size()) != supervision.segments) wrong = "segments";
  if (gaps != supervision.gaps) wrong = "gaps";
  if (generation > supervision.rollback_count) wrong = "rollbacks";
  if (tokens_left(supervision, segments) != stated.tokens) wrong = "tokens";
  if (wrong == nullptr) return {};
  return refused("receipt_chain_counts", choice,
                 std::string("the chain has other ") + wrong + " than the receipt states");
}

std::string describe(std::size_t choice, const ReceiptChoice& stated) {
  const ReceiptSupervision& supervision = stated.supervision;
  std::string text = "choice " + std::to_string(choice) + ": release " + supervision.release +
                     ", " + std::to_string(supervision.segments) + " segments, " +
                     std::to_string(stated.tokens) + " tokens, " +
                     std::to_string(supervision.gaps) + " without a fingerprint, " +
                     std::to_string(supervision.rollback_count) + " rollbacks";
  if (supervision.unlogged > 0) {
    text += ", " + std::to_string(supervision.unlogged) + " segments not in the ledger";
  }
  return text;
}

}  // namespace

ReceiptSupervision receipt_supervision(const SupervisionReport& report) {
  ReceiptSupervision out;
  out.state = supervision_state_name(report.state);
  out.release = release_mode_name(report.release);
  out.anchor = digest_or_none(report.binding.anchor_digest);
  out.recipe = digest_or_none(report.binding.recipe_digest);
  if (report.state == SupervisionState::kComplete) {
    out.chain_head = digest_string(report.chain_head);
  }
  out.segments = static_cast<std::int64_t>(report.segments.size());
  out.gaps = static_cast<std::int64_t>(report.gaps);
  out.unlogged = static_cast<std::int64_t>(report.unlogged);
  out.alarms = std::ranges::count_if(report.timeline, [](const SegmentReading& reading) {
    return reading.cause != BreachCause::kNone;
  });
  const std::vector<double> angles = kept_angles(report);
  out.measured = static_cast<std::int64_t>(angles.size());
  if (!angles.empty()) out.angle_max_urad = to_urad(*std::ranges::max_element(angles));
  out.rollback_count = static_cast<std::int64_t>(report.rollbacks.size());
  const std::size_t skipped =
      report.rollbacks.size() - std::min(report.rollbacks.size(), kReceiptMaxRollbacks);
  for (std::size_t i = skipped; i < report.rollbacks.size(); ++i) {
    const RollbackRecord& record = report.rollbacks[i];
    ReceiptRollback rollback;
    rollback.from = static_cast<std::int64_t>(record.from_token);
    rollback.to = static_cast<std::int64_t>(record.to_token);
    rollback.released = static_cast<std::int64_t>(record.released_tokens);
    rollback.change = rollback_change_name(record.change);
    rollback.cause = breach_cause_name(record.cause);
    rollback.angle_urad = to_urad(record.angle);
    if (record.change == RollbackChange::kQuarantine) {
      rollback.quarantined = kv_class_name(record.quarantined);
    }
    out.rollbacks.push_back(std::move(rollback));
  }
  return out;
}

ChainBinding receipt_binding(const Receipt& receipt, std::size_t choice) {
  const ReceiptSupervision& supervision = receipt.choices.at(choice).supervision;
  ChainBinding binding;
  binding.response_id = chain_id(receipt.response_id, choice);
  binding.salt = receipt.salt;
  binding.model_digest = parse_digest(receipt.model_digest).value_or(Digest256{});
  binding.recipe_digest = parse_digest(supervision.recipe).value_or(Digest256{});
  binding.anchor_digest = parse_digest(supervision.anchor).value_or(Digest256{});
  binding.numeric_profile = receipt.numeric_profile;
  return binding;
}

Result<std::vector<Segment>> open_receipt_chain(const Receipt& receipt,
                                                std::span<const std::string> chains,
                                                std::size_t choice) {
  const ReceiptChoice& stated = receipt.choices.at(choice);
  if (stated.supervision.state != "complete") {
    return refused("receipt_chain_missing", choice,
                   "the server did not wait for the chain's end, so nobody signed it");
  }
  if (!std::ranges::count(receipt.anchor.digests, stated.supervision.anchor)) {
    return refused("receipt_chain_anchor", choice,
                   "the chain is bound to an anchor that did not stand in front");
  }
  const bool there =
      choice < chains.size() && !(chains[choice].empty() && stated.supervision.segments > 0);
  if (!there) return refused("receipt_chain_missing", choice, "the file does not hold its chain");
  const std::string& text = chains[choice];
  auto segments = parse_segments({reinterpret_cast<const std::uint8_t*>(text.data()), text.size()});
  if (!segments) return refused(segments.error().code.c_str(), choice, segments.error().message);
  const ChainBinding binding = receipt_binding(receipt, choice);
  const Status chained = check_chain(binding, *segments);
  if (!chained) return refused(chained.error().code.c_str(), choice, chained.error().message);
  const Digest256 head = segments->empty() ? chain_genesis(binding) : segments->back().digest;
  if (digest_string(head) != stated.supervision.chain_head) {
    return refused("receipt_chain_head", choice,
                   "the chain does not end where the receipt says: it was cut or continued");
  }
  FP_TRY(check_counts(stated, *segments, choice));
  return segments;
}

ReceiptCheck check_receipt_chains(const Receipt& receipt, std::span<const std::string> chains) {
  ReceiptCheck check{"chain", CheckOutcome::kNotChecked, "", ""};
  bool supervised = false;
  bool missing = false;
  for (std::size_t i = 0; i < receipt.choices.size(); ++i) {
    const ReceiptChoice& choice = receipt.choices[i];
    if (choice.supervision.state == kReceiptNone) continue;
    supervised = true;
    const auto segments = open_receipt_chain(receipt, chains, i);
    const std::string text = segments ? describe(i, choice) : segments.error().message;
    if (!segments && segments.error().code != "receipt_chain_missing") {
      return {"chain", CheckOutcome::kFails, segments.error().code, text};
    }
    missing = missing || !segments;
    check.detail += (check.detail.empty() ? "" : "; ") + text;
  }
  if (!supervised) {
    check.detail = "no supervisor ran: the receipt holds no fingerprints";
  } else if (!missing) {
    check.outcome = CheckOutcome::kHolds;
  }
  return check;
}

}  // namespace fieldprint
