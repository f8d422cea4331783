// A witness (C2SP tlog-witness): cosigns the checkpoints of the logs it knows, and only those
// that extend what it cosigned before. It keeps one tree head per log.
//
// The check of the old size and the new head's way to disk are one transaction, before any
// answer: two requests, or two processes on one state file, cannot roll a log back.
//
// Thread rule: from any thread; requests wait for each other.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"
#include "crypto/note_key.h"
#include "merkle/checkpoint.h"
#include "merkle/policy.h"
#include "merkle/witness_protocol.h"
#include "store/env.h"
#include "store/sqlite.h"

namespace fieldprint {

// Longest request that a witness reads: 63 proof lines and a checkpoint.
inline constexpr std::size_t kMaxWitnessRequest = 64U << 10;

struct WitnessAnswer {
  int status = 500;  // HTTP
  std::string content_type = "text/plain; charset=utf-8";
  std::string body;
};

struct WitnessedLog {
  std::string origin;
  std::uint64_t size = 0;
  Digest256 root{};
  std::int64_t time_s = 0;  // of the newest cosignature
};

class Witness {
 public:
  // dir: state folder, made if missing. key: of type kCosignature. logs: the log lines of the
  // policy say whom it serves; the rest is not used. Errors: witness_key_invalid,
  // witness_no_logs, those of Env and SQLite.
  static Result<std::unique_ptr<Witness>> open(Env& env, const std::string& dir, SignerKey key,
                                               const Policy& logs);

  // Answers the body of POST add-checkpoint:
  //   200 cosignature lines    400 no request at all, or an old size above the checkpoint's
  //   403 no known key signed  404 origin unknown   409 old size is not ours; body: ours
  //   422 the proof fails      500 the state could not be written: nothing was cosigned
  WitnessAnswer add_checkpoint(std::string_view body);

  Result<std::vector<WitnessedLog>> logs();
  const VerifierKey& key() const { return key_.verifier(); }

 private:
  Witness(Env& env, SignerKey key, std::vector<VerifierKey> log_keys, Database database)
      : env_(env),
        key_(std::move(key)),
        log_keys_(std::move(log_keys)),
        database_(std::move(database)) {}
  Result<WitnessAnswer> decide(const AddCheckpointRequest& request,
                               const VerifiedCheckpoint& verified);
  Result<WitnessedLog> state_of(const std::string& origin);
  Status store(const WitnessedLog& log, const std::string& checkpoint);

  Env& env_;
  const SignerKey key_;
  const std::vector<VerifierKey> log_keys_;
  std::mutex mutex_;  // guards database_
  Database database_;
};

}  // namespace fieldprint
