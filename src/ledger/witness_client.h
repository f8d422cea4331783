// Asks witnesses for cosignatures (C2SP tlog-witness, add-checkpoint). HTTP itself is behind
// WitnessTransport, which src/http implements.
//
// Thread rule: one thread at a time.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"
#include "ledger/checkpoint_file.h"
#include "merkle/policy.h"

namespace fieldprint {

struct WitnessReply {
  int status = 0;  // HTTP
  std::string content_type;
  std::string body;
};

class WitnessTransport {
 public:
  virtual ~WitnessTransport() = default;
  // POST to an absolute http:// or https:// URL, within a bounded time and at most 64 KiB of
  // answer. Errors: witness_unreachable, witness_url.
  virtual Result<WitnessReply> post(const std::string& url, std::string_view body) = 0;
};

// Consistency proof from an old size to the checkpoint's.
using ConsistencyProver =
    std::function<Result<std::vector<Digest256>>(std::uint64_t old_size, std::uint64_t new_size)>;

// The tree size each witness was last known to hold, by vkey; the caller keeps it on disk.
class WitnessSizes {
 public:
  virtual ~WitnessSizes() = default;
  virtual Result<std::uint64_t> size(const std::string& vkey) = 0;
  virtual Status set_size(const std::string& vkey, std::uint64_t size) = 0;
};

struct WitnessOutcome {
  std::vector<NoteSignature> cosignatures;  // verified, one for each witness that answered
  bool quorum_met = false;
  std::vector<std::string> failures;  // "<name>: <code>: <message>", one for each that did not
};

// Whether there is anybody to ask.
bool has_witness_urls(const Policy& policy);

class WitnessClient {
 public:
  // A witness without URL is not asked: it counts if its cosignature is on the checkpoint
  // already, as that of the log's own cosigner is. Errors: witness_no_url (no witness of the
  // policy has one, so there is nobody to ask).
  static Result<std::shared_ptr<WitnessClient>> make(Policy policy,
                                                     std::shared_ptr<WitnessTransport> transport);

  // Asks every witness that has a URL, one after the other; a stale old size is corrected once
  // from the witness's answer. Errors: the caller's prover and sizes; a witness that fails is
  // no error but a line in `failures`.
  Result<WitnessOutcome> collect(const SignedCheckpoint& checkpoint, const ConsistencyProver& prove,
                                 WitnessSizes& sizes);

  const Policy& policy() const { return policy_; }

 private:
  WitnessClient(Policy policy, std::shared_ptr<WitnessTransport> transport)
      : policy_(std::move(policy)), transport_(std::move(transport)) {}
  Result<std::vector<NoteSignature>> ask(const PolicyWitness& witness,
                                         const SignedCheckpoint& checkpoint,
                                         const ConsistencyProver& prove, WitnessSizes& sizes);
  Result<WitnessReply> submit(const PolicyWitness& witness, const SignedCheckpoint& checkpoint,
                              std::uint64_t old_size, const ConsistencyProver& prove);

  Policy policy_;
  std::shared_ptr<WitnessTransport> transport_;
};

}  // namespace fieldprint
