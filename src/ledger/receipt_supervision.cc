#include "ledger/receipt_supervision.h"

#include <algorithm>
#include <utility>

#include "crypto/sha256.h"

namespace fieldprint {
namespace {

using Object = CanonicalValue::Object;

constexpr std::size_t kNameText = 32;
constexpr std::int64_t kNoAngle = -1;
constexpr std::int64_t kAngleMax = 3141593;  // pi

bool is_one_of(std::string_view text, std::initializer_list<std::string_view> names) {
  return std::ranges::find(names, text) != names.end();
}

tl::unexpected<Error> bad(const char* field, const char* rule) {
  return bad_receipt_field(std::string("choices.supervision.") + field, rule);
}

// What was not supervised says nothing; what was, names what its chain belongs to.
Status check_digests(const ReceiptSupervision& supervision) {
  const bool none = supervision.state == kReceiptNone;
  if (none != (supervision.release == kReceiptNone) ||
      (!none && !is_one_of(supervision.release, {"off", "optimistic", "strict"}))) {
    return bad("release", "must be off, optimistic or strict; none only with state none");
  }
  if (!is_receipt_digest(supervision.anchor) || (none && supervision.anchor != kReceiptNone)) {
    return bad("anchor", "must be a digest or \"none\"");
  }
  const bool complete = supervision.state == "complete";
  const bool unnamed = supervision.recipe == kReceiptNone;
  if (!is_receipt_digest(supervision.recipe) || (complete && unnamed) || (none && !unnamed)) {
    return bad("recipe", "must be a digest with state complete, none with state none");
  }
  if (!is_receipt_digest(supervision.chain_head) ||
      complete == (supervision.chain_head == kReceiptNone)) {
    return bad("chain_head", "must be a digest with state complete, else none");
  }
  return {};
}

CanonicalValue rollbacks_value(const std::vector<ReceiptRollback>& rollbacks) {
  CanonicalValue::Array list;
  for (const ReceiptRollback& rollback : rollbacks) {
    list.emplace_back(Object{{"angle_urad", rollback.angle_urad},
                             {"cause", rollback.cause},
                             {"change", rollback.change},
                             {"from", rollback.from},
                             {"quarantined", rollback.quarantined},
                             {"released", rollback.released},
                             {"to", rollback.to}});
  }
  return list;
}

Result<ReceiptRollback> read_rollback(const CanonicalValue& value) {
  FieldReader fields(value, "receipt.choices.supervision.rollbacks");
  ReceiptRollback rollback;
  rollback.angle_urad = fields.integer("angle_urad", kNoAngle, kAngleMax);
  rollback.cause = fields.string("cause", kNameText);
  rollback.change = fields.string("change", kNameText);
  rollback.from = fields.integer("from", 0, kReceiptCountMax);
  rollback.quarantined = fields.string("quarantined", kNameText);
  rollback.released = fields.integer("released", 0, kReceiptCountMax);
  rollback.to = fields.integer("to", 0, kReceiptCountMax);
  FP_TRY(fields.finish());
  return rollback;
}

}  // namespace

tl::unexpected<Error> bad_receipt_field(const std::string& field, const std::string& rule) {
  return fail(ErrorKind::kInvalid, "receipt_field_invalid", "receipt: " + field + " " + rule,
              field);
}

bool is_receipt_digest(std::string_view text) {
  return text == kReceiptNone || parse_digest(text).has_value();
}

Status check_receipt_supervision(const ReceiptSupervision& supervision) {
  if (!is_one_of(supervision.state, {kReceiptNone, "complete", "incomplete"})) {
    return bad("state", "must be complete, incomplete or none");
  }
  FP_TRY(check_digests(supervision));
  const auto listed = static_cast<std::int64_t>(supervision.rollbacks.size());
  if (listed != std::min<std::int64_t>(supervision.rollback_count, kReceiptMaxRollbacks)) {
    return bad("rollbacks", "must list all, or the last 16");
  }
  for (const ReceiptRollback& rollback : supervision.rollbacks) {
    if (!is_name(rollback.cause, kNameText) || !is_name(rollback.change, kNameText) ||
        !is_name(rollback.quarantined, kNameText)) {
      return bad("rollbacks", "must name cause, change and class");
    }
    if (rollback.to > rollback.from || rollback.released > rollback.from - rollback.to) {
      return bad("rollbacks", "must go back, and release no more than was dropped");
    }
  }
  if ((supervision.measured == 0) != (supervision.angle_max_urad == kNoAngle)) {
    return bad("angle_max_urad", "must be -1 if nothing was measured, and only then");
  }
  const bool empty = supervision.segments == 0 && supervision.gaps == 0 &&
                     supervision.unlogged == 0 && supervision.alarms == 0 &&
                     supervision.measured == 0 && supervision.rollback_count == 0;
  if (supervision.state == kReceiptNone && !empty) return bad("state", "none must say nothing");
  return {};
}

Result<ReceiptSupervision> read_receipt_supervision(const CanonicalValue& value) {
  FieldReader fields(value, "receipt.choices.supervision");
  ReceiptSupervision out;
  out.alarms = fields.integer("alarms", 0, kReceiptCountMax);
  out.anchor = fields.string("anchor", kReceiptDigestText);
  out.angle_max_urad = fields.integer("angle_max_urad", kNoAngle, kAngleMax);
  out.chain_head = fields.string("chain_head", kReceiptDigestText);
  out.gaps = fields.integer("gaps", 0, kReceiptCountMax);
  out.measured = fields.integer("measured", 0, kReceiptCountMax);
  out.recipe = fields.string("recipe", kReceiptDigestText);
  out.release = fields.string("release", kNameText);
  out.rollback_count = fields.integer("rollback_count", 0, kReceiptCountMax);
  const CanonicalValue::Array& rollbacks = fields.array("rollbacks", kReceiptMaxRollbacks);
  out.segments = fields.integer("segments", 0, kReceiptCountMax);
  out.state = fields.string("state", kNameText);
  out.unlogged = fields.integer("unlogged", 0, kReceiptCountMax);
  FP_TRY(fields.finish());
  for (const CanonicalValue& rollback : rollbacks) {
    FP_ASSIGN(ReceiptRollback read, read_rollback(rollback));
    out.rollbacks.push_back(std::move(read));
  }
  return out;
}

CanonicalValue receipt_supervision_value(const ReceiptSupervision& supervision) {
  return Object{{"alarms", supervision.alarms},
                {"anchor", supervision.anchor},
                {"angle_max_urad", supervision.angle_max_urad},
                {"chain_head", supervision.chain_head},
                {"gaps", supervision.gaps},
                {"measured", supervision.measured},
                {"recipe", supervision.recipe},
                {"release", supervision.release},
                {"rollback_count", supervision.rollback_count},
                {"rollbacks", rollbacks_value(supervision.rollbacks)},
                {"segments", supervision.segments},
                {"state", supervision.state},
                {"unlogged", supervision.unlogged}};
}

}  // namespace fieldprint
