#include "anchor/watcher.h"

#include <condition_variable>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

#include "core/log.h"

namespace fieldprint {
namespace {

class ThreadWatcher : public AnchorWatcher {
 public:
  ThreadWatcher(AnchorRegistry& registry, PromotedAnchor served, std::chrono::milliseconds period,
                OnEnd on_end)
      : registry_(registry),
        served_(std::move(served)),
        period_(period),
        on_end_(std::move(on_end)) {
    // Revocations from before the start were judged when the anchor was loaded.
    known_ = registry_.state().revocations().size();
    thread_ = std::thread([this] { run(); });
  }
  ~ThreadWatcher() override {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    wake_.notify_all();
    thread_.join();
  }
  ThreadWatcher(const ThreadWatcher&) = delete;
  ThreadWatcher& operator=(const ThreadWatcher&) = delete;

  void poke() override {
    {
      const std::lock_guard lock(mutex_);
      poked_ = true;
    }
    wake_.notify_all();
  }

 private:
  void run() {
    std::unique_lock lock(mutex_);
    while (!stopping_) {
      wake_.wait_for(lock, period_, [this] { return stopping_ || poked_; });
      poked_ = false;
      if (stopping_) return;
      lock.unlock();
      look();
      lock.lock();
    }
  }

  void look() {
    const Status good = served_.artifact ? registry_.recheck(served_) : registry_.refresh();
    report_revocations();
    if (!good && served_.artifact && !ended_) {
      ended_ = tell({served_.authority.anchor_digest, "", good.error()});
    } else if (!good && !served_.artifact) {
      log_warn("ledger: " + good.error().message, {{"code", good.error().code}});
    }
  }

  void report_revocations() {
    const AuthorityState state = registry_.state();
    const std::vector<LoggedStatement>& all = state.revocations();
    for (; known_ < all.size(); ++known_) {
      const LoggedStatement& revocation = all[known_];
      if (!covers(revocation.statement().scope, served_.place)) continue;
      const std::string& digest = revocation.statement().subject_digest;
      const bool ours = served_.artifact && (digest == served_.authority.anchor_digest ||
                                             digest == served_.authority.promotion_digest);
      const AnchorEnd end{ours ? served_.authority.anchor_digest : digest,
                          revocation.signed_statement.digest,
                          Error{ErrorKind::kForbidden, "anchor_revoked",
                                "anchor " + digest + " was revoked: ledger entry " +
                                    std::to_string(revocation.index),
                                ""}};
      if (!tell(end)) return;  // the same one again at the next look
      ended_ = ended_ || ours;
    }
  }

  bool tell(const AnchorEnd& end) const {
    const Status done = on_end_(end);
    if (!done) {
      log_warn("an anchor's end could not be carried out yet: " + done.error().message,
               {{"digest", end.anchor_digest}, {"code", done.error().code}});
    }
    return done.has_value();
  }

  AnchorRegistry& registry_;
  const PromotedAnchor served_;
  const std::chrono::milliseconds period_;
  const OnEnd on_end_;
  std::size_t known_ = 0;  // revocations already told; the thread's own
  bool ended_ = false;     // the served anchor's end was told; the thread's own
  std::mutex mutex_;       // guards the two below
  bool stopping_ = false;
  bool poked_ = false;
  std::condition_variable wake_;
  std::thread thread_;
};

}  // namespace

std::unique_ptr<AnchorWatcher> AnchorWatcher::start(AnchorRegistry& registry, PromotedAnchor served,
                                                    std::chrono::milliseconds period,
                                                    OnEnd on_end) {
  return std::make_unique<ThreadWatcher>(registry, std::move(served), period, std::move(on_end));
}

}  // namespace fieldprint
