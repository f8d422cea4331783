#include "engine/session_store.h"

#include <algorithm>
#include <utility>

#include "core/check.h"

namespace fieldprint {
namespace {

using SessionPtr = std::shared_ptr<const Session>;

tl::unexpected<Error> full(const std::string& why) {
  return fail(ErrorKind::kExhausted, "sessions_full",
              why + "; delete one, or wait until an unused one is forgotten");
}

}  // namespace

void SessionStore::forget_idle(std::int64_t now) {
  for (auto at = entries_.begin(); at != entries_.end();) {
    const Entry& entry = at->second;
    if (entry.busy || now - entry.session->used <= limits_.idle_seconds) {
      ++at;
      continue;
    }
    stats_.bytes -= entry.bytes;
    ++stats_.expired;
    at = entries_.erase(at);
  }
}

Status SessionStore::has_place(const std::string& owner) const {
  if (limits_.sessions == 0)
    return fail(ErrorKind::kUnsupported, "sessions_off", "this server keeps no sessions");
  if (entries_.size() >= limits_.sessions)
    return full("all " + std::to_string(limits_.sessions) + " sessions are taken");
  const auto mine = std::count_if(entries_.begin(), entries_.end(), [&](const auto& entry) {
    return entry.second.session->owner == owner;
  });
  if (static_cast<std::size_t>(mine) >= limits_.per_owner)
    return full("all " + std::to_string(limits_.per_owner) + " sessions of a key are taken");
  if (stats_.bytes >= limits_.total_bytes) return full("the memory for sessions is used up");
  return {};
}

Result<SessionStore::Entries::iterator> SessionStore::entry_of(const std::string& owner,
                                                               const std::string& id,
                                                               std::int64_t now) {
  forget_idle(now);
  const auto found = entries_.find(id);
  if (found != entries_.end() && found->second.session->owner == owner) return found;
  return fail(
      ErrorKind::kNotFound, "session_not_found",
      "there is no such session; unused ones are forgotten, and all when the server starts");
}

Result<SessionStore::Entries::iterator> SessionStore::idle_entry_of(const std::string& owner,
                                                                    const std::string& id,
                                                                    std::int64_t now) {
  FP_ASSIGN(const auto found, entry_of(owner, id, now));
  if (!found->second.busy) return found;
  return fail(ErrorKind::kUnavailable, "session_busy",
              "the session is answering another request; one at a time");
}

void SessionStore::put(Entry& entry, Session session, std::int64_t now) {
  session.used = now;
  stats_.bytes -= entry.bytes;
  entry.bytes = session_bytes(session);
  stats_.bytes += entry.bytes;
  entry.session = std::make_shared<const Session>(std::move(session));
}

Result<SessionPtr> SessionStore::create(const std::string& owner, const std::string& id,
                                        std::int64_t now) {
  const std::lock_guard lock(mutex_);
  forget_idle(now);
  FP_TRY(has_place(owner));
  Session session;
  session.id = id;
  session.owner = owner;
  session.created = now;
  Entry& entry = entries_[id];
  FP_CHECK(entry.session == nullptr);
  put(entry, std::move(session), now);
  entry.busy = true;
  ++stats_.made;
  return entry.session;
}

Result<SessionPtr> SessionStore::begin(const std::string& owner, const std::string& id,
                                       std::int64_t now) {
  const std::lock_guard lock(mutex_);
  FP_ASSIGN(const auto found, idle_entry_of(owner, id, now));
  Entry& entry = found->second;
  if (entry.bytes >= limits_.session_bytes) {
    return fail(ErrorKind::kTooLarge, "session_too_large",
                "the session has reached its " + std::to_string(limits_.session_bytes) +
                    " bytes; go back in it, or begin a new one");
  }
  if (stats_.bytes >= limits_.total_bytes) return full("the memory for sessions is used up");
  entry.busy = true;
  return entry.session;
}

void SessionStore::commit(Session session, std::int64_t now) {
  const std::lock_guard lock(mutex_);
  const auto found = entries_.find(session.id);
  FP_CHECK(found != entries_.end() && found->second.busy);
  found->second.busy = false;
  put(found->second, std::move(session), now);
}

void SessionStore::abandon(const std::string& id) {
  const std::lock_guard lock(mutex_);
  const auto found = entries_.find(id);
  FP_CHECK(found != entries_.end() && found->second.busy);
  found->second.busy = false;
  const Session& session = *found->second.session;
  if (!session.turns.empty() || !session.parent.empty() || !session.undos.empty()) return;
  stats_.bytes -= found->second.bytes;
  --stats_.made;
  entries_.erase(found);
}

Result<SessionView> SessionStore::find(const std::string& owner, const std::string& id,
                                       std::int64_t now) {
  const std::lock_guard lock(mutex_);
  FP_ASSIGN(const auto found, entry_of(owner, id, now));
  return SessionView{found->second.session, found->second.busy};
}

std::vector<SessionView> SessionStore::list(const std::string& owner, std::int64_t now) {
  const std::lock_guard lock(mutex_);
  forget_idle(now);
  std::vector<SessionView> views;
  for (const auto& [id, entry] : entries_) {
    if (entry.session->owner == owner) views.push_back({entry.session, entry.busy});
  }
  std::stable_sort(views.begin(), views.end(), [](const SessionView& a, const SessionView& b) {
    return a.session->used > b.session->used;
  });
  return views;
}

Result<SessionPtr> SessionStore::rollback(const std::string& owner, const std::string& id,
                                          std::int64_t now, const SessionTarget& target,
                                          const DetectorSettings* settings) {
  const std::lock_guard lock(mutex_);
  FP_ASSIGN(const auto found, idle_entry_of(owner, id, now));
  const Session& session = *found->second.session;
  FP_ASSIGN(const SessionPlace place, resolve_place(session, target));
  const SessionPlace from = session.end();
  Session after = cut_session(session, place, settings);
  if (after.undos.size() >= kMaxSessionUndos) after.undos.erase(after.undos.begin());
  after.undos.push_back({from, place, now});
  put(found->second, std::move(after), now);
  ++stats_.undone;
  return found->second.session;
}

Result<SessionPtr> SessionStore::mark(const std::string& owner, const std::string& id,
                                      std::int64_t now, const SessionTarget& target,
                                      const std::string& name) {
  const std::lock_guard lock(mutex_);
  FP_ASSIGN(const auto found, idle_entry_of(owner, id, now));
  const Session& session = *found->second.session;
  FP_ASSIGN(const SessionPlace place, resolve_place(session, target));
  FP_ASSIGN(Session after, mark_session(session, name, place));
  put(found->second, std::move(after), now);
  return found->second.session;
}

Result<SessionPtr> SessionStore::fork(const std::string& owner, const std::string& id,
                                      std::int64_t now, const SessionTarget& target,
                                      const DetectorSettings* settings, const std::string& new_id) {
  const std::lock_guard lock(mutex_);
  FP_ASSIGN(const auto found, entry_of(owner, id, now));
  FP_TRY(has_place(owner));
  const Session& session = *found->second.session;
  FP_ASSIGN(const SessionPlace place, resolve_place(session, target));
  Session branch = cut_session(session, place, settings);
  branch.id = new_id;
  branch.created = now;
  branch.parent = id;
  branch.parent_place = place;
  branch.undos.clear();
  Entry& entry = entries_[new_id];
  FP_CHECK(entry.session == nullptr);
  put(entry, std::move(branch), now);
  ++stats_.made;
  return entry.session;
}

Status SessionStore::erase(const std::string& owner, const std::string& id, std::int64_t now) {
  const std::lock_guard lock(mutex_);
  FP_ASSIGN(const auto found, idle_entry_of(owner, id, now));
  stats_.bytes -= found->second.bytes;
  entries_.erase(found);
  return {};
}

std::vector<std::vector<double>> SessionStore::angles() const {
  std::vector<SessionPtr> sessions;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [id, entry] : entries_) sessions.push_back(entry.session);
  }
  std::vector<std::vector<double>> all;
  for (const SessionPtr& session : sessions) {
    for (auto& part : session_angles(*session)) all.push_back(std::move(part));
  }
  return all;
}

SessionStats SessionStore::stats() const {
  const std::lock_guard lock(mutex_);
  SessionStats stats = stats_;
  stats.sessions = entries_.size();
  return stats;
}

}  // namespace fieldprint
