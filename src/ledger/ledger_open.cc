// Making, opening and closing a ledger.
#include "core/check.h"
#include "ledger/ledger_impl.h"
#include "merkle/checkpoint.h"
#include "merkle/proof.h"

namespace fieldprint {
namespace {

std::string db_path(const std::string& dir) { return dir + "/ledger.db"; }

Status check_keys(const LedgerKeys& keys) {
  const auto invalid = [](const std::string& what) {
    return fail(ErrorKind::kInvalid, "ledger_keys_invalid", "ledger keys: " + what);
  };
  if (keys.log.verifier().type() != NoteKeyType::kEd25519)
    return invalid("the log key must be an Ed25519 note key (type 01)");
  if (keys.cosigner.verifier().type() != NoteKeyType::kCosignature)
    return invalid("the cosigner key must be a cosignature key (type 04)");
  if (keys.log.name() != keys.cosigner.name())
    return invalid("both must be named after the log's origin, these are '" + keys.log.name() +
                   "' and '" + keys.cosigner.name() + "'");
  if (!is_name(keys.log.name(), kMaxSubjectBytes))
    return invalid("the origin must be 1 to 255 printable ASCII characters without space");
  return {};
}

LedgerIdentity identity_of(const LedgerKeys& keys) {
  return {keys.log.name(), keys.log.verifier().print(), keys.cosigner.verifier().print()};
}

tl::unexpected<Error> keys_mismatch(const std::string& dir, const LedgerIdentity& found) {
  return fail(
      ErrorKind::kInvalid, "ledger_keys_mismatch",
      dir + ": was made with the log key " + found.log_key + ", which is not the one given");
}

Status write_policy(Env& env, const std::string& dir, const LedgerKeys& keys) {
  return write_file_durably(env, dir + "/" + kPolicyFileName,
                            print_operator_policy(keys.log.verifier(), keys.cosigner.verifier()));
}

Result<NewLeaf> genesis_leaf(const LedgerKeys& keys, std::int64_t now_ms) {
  const LedgerIdentity identity = identity_of(keys);
  Entry genesis;
  genesis.kind = EntryKind::kGenesis;
  genesis.subject = identity.origin;
  genesis.time_ms = now_ms;
  genesis.body.emplace("origin", identity.origin);
  genesis.body.emplace("log_key", identity.log_key);
  genesis.body.emplace("cosigner_key", identity.cosigner_key);
  NewLeaf leaf{EntryKind::kGenesis, identity.origin, ""};
  FP_ASSIGN(leaf.bytes, print_entry(genesis));
  return leaf;
}

}  // namespace

Status Ledger::create(const std::string& dir, const LedgerKeys& keys,
                      const LedgerOptions& options) {
  FP_TRY(check_keys(keys));
  Env& env = *options.env;
  FP_TRY(make_dirs_durably(env, dir));
  FP_ASSIGN(const bool exists, env.exists(dir + "/checkpoint"));
  if (exists)
    return fail(ErrorKind::kInvalid, "ledger_exists",
                dir + ": holds a ledger already; it is never overwritten");
  FP_ASSIGN(LedgerDb db,
            LedgerDb::open(env, db_path(dir), DatabaseMode::kCreate, options.busy_timeout));
  FP_ASSIGN(const NewLeaf genesis, genesis_leaf(keys, env.now_ms()));
  FP_TRY(db.initialize(identity_of(keys), genesis));
  // A crash may have left a ledger without a checkpoint: it is finished, not replaced.
  FP_ASSIGN(const LedgerIdentity identity, db.identity());
  if (identity != identity_of(keys)) return keys_mismatch(dir, identity);
  FP_TRY(write_policy(env, dir, keys));
  Integrator integrator(env, dir, keys, std::move(db));
  FP_TRY(integrator.round());
  return {};
}

Result<std::unique_ptr<Ledger>> Ledger::open(const std::string& dir, LedgerKeys keys,
                                             const LedgerOptions& options) {
  FP_TRY(check_keys(keys));
  auto ledger = std::make_unique<LedgerImpl>(dir, std::move(keys), options);
  FP_TRY(ledger->start());
  return ledger;
}

LedgerImpl::LedgerImpl(std::string dir, LedgerKeys keys, const LedgerOptions& options)
    : dir_(std::move(dir)), keys_(std::move(keys)), options_(options), env_(*options.env) {}

Status LedgerImpl::start() {
  const auto connect = [this] {
    return LedgerDb::open(env_, db_path(dir_), DatabaseMode::kExisting, options_.busy_timeout);
  };
  Result<LedgerDb> db = connect();
  if (!db && db.error().code == "database_missing")
    return fail(ErrorKind::kNotFound, "ledger_missing",
                dir_ +
                    ": no ledger.db; make a ledger with 'fieldprint ledger init', or restore "
                    "the file if it was lost");
  if (!db) return tl::unexpected(db.error());
  FP_ASSIGN(const LedgerIdentity identity, db->identity());
  if (identity != identity_of(keys_)) return keys_mismatch(dir_, identity);

  LedgerTrust trust{identity.origin, {keys_.log.verifier()}, {keys_.cosigner.verifier()}};
  reader_ = std::make_unique<LedgerReader>(env_, dir_, std::move(trust), options_.cached_tiles);
  FP_ASSIGN(LedgerDb integrator_db, connect());
  integrator_ = std::make_unique<Integrator>(env_, dir_, keys_, std::move(integrator_db));
  FP_TRY(check_published(*db));
  query_db_ = std::move(*db);
  FP_ASSIGN(commit_db_, connect());

  commit_thread_ = std::thread([this] { commit_loop(); });
  integrate_thread_ = std::thread([this] { integrate_loop(); });
  if (options_.witnesses != nullptr) {
    FP_ASSIGN(witness_db_, connect());
    witness_thread_ = std::thread([this] { witness_loop(); });
  }
  return {};
}

// The published checkpoint is what others have seen: the database must contain it.
Status LedgerImpl::check_published(LedgerDb& db) {
  FP_ASSIGN(PublishedState state, db.published());
  FP_ASSIGN(const bool exists, env_.exists(dir_ + "/checkpoint"));
  if (!exists) {
    // Never signed, or the file was removed: signing the committed head again is safe.
    FP_TRY(write_policy(env_, dir_, keys_));
    FP_TRY(integrator_->round());
    FP_ASSIGN(newest_, integrator_->refresh());
  } else {
    FP_ASSIGN(const SignedCheckpoint file, reader_->checkpoint());
    FP_ASSIGN(const TreeEdge tree, db.tree());
    if (file.size > tree.size())
      return fail(ErrorKind::kCorrupt, "ledger_rolled_back",
                  dir_ + ": ledger.db has " + std::to_string(tree.size()) +
                      " entries, the published checkpoint " + std::to_string(file.size) +
                      "; the database is an old copy, going on would fork the log");
    FP_ASSIGN(const std::vector<Digest256> proof,
              reader_->prove_consistency(file.size, tree.size()));
    if (!check_consistency(file.size, tree.size(), proof, file.root, tree.root()))
      return fail(ErrorKind::kCorrupt, "ledger_corrupt",
                  dir_ +
                      ": ledger.db and the published checkpoint hold different trees; run "
                      "'ledger fsck'");
    newest_ = file;
  }
  if (!state.witnessed.empty()) {
    FP_ASSIGN(witnessed_, open_text(state.witnessed));
  }
  return {};
}

LedgerImpl::~LedgerImpl() {
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
  }
  commit_wake_.notify_all();
  witness_wake_.notify_all();
  if (commit_thread_.joinable()) commit_thread_.join();
  if (integrate_thread_.joinable()) integrate_thread_.join();
  if (witness_thread_.joinable()) witness_thread_.join();
}

}  // namespace fieldprint
