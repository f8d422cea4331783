#include "engine/anchor_service.h"

#include <algorithm>
#include <mutex>
#include <utility>

#include "anchor/watcher.h"
#include "core/log.h"
#include "engine/anchor_supervision.h"

namespace fieldprint {
namespace {

constexpr std::size_t kMaxEndings = 100;

class WatchedAnchors final : public AnchorService {
 public:
  WatchedAnchors(Engine& engine, AnchorRegistry& registry, Ledger* ledger, PromotedAnchor front,
                 const AnchorBinding& binding, const AnchorServiceOptions& options)
      : engine_(engine),
        registry_(registry),
        ledger_(ledger),
        options_(options),
        place_(front.place),
        binding_(binding) {
    remember(front, binding);
    watch(std::move(front));
  }

  ~WatchedAnchors() override {
    std::vector<std::unique_ptr<AnchorWatcher>> last;
    {
      const std::lock_guard lock(watchers_mutex_);
      stopping_ = true;  // a watcher at work may want to add another
      last.swap(watchers_);
    }
    last.clear();
  }
  WatchedAnchors(const WatchedAnchors&) = delete;
  WatchedAnchors& operator=(const WatchedAnchors&) = delete;

  AnchorReport report() const override;
  std::optional<AnchorStanding> standing(const std::string& digest) const override {
    const std::lock_guard lock(mutex_);
    return find(digest);
  }
  Result<RevocationReceipt> revoke(std::string_view envelope) override;

 private:
  std::optional<AnchorStanding> find(const std::string& digest) const;
  void remember(const PromotedAnchor& anchor, AnchorBinding binding);
  void watch(PromotedAnchor anchor);
  Status on_end(const AnchorEnd& end);
  // The anchor's digest if the subject is one of ours or the promotion of one.
  std::string anchor_named_by(const std::string& subject) const;
  Result<std::optional<RevocationOutcome>> take_away(const std::string& digest,
                                                     const std::string& cause, const Error& reason);
  AnchorBinding replacement(std::optional<PromotedAnchor>& loaded) const;
  Result<std::uint64_t> write(const SignedStatement& statement);

  Engine& engine_;
  AnchorRegistry& registry_;
  Ledger* const ledger_;
  const AnchorServiceOptions options_;
  const Place place_;
  const AnchorBinding binding_;  // the strengths; a replacement is served under the same
  mutable std::mutex mutex_;     // guards the two below
  std::vector<AnchorStanding> standings_;
  std::vector<AnchorEnding> endings_;
  std::mutex taking_;          // one at a time
  std::mutex watchers_mutex_;  // guards the two below
  bool stopping_ = false;
  std::vector<std::unique_ptr<AnchorWatcher>> watchers_;
};

std::optional<AnchorStanding> WatchedAnchors::find(const std::string& digest) const {
  for (const AnchorStanding& standing : standings_) {
    if (standing.binding.artifact->digest == digest) return standing;
  }
  return std::nullopt;
}

void WatchedAnchors::remember(const PromotedAnchor& anchor, AnchorBinding binding) {
  if (!anchor.artifact) return;
  AnchorStanding standing{std::move(binding), anchor.authority};
  standing.binding.artifact = anchor.artifact;
  const std::lock_guard lock(mutex_);
  standings_.push_back(std::move(standing));
}

void WatchedAnchors::watch(PromotedAnchor anchor) {
  auto watcher =
      AnchorWatcher::start(registry_, std::move(anchor), options_.watch_period,
                           [this](const AnchorEnd& end) -> Status { return on_end(end); });
  const std::lock_guard lock(watchers_mutex_);
  if (!stopping_) watchers_.push_back(std::move(watcher));
}

Status WatchedAnchors::on_end(const AnchorEnd& end) {
  const std::string ours = anchor_named_by(end.anchor_digest);
  const std::string& digest = ours.empty() ? end.anchor_digest : ours;
  FP_TRY(take_away(digest, end.cause, end.reason));
  return {};
}

std::string WatchedAnchors::anchor_named_by(const std::string& subject) const {
  const std::lock_guard lock(mutex_);
  for (const AnchorStanding& standing : standings_) {
    const std::string& digest = standing.binding.artifact->digest;
    const bool promoted_by_it =
        standing.authority && standing.authority->promotion_digest == subject;
    if (digest == subject || promoted_by_it) return digest;
  }
  return {};
}

// What conversations go on behind; no artifact if the policy wants none or it does not load.
AnchorBinding WatchedAnchors::replacement(std::optional<PromotedAnchor>& loaded) const {
  if (options_.policy != RevocationPolicy::kReanchor || options_.fallback_folder.empty()) return {};
  Result<PromotedAnchor> fallback = registry_.load(options_.fallback_folder, place_);
  if (!fallback) {
    log_error("the fallback anchor may not stand in front: " + fallback.error().message,
              {{"code", fallback.error().code}});
    return {};
  }
  AnchorBinding binding = binding_;
  binding.artifact = fallback->artifact;
  auto supervision = supervision_of(*fallback->artifact, engine_.config());
  if (!supervision) {
    log_error("the fallback anchor cannot be supervised: " + supervision.error().message,
              {{"code", supervision.error().code}});
    return {};
  }
  binding.supervision = std::move(*supervision);
  loaded = std::move(*fallback);
  return binding;
}

Result<std::optional<RevocationOutcome>> WatchedAnchors::take_away(const std::string& digest,
                                                                   const std::string& cause,
                                                                   const Error& reason) {
  const std::lock_guard turn(taking_);
  RevokeAnchor command;
  command.digest = digest;
  command.policy = options_.policy;
  command.cause = cause;
  command.reason = reason;
  const bool in_front = engine_.anchor_state().digest == digest;
  std::optional<PromotedAnchor> loaded;
  if (in_front) command.replacement = replacement(loaded);
  // A fallback was asked for and there is none: to go on behind nothing was not the wish.
  if (!options_.fallback_folder.empty() && !loaded) command.policy = RevocationPolicy::kEnd;
  FP_ASSIGN(RevocationOutcome outcome, engine_.revoke(command));
  if (!outcome.was_in_front) return std::optional<RevocationOutcome>{};
  {
    const std::lock_guard lock(mutex_);
    if (endings_.size() == kMaxEndings) endings_.erase(endings_.begin());
    endings_.push_back({digest, cause, reason.code, unix_now(), outcome});
  }
  if (loaded && outcome.replacement == loaded->artifact->digest) {
    remember(*loaded, command.replacement);
    watch(std::move(*loaded));
  }
  return std::optional(std::move(outcome));
}

Result<std::uint64_t> WatchedAnchors::write(const SignedStatement& statement) {
  const AuthorityState state = registry_.state();
  for (const LoggedStatement& known : state.revocations()) {
    if (known.signed_statement.digest == statement.digest) return known.index;
  }
  Entry entry;
  entry.kind = EntryKind::kRevocation;
  entry.subject = statement.statement.subject_digest;
  entry.body = {{"envelope", statement.envelope}, {"statement_digest", statement.digest}};
  // Under a checkpoint that is believed: from then on every server of this log finds it.
  return ledger_->commit(entry, ledger_->strongest(), options_.ledger_patience);
}

Result<RevocationReceipt> WatchedAnchors::revoke(std::string_view envelope) {
  FP_ASSIGN(const SignedStatement statement,
            verify_statement(envelope, registry_.state().root().root));
  if (statement.statement.type != StatementType::kRevocation) {
    return fail(ErrorKind::kInvalid, "statement_type_mismatch",
                std::string("a revocation is wanted here, this is a ") +
                    statement_type_name(statement.statement.type));
  }
  if (ledger_ == nullptr) {
    return fail(ErrorKind::kUnavailable, "ledger_read_only",
                "this server has no keys of the ledger; send the revocation to one that has, or "
                "use 'fieldprint anchor revoke' there: it is carried out here once it is in the "
                "ledger");
  }
  RevocationReceipt receipt;
  receipt.statement_digest = statement.digest;
  receipt.subject_digest = statement.statement.subject_digest;
  receipt.in_place = covers(statement.statement.scope, place_);
  if (receipt.in_place) {
    // Before the ledger: enough keys have said it, and a full disk must not keep it in front.
    const std::string ours = anchor_named_by(receipt.subject_digest);
    const std::string& digest = ours.empty() ? receipt.subject_digest : ours;
    FP_ASSIGN(receipt.outcome, take_away(digest, statement.digest, anchor_revoked_error(digest)));
  }
  Result<std::uint64_t> index = write(statement);
  if (!index) {
    return fail(ErrorKind::kUnavailable, "revocation_not_logged",
                "the anchor was taken away here, but the ledger could not be written (" +
                    index.error().code + ": " + index.error().message +
                    "); send the revocation again");
  }
  receipt.index = *index;
  const std::lock_guard lock(watchers_mutex_);
  for (const auto& watcher : watchers_) watcher->poke();
  return receipt;
}

AnchorReport WatchedAnchors::report() const {
  AnchorReport report;
  report.state = engine_.anchor_state();
  report.tenant = place_.tenant;
  const AuthorityState state = registry_.state();
  report.root_digest = state.root().digest;
  report.root_version = state.root().root.version;
  report.policy_epoch = state.policy_epoch();
  const CheckpointView checkpoint = registry_.checkpoint();
  report.checkpoint_size = checkpoint.size;
  report.checkpoint_time = checkpoint.time_s;
  report.checkpoint_max_age = registry_.checkpoint_max_age();
  const std::lock_guard lock(mutex_);
  report.front = find(report.state.digest);
  report.endings = endings_;
  return report;
}

}  // namespace

std::unique_ptr<AnchorService> make_anchor_service(Engine& engine, AnchorRegistry& registry,
                                                   Ledger* ledger, PromotedAnchor front,
                                                   const AnchorBinding& binding,
                                                   const AnchorServiceOptions& options) {
  return std::make_unique<WatchedAnchors>(engine, registry, ledger, std::move(front), binding,
                                          options);
}

}  // namespace fieldprint
