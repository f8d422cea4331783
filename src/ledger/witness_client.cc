#include "ledger/witness_client.h"

#include <algorithm>

#include "merkle/witness_protocol.h"

namespace fieldprint {
namespace {

tl::unexpected<Error> refused(const PolicyWitness& witness, const WitnessReply& reply,
                              std::string_view meaning) {
  return fail(
      ErrorKind::kUnavailable, "witness_refused",
      witness.url + " answered " + std::to_string(reply.status) + ": " + std::string(meaning));
}

// What the statuses of tlog-witness mean to the log's operator.
tl::unexpected<Error> refusal(const PolicyWitness& witness, const WitnessReply& reply) {
  switch (reply.status) {
    case 400:
      return refused(witness, reply, "it could not read the request");
    case 403:
      return refused(witness, reply, "it does not accept this log's key");
    case 404:
      return refused(witness, reply, "it does not know this log's origin");
    case 409:
      return refused(witness, reply, "it holds another tree, or its size changed meanwhile");
    case 422:
      return refused(witness, reply,
                     "the log is not consistent with what it cosigned before; if this persists, "
                     "the log was forked or rolled back");
    default:  // NOLINT: HTTP statuses are an open set
      return refused(witness, reply, "no cosignature");
  }
}

}  // namespace

bool has_witness_urls(const Policy& policy) {
  const std::vector<PolicyWitness>& witnesses = policy.witnesses();
  return std::any_of(witnesses.begin(), witnesses.end(),
                     [](const PolicyWitness& witness) { return !witness.url.empty(); });
}

Result<std::shared_ptr<WitnessClient>> WitnessClient::make(
    Policy policy, std::shared_ptr<WitnessTransport> transport) {
  if (!has_witness_urls(policy))
    return fail(ErrorKind::kInvalid, "witness_no_url",
                "the policy names no URL for any witness; a log needs one to ask for cosignatures");
  return std::shared_ptr<WitnessClient>(new WitnessClient(std::move(policy), std::move(transport)));
}

Result<WitnessReply> WitnessClient::submit(const PolicyWitness& witness,
                                           const SignedCheckpoint& checkpoint,
                                           std::uint64_t old_size, const ConsistencyProver& prove) {
  AddCheckpointRequest request;
  request.old_size = old_size;
  FP_ASSIGN(request.proof, prove(old_size, checkpoint.size));
  request.checkpoint = checkpoint.text;
  const bool slash = witness.url.ends_with('/');
  return transport_->post(witness.url + (slash ? "add-checkpoint" : "/add-checkpoint"),
                          print_add_checkpoint(request));
}

Result<std::vector<NoteSignature>> WitnessClient::ask(const PolicyWitness& witness,
                                                      const SignedCheckpoint& checkpoint,
                                                      const ConsistencyProver& prove,
                                                      WitnessSizes& sizes) {
  const std::string vkey = witness.key.print();
  FP_ASSIGN(const std::uint64_t known, sizes.size(vkey));
  const std::uint64_t old_size = known <= checkpoint.size ? known : checkpoint.size;
  FP_ASSIGN(WitnessReply reply, submit(witness, checkpoint, old_size, prove));
  if (reply.status == 409 && reply.content_type.starts_with(kTlogSizeType)) {
    FP_ASSIGN(const std::uint64_t held, parse_tlog_size(reply.body));
    if (held > checkpoint.size)
      return fail(ErrorKind::kCorrupt, "witness_ahead",
                  witness.url + " cosigned " + std::to_string(held) +
                      " entries of this log, which now has " + std::to_string(checkpoint.size) +
                      "; the log was rolled back");
    FP_TRY(sizes.set_size(vkey, held));
    FP_ASSIGN(reply, submit(witness, checkpoint, held, prove));
  }
  if (reply.status != 200) return refusal(witness, reply);
  FP_ASSIGN(Note note, note_parse(checkpoint.text));
  FP_ASSIGN(note.signatures, parse_signature_lines(reply.body));
  FP_ASSIGN(const std::vector<VerifiedSignature> verified, note_verify(note, {&witness.key, 1}));
  FP_TRY(sizes.set_size(vkey, checkpoint.size));
  return std::vector<NoteSignature>{note.signatures[verified.back().position]};
}

Result<WitnessOutcome> WitnessClient::collect(const SignedCheckpoint& checkpoint,
                                              const ConsistencyProver& prove, WitnessSizes& sizes) {
  WitnessOutcome outcome;
  std::vector<VerifiedSignature> counted;
  FP_ASSIGN(const Note note, note_parse(checkpoint.text));
  for (const PolicyWitness& witness : policy_.witnesses()) {
    if (witness.url.empty()) {
      if (note_verify(note, {&witness.key, 1})) counted.push_back({witness.key, std::nullopt, 0});
      continue;
    }
    const Result<std::vector<NoteSignature>> got = ask(witness, checkpoint, prove, sizes);
    if (!got) {
      outcome.failures.push_back(witness.name + ": " + got.error().code + ": " +
                                 got.error().message);
      continue;
    }
    outcome.cosignatures.insert(outcome.cosignatures.end(), got->begin(), got->end());
    counted.push_back({witness.key, std::nullopt, 0});
  }
  outcome.quorum_met = policy_.quorum_met(counted);
  return outcome;
}

}  // namespace fieldprint
