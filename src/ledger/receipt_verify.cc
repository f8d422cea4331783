#include "ledger/receipt_verify.h"

#include <algorithm>
#include <utility>

#include "codec/canonical_json.h"
#include "core/check.h"
#include "crypto/dsse.h"
#include "merkle/hash.h"
#include "merkle/tlog_proof.h"

namespace fieldprint {
namespace {

// A checkpoint is signed after the receipt it covers; clocks of two machines may differ.
constexpr std::int64_t kClockSkew = 300;

// Who dated and countersigned the head. The log's own cosigner bears its name and is no witness:
// it says when, not that nobody was shown another log.
std::string cosigners(const VerifiedCheckpoint& checkpoint, const std::string& origin) {
  std::string witnesses;
  for (const VerifiedSignature& signature : checkpoint.cosignatures) {
    const std::string& name = signature.key.name();
    if (name != origin) witnesses += (witnesses.empty() ? "" : ", ") + name;
  }
  return witnesses.empty() ? "no independent witness" : "witnessed by " + witnesses;
}

ReceiptCheck holds(const char* name, std::string detail) {
  return {name, CheckOutcome::kHolds, "", std::move(detail)};
}
ReceiptCheck fails(const char* name, const std::string& code, std::string detail) {
  return {name, CheckOutcome::kFails, code, std::move(detail)};
}
ReceiptCheck not_checked(const char* name, std::string why) {
  return {name, CheckOutcome::kNotChecked, "", std::move(why)};
}

std::vector<VerifierKey> log_keys(const Policy& policy) {
  std::vector<VerifierKey> keys;
  for (const PolicyLog& log : policy.logs()) {
    const bool known = std::ranges::any_of(
        keys, [&](const VerifierKey& key) { return key.key() == log.key.key(); });
    if (!known) keys.push_back(log.key);
  }
  return keys;
}

struct Opened {
  std::string payload;
  std::string signer;
};

Result<Opened> open_envelope(const ReceiptFile& file, const Policy& policy) {
  FP_ASSIGN(const DsseEnvelope envelope,
            dsse_parse(file.envelope, {.max_bytes = kReceiptMaxFileBytes, .max_signatures = 8}));
  const std::vector<VerifierKey> keys = log_keys(policy);
  auto verified = dsse_verify(envelope, kReceiptPayloadType, keys, 1);
  if (!verified) {
    return fail(ErrorKind::kForbidden, "receipt_signature",
                "no log of the trusted policy signed this receipt (" + verified.error().code +
                    ": " + verified.error().message + ")");
  }
  return Opened{std::move(verified->payload), verified->signers.front().name()};
}

ReceiptCheck check_leaf(const ReceiptFile& file, const ReceiptReport& report,
                        std::string_view payload) {
  if (file.leaf.empty()) return not_checked("leaf", "the receipt is pending: no leaf in the file");
  const auto entry = parse_entry(file.leaf);
  if (!entry) return fails("leaf", entry.error().code, entry.error().message);
  const auto wanted = receipt_entry(report.receipt, payload);
  if (!wanted) return fails("leaf", wanted.error().code, wanted.error().message);
  // The time is the log's; everything else follows from the payload.
  Entry expected = *wanted;
  expected.time_ms = entry->time_ms;
  const auto text = print_entry(expected);
  if (!text || *text != file.leaf) {
    return fails("leaf", "receipt_leaf_mismatch", "the leaf does not commit to this receipt");
  }
  return holds("leaf", "commits to " + report.digest);
}

std::vector<ReceiptCheck> check_inclusion(const ReceiptFile& file, const Receipt& receipt,
                                          const Policy& policy) {
  if (file.proof.empty()) {
    const char* why = "the receipt is pending: no proof in the file yet";
    return {not_checked("inclusion", why), not_checked("time", why)};
  }
  const auto failed = [](const Error& error) {
    return std::vector<ReceiptCheck>{fails("inclusion", error.code, error.message),
                                     not_checked("time", "needs the inclusion proof")};
  };
  const auto proof = tlog_proof_parse(file.proof);
  if (!proof) return failed(proof.error());
  const auto checkpoint = tlog_proof_verify(*proof, leaf_hash(file.leaf), policy);
  if (!checkpoint) return failed(checkpoint.error());
  if (checkpoint->checkpoint.origin != receipt.origin) {
    return failed({ErrorKind::kInvalid,
                   "receipt_origin",
                   "the receipt names log '" + receipt.origin + "', the proof is of '" +
                       checkpoint->checkpoint.origin + "'",
                   {}});
  }
  std::vector<ReceiptCheck> checks = {
      holds("inclusion", "entry " + std::to_string(proof->index) + " of " +
                             std::to_string(checkpoint->checkpoint.size) + " in '" +
                             receipt.origin + "', " + cosigners(*checkpoint, receipt.origin))};
  const auto time = checkpoint->latest_time();
  if (!time) {
    checks.push_back(not_checked("time", "no witness of the policy dated the checkpoint"));
  } else if (static_cast<std::int64_t>(*time) + kClockSkew < receipt.issued_at) {
    checks.push_back(fails("time", "receipt_time",
                           "the checkpoint is older than the receipt it is said to contain"));
  } else {
    checks.push_back(holds("time", "in the log by " + std::to_string(*time) + " (unix seconds)"));
  }
  return checks;
}

ReceiptCheck check_request(const Receipt& receipt, const ReceiptEvidence& evidence) {
  if (!evidence.request) return not_checked("request", "no request given");
  if (receipt_commitment(receipt.salt, "request", *evidence.request) != receipt.request_digest) {
    return fails("request", "receipt_request_mismatch",
                 "the receipt is for another request than the one given");
  }
  return holds("request", "the request given is the one that was answered");
}

ReceiptCheck check_response(const Receipt& receipt, const ReceiptEvidence& evidence) {
  if (!evidence.choices) return not_checked("response", "no response given");
  if (evidence.choices->size() != receipt.choices.size()) {
    return fails("response", "receipt_response_mismatch",
                 "the response given has " + std::to_string(evidence.choices->size()) +
                     " choices, the receipt " + std::to_string(receipt.choices.size()));
  }
  for (std::size_t i = 0; i < receipt.choices.size(); ++i) {
    const std::string digest =
        receipt_commitment(receipt.salt, response_label(i), (*evidence.choices)[i]);
    if (digest != receipt.choices[i].text_digest) {
      return fails("response", "receipt_response_mismatch",
                   "choice " + std::to_string(i) + " is not the text that was answered");
    }
  }
  return holds("response", "the text given is the one that was answered");
}

}  // namespace

const char* check_outcome_name(CheckOutcome outcome) {
  switch (outcome) {
    case CheckOutcome::kHolds:
      return "holds";
    case CheckOutcome::kFails:
      return "fails";
    case CheckOutcome::kNotChecked:
      return "not checked";
  }
  FP_UNREACHABLE();
}

bool ReceiptReport::failed() const {
  return std::ranges::any_of(
      checks, [](const ReceiptCheck& check) { return check.outcome == CheckOutcome::kFails; });
}

Result<ReceiptReport> verify_receipt(std::string_view file_text, const Policy& policy,
                                     const ReceiptEvidence& evidence) {
  FP_ASSIGN(ReceiptFile file, parse_receipt_file(file_text));
  FP_ASSIGN(const Opened opened, open_envelope(file, policy));
  ReceiptReport report;
  FP_ASSIGN(report.receipt, parse_receipt(opened.payload));
  report.digest = digest_string(sha256(opened.payload));
  const Receipt& receipt = report.receipt;
  if (opened.signer == receipt.origin) {
    report.add(holds("signature", "by the log '" + opened.signer + "'"));
  } else {
    report.add(
        fails("signature", "receipt_origin",
              "signed by the log '" + opened.signer + "', but it names '" + receipt.origin + "'"));
  }
  if (!file.id.empty() && file.id != receipt.id) {
    report.add(fails("id", "receipt_id_mismatch",
                     "the file says it is " + file.id + ", the receipt inside is " + receipt.id));
  }
  report.add(check_leaf(file, report, opened.payload));
  for (ReceiptCheck& check : check_inclusion(file, receipt, policy)) {
    report.add(std::move(check));
  }
  report.add(check_request(receipt, evidence));
  report.add(check_response(receipt, evidence));
  report.chains = std::move(file.chains);
  return report;
}

}  // namespace fieldprint
