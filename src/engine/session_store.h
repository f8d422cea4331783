// The sessions of a server, in memory only: a restart forgets them.
//
// One change at a time: begin() and create() make a session busy until commit() or abandon(); all
// other changes of a busy session are refused. Who is not the owner does not find it.
//
// Thread rule: every method may be called from any thread; what they return is immutable.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "core/error.h"
#include "engine/session.h"

namespace fieldprint {

struct SessionLimits {
  std::size_t sessions = 256;                        // of all owners; 0: none are kept
  std::size_t per_owner = 64;                        //
  std::size_t session_bytes = std::size_t{8} << 20;  // over it a session takes no more turns
  std::size_t total_bytes = std::size_t{256} << 20;  // over it no session does
  std::int64_t idle_seconds = 24 * 60 * 60;          // unused for longer: forgotten
};

struct SessionStats {
  std::size_t sessions = 0;
  std::size_t bytes = 0;
  std::uint64_t made = 0;  // forks included
  std::uint64_t expired = 0;
  std::uint64_t undone = 0;  // rollbacks
};

struct SessionView {
  std::shared_ptr<const Session> session;
  bool busy = false;
};

class SessionStore {
 public:
  explicit SessionStore(const SessionLimits& limits) : limits_(limits) {}

  // `now` is in Unix seconds. id: unguessable, never used before. Errors: sessions_off,
  // sessions_full (all places taken, or all memory).
  Result<std::shared_ptr<const Session>> create(const std::string& owner, const std::string& id,
                                                std::int64_t now);
  // Errors: session_not_found, session_busy, session_too_large, sessions_full.
  Result<std::shared_ptr<const Session>> begin(const std::string& owner, const std::string& id,
                                               std::int64_t now);
  // Ends what create() or begin() began. abandon() leaves no session that has never had a turn.
  void commit(Session session, std::int64_t now);
  void abandon(const std::string& id);

  // Errors: session_not_found.
  Result<SessionView> find(const std::string& owner, const std::string& id, std::int64_t now);
  std::vector<SessionView> list(const std::string& owner, std::int64_t now);  // newest use first
  // Goes back to a place and keeps a record of it. settings: cut_session().
  // Errors: session_not_found, session_busy, those of resolve_place().
  Result<std::shared_ptr<const Session>> rollback(const std::string& owner, const std::string& id,
                                                  std::int64_t now, const SessionTarget& target,
                                                  const DetectorSettings* settings);
  // Names a place. Errors: as rollback(), those of mark_session().
  Result<std::shared_ptr<const Session>> mark(const std::string& owner, const std::string& id,
                                              std::int64_t now, const SessionTarget& target,
                                              const std::string& name);
  // A new session that has what stands before the place. A busy one is forked as it was before.
  // Errors: session_not_found, sessions_full, those of resolve_place().
  Result<std::shared_ptr<const Session>> fork(const std::string& owner, const std::string& id,
                                              std::int64_t now, const SessionTarget& target,
                                              const DetectorSettings* settings,
                                              const std::string& new_id);
  // Errors: session_not_found, session_busy.
  Status erase(const std::string& owner, const std::string& id, std::int64_t now);

  // Of all sessions, by response: session_angles().
  std::vector<std::vector<double>> angles() const;
  SessionStats stats() const;
  const SessionLimits& limits() const { return limits_; }

 private:
  struct Entry {
    std::shared_ptr<const Session> session;
    std::size_t bytes = 0;
    bool busy = false;
  };
  using Entries = std::map<std::string, Entry>;

  void forget_idle(std::int64_t now);
  Status has_place(const std::string& owner) const;
  Result<Entries::iterator> entry_of(const std::string& owner, const std::string& id,
                                     std::int64_t now);
  Result<Entries::iterator> idle_entry_of(const std::string& owner, const std::string& id,
                                          std::int64_t now);
  void put(Entry& entry, Session session, std::int64_t now);

  const SessionLimits limits_;
  mutable std::mutex mutex_;
  Entries entries_;
  SessionStats stats_;
};

}  // namespace fieldprint
