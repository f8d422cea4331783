#include "anchor/registry.h"

#include <algorithm>
#include <array>
#include <chrono>

#include "anchor/signed.h"

namespace fieldprint {
namespace {

// Errors that prove something wrong, unlike a disk or a lock that may come back.
bool is_verdict(const Error& error) {
  constexpr std::array kVerdicts = {"ledger_rolled_back", "ledger_forked", "ledger_corrupt",
                                    "ledger_entry_unreadable", "root_unknown"};
  return std::ranges::any_of(kVerdicts, [&](const char* code) { return error.code == code; });
}

}  // namespace

std::int64_t unix_now() {
  return std::chrono::duration_cast<std::chrono::seconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

AnchorRegistry::AnchorRegistry(Env& env, TrustFolder folder, AuthorityLog log,
                               RegistryOptions options)
    : env_(env), folder_(std::move(folder)), options_(std::move(options)), log_(std::move(log)) {}

Result<std::unique_ptr<AnchorRegistry>> AnchorRegistry::open(Env& env, const TrustFolder& folder,
                                                             RegistryOptions options) {
  return open(env, folder, std::make_unique<FileLogSource>(env, folder.ledger_dir()),
              std::move(options));
}

Result<std::unique_ptr<AnchorRegistry>> AnchorRegistry::open(Env& env, const TrustFolder& folder,
                                                             std::unique_ptr<LogSource> source,
                                                             RegistryOptions options) {
  FP_ASSIGN(const std::optional<SeenHead> seen, load_seen_head(env, folder));
  AuthorityLog log(folder.genesis, folder.newest, std::move(source), seen);
  std::unique_ptr<AnchorRegistry> registry(
      new AnchorRegistry(env, folder, std::move(log), std::move(options)));
  FP_TRY(registry->refresh());
  return registry;
}

Status AnchorRegistry::refresh_locked() {
  const std::uint64_t before = log_.checkpoint().size;
  FP_TRY(log_.refresh());
  // Remembered before anything is decided on it, so that no restart forgets it.
  if (log_.checkpoint().size > before) FP_TRY(save_seen_head(env_, folder_, log_.head()));
  return {};
}

std::int64_t AnchorRegistry::max_age_locked() const {
  return options_.checkpoint_max_age > 0 ? options_.checkpoint_max_age
                                         : log_.state().root().root.checkpoint_max_age;
}

Status AnchorRegistry::fresh_locked() const {
  return log_.check_fresh(options_.now(), max_age_locked());
}

Status AnchorRegistry::refresh() {
  const std::lock_guard lock(mutex_);
  return refresh_locked();
}
AuthorityState AnchorRegistry::state() const {
  const std::lock_guard lock(mutex_);
  return log_.state();
}
CheckpointView AnchorRegistry::checkpoint() const {
  const std::lock_guard lock(mutex_);
  return log_.checkpoint();
}
std::int64_t AnchorRegistry::checkpoint_max_age() const {
  const std::lock_guard lock(mutex_);
  return max_age_locked();
}
Status AnchorRegistry::check_fresh() const {
  const std::lock_guard lock(mutex_);
  return fresh_locked();
}

Result<PromotedAnchor> AnchorRegistry::load(const std::string& folder, const Place& place) {
  const std::lock_guard lock(mutex_);
  FP_TRY(check_place(place));
  FP_TRY(refresh_locked());
  FP_TRY(fresh_locked());
  FP_ASSIGN(SignedAnchor loaded, load_signed_anchor(folder, log_.state().root().root.anchor_keys));
  if (loaded.artifact.model_digest != place.model_digest) {
    return fail(ErrorKind::kInvalid, "anchor_model_mismatch",
                folder + " was compiled for model " + loaded.artifact.model_digest +
                    ", this one is " + place.model_digest + "; compile it again",
                "anchor");
  }
  FP_ASSIGN(const LoggedStatement promotion,
            log_.state().check_anchor(loaded.artifact.digest, place, options_.now()));
  FP_ASSIGN(AuthorityLog::Inclusion inclusion, log_.prove(promotion.index));
  PromotedAnchor anchor;
  anchor.place = place;
  AnchorAuthority& authority = anchor.authority;
  authority.anchor_digest = loaded.artifact.digest;
  authority.bundle_digest = std::move(loaded.bundle_digest);
  authority.anchor_key = std::move(loaded.key_name);
  authority.promotion_digest = promotion.signed_statement.digest;
  authority.promotion_index = promotion.index;
  authority.promoted_by = promotion.signed_statement.signers;
  authority.not_after = promotion.statement().window.not_after;
  authority.policy_epoch = log_.state().policy_epoch();
  authority.root_version = log_.state().root().root.version;
  authority.root_digest = log_.state().root().digest;
  authority.checkpoint = log_.checkpoint().text;
  authority.checkpoint_time_s = log_.checkpoint().time_s;
  authority.promotion_leaf = std::move(inclusion.leaf);
  authority.promotion_proof = std::move(inclusion.proof);
  anchor.artifact = std::make_shared<const AnchorArtifact>(std::move(loaded.artifact));
  return anchor;
}

Status AnchorRegistry::recheck(const PromotedAnchor& anchor) {
  const std::lock_guard lock(mutex_);
  if (Status read = refresh_locked(); !read && is_verdict(read.error())) return read;
  FP_TRY(fresh_locked());
  FP_TRY(log_.state().check_anchor(anchor.authority.anchor_digest, anchor.place, options_.now()));
  return {};
}

Result<SignedStatement> AnchorRegistry::check_override(std::string_view envelope,
                                                       const OverrideUse& use) {
  const std::lock_guard lock(mutex_);
  FP_TRY(refresh_locked());
  FP_TRY(fresh_locked());
  return log_.state().check_override(envelope, use);
}

}  // namespace fieldprint
