// Trust policies for checkpoints (C2SP tlog-policy): which logs, which witnesses, what quorum.
//
//   line = "log" vkey [url] | "witness" name vkey [url]
//        | "group" name ( "all" | "any" | k ) 1*name | "quorum" ( name | "none" )
//
// Items are divided by spaces and tabs; empty lines and lines that begin with # are skipped;
// every line ends in a newline. Names are octets and refer to earlier lines only; each is a
// member of one group at most, so that a witness counts once. Exactly one quorum line.
// Limits: 64 KiB, 256 logs, 256 witnesses, 256 groups.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"
#include "merkle/checkpoint.h"

namespace fieldprint {

struct PolicyLog {
  VerifierKey key;  // its name is the log's origin
  std::string url;
};

struct PolicyWitness {
  std::string name;
  VerifierKey key;  // of type kCosignature
  std::string url;
};

class Policy {
 public:
  // Errors: policy_invalid (message has the line number), policy_too_large, and with the line
  // number in front vkey_invalid, vkey_unsupported, key_name_invalid.
  static Result<Policy> parse(std::string_view text);

  const std::vector<PolicyLog>& logs() const { return logs_; }
  const std::vector<PolicyWitness>& witnesses() const { return witnesses_; }

  // Whether cosignatures of these keys are enough. Keys that are no witness count nothing,
  // and none counts twice.
  bool quorum_met(std::span<const VerifiedSignature> cosignatures) const;

  // Reads a checkpoint that one of the logs signed and a quorum cosigned.
  // Errors: checkpoint_open's; policy_no_log (no log line fits the origin), policy_quorum.
  Result<VerifiedCheckpoint> open(std::string_view bytes) const;

 private:
  friend class PolicyParser;
  // A name of the file: a witness, or a group with its threshold and members, which come
  // before it in names_.
  struct Name {
    std::string name;
    std::size_t witness = 0;  // index into witnesses_, for a witness
    std::size_t threshold = 0;
    std::vector<std::size_t> members;  // empty: a witness
    bool taken = false;                // is member of a group
  };

  std::vector<PolicyLog> logs_;
  std::vector<PolicyWitness> witnesses_;
  std::vector<Name> names_;
  std::size_t quorum_ = 0;  // index into names_, or names_.size() for none
};

}  // namespace fieldprint
