#include "ledger/witness.h"

#include <algorithm>

#include "core/check.h"
#include "core/log.h"
#include "merkle/proof.h"

namespace fieldprint {
namespace {

constexpr const char* kSchema =
    "CREATE TABLE IF NOT EXISTS log(origin TEXT PRIMARY KEY, size INTEGER NOT NULL, "
    "root BLOB NOT NULL, time_s INTEGER NOT NULL, checkpoint TEXT NOT NULL) STRICT";

WitnessAnswer answer(int status, const std::string& text) {
  return {status, "text/plain; charset=utf-8", text + "\n"};
}

WitnessAnswer conflict(std::uint64_t size) {
  return {409, std::string(kTlogSizeType), print_tlog_size(size)};
}

// The origin line of a note's text; parsing proper comes with the signatures.
std::string origin_line(const std::string& text) { return text.substr(0, text.find('\n')); }

}  // namespace

Result<std::unique_ptr<Witness>> Witness::open(Env& env, const std::string& dir, SignerKey key,
                                               const Policy& logs) {
  if (key.verifier().type() != NoteKeyType::kCosignature)
    return fail(ErrorKind::kInvalid, "witness_key_invalid",
                "a witness needs a cosignature key (type 04); make one with 'fieldprint keygen'");
  std::vector<VerifierKey> keys;
  for (const PolicyLog& log : logs.logs()) keys.push_back(log.key);
  if (keys.empty())
    return fail(ErrorKind::kInvalid, "witness_no_logs",
                "the policy has no log line: this witness would serve nobody");
  FP_TRY(make_dirs_durably(env, dir));
  DatabaseOptions options;
  options.mode = DatabaseMode::kCreate;
  options.vfs = env.sqlite_vfs();
  FP_ASSIGN(Database database, Database::open(dir + "/witness.db", options));
  FP_TRY(database.execute(kSchema));
  FP_TRY(env.sync_dir(dir));
  return std::unique_ptr<Witness>(
      new Witness(env, std::move(key), std::move(keys), std::move(database)));
}

Result<WitnessedLog> Witness::state_of(const std::string& origin) {
  FP_ASSIGN(SqlStatement query,
            database_.prepare("SELECT size, root, time_s FROM log WHERE origin = ?"));
  FP_ASSIGN(const bool row, query.bind(1, origin).step());
  WitnessedLog log;
  log.origin = origin;
  log.root = empty_root();
  if (!row) return log;
  const std::span<const std::uint8_t> root = query.blob(1);
  if (root.size() != log.root.size() || query.integer(0) < 0)
    return fail(ErrorKind::kCorrupt, "database_corrupt",
                "witness.db: the tree head of " + origin + " is damaged");
  log.size = static_cast<std::uint64_t>(query.integer(0));
  std::copy(root.begin(), root.end(), log.root.begin());
  log.time_s = query.integer(2);
  return log;
}

Status Witness::store(const WitnessedLog& log, const std::string& checkpoint) {
  FP_ASSIGN(SqlStatement update,
            database_.prepare("INSERT INTO log VALUES(?1, ?2, ?3, ?4, ?5) ON CONFLICT(origin) DO "
                              "UPDATE SET size = ?2, root = ?3, time_s = ?4, checkpoint = ?5"));
  return update.bind(1, log.origin)
      .bind(2, static_cast<std::int64_t>(log.size))
      .bind(3, log.root)
      .bind(4, log.time_s)
      .bind(5, checkpoint)
      .run();
}

WitnessAnswer Witness::add_checkpoint(std::string_view body) {
  if (body.size() > kMaxWitnessRequest) return answer(413, "the request is too large");
  const auto request = parse_add_checkpoint(body);
  if (!request) return answer(400, request.error().message);
  const auto note = note_parse(request->checkpoint);
  if (!note) return answer(400, note.error().message);
  const std::string origin = origin_line(note->text);
  std::vector<VerifierKey> keys;
  for (const VerifierKey& key : log_keys_)
    if (key.name() == origin) keys.push_back(key);
  if (keys.empty()) return answer(404, "this witness does not know the log's origin");
  const auto verified = checkpoint_open(request->checkpoint, origin, keys, {});
  if (!verified) {
    const std::string& code = verified.error().code;
    const bool malformed = code == "checkpoint_invalid" || code == "note_invalid";
    return answer(malformed ? 400 : 403, verified.error().message);
  }
  if (request->old_size > verified->checkpoint.size)
    return answer(400, "the old size is above the checkpoint's size");
  const std::lock_guard lock(mutex_);
  Result<WitnessAnswer> decided = decide(*request, *verified);
  if (decided) return std::move(*decided);
  log_error("the witness could not keep its state; nothing was cosigned",
            {{"code", decided.error().code}, {"message", decided.error().message}});
  return answer(500, "the witness cannot write its state");
}

Result<WitnessAnswer> Witness::decide(const AddCheckpointRequest& request,
                                      const VerifiedCheckpoint& verified) {
  const Checkpoint& head = verified.checkpoint;
  FP_ASSIGN(Transaction transaction, Transaction::begin(database_));
  FP_ASSIGN(WitnessedLog log, state_of(head.origin));
  if (request.old_size != log.size) return conflict(log.size);
  if (head.size == log.size && head.root != log.root) {
    log_error("a log signed two trees of one size", {{"origin", head.origin}});
    return conflict(log.size);
  }
  const Status consistent =
      check_consistency(log.size, head.size, request.proof, log.root, head.root);
  if (!consistent) return answer(422, consistent.error().message);
  log.size = head.size;
  log.root = head.root;
  log.time_s = std::max(log.time_s, env_.now_ms() / 1000);
  FP_TRY(store(log, request.checkpoint));
  FP_TRY(transaction.commit());
  const NoteSignature signature =
      note_cosign(verified.note.text, key_, static_cast<std::uint64_t>(log.time_s));
  WitnessAnswer cosigned;
  cosigned.status = 200;
  cosigned.body = signature_line(signature);
  return cosigned;
}

Result<std::vector<WitnessedLog>> Witness::logs() {
  const std::lock_guard lock(mutex_);
  std::vector<WitnessedLog> all;
  for (const VerifierKey& key : log_keys_) {
    const bool listed = std::any_of(
        all.begin(), all.end(), [&](const WitnessedLog& log) { return log.origin == key.name(); });
    if (listed) continue;
    FP_ASSIGN(all.emplace_back(), state_of(key.name()));
  }
  return all;
}

}  // namespace fieldprint
