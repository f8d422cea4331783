// One generation with a client waiting: turns engine events into a whole response
// or into stream frames. Destroying it cancels what still runs.
//
// Thread rule: one thread, the connection's.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "api/response.h"
#include "engine/request.h"
#include "http/receipt_draft.h"
#include "http/session_call.h"
#include "http/state.h"

namespace fieldprint {

class GenerationJob {
 public:
  using Clock = std::chrono::steady_clock;

  struct Parts {
    Admissions::Slot slot;
    std::unique_ptr<Generation> generation;
    std::unique_ptr<ResponsePrinter> printer;
    RequestBase base;
    Clock::time_point start;     // of the request
    Clock::time_point deadline;  // whole responses only
    std::string request_id;
    std::optional<ReleaseMode> release;     // absent: not supervised
    std::string override_digest;            // empty: none
    std::unique_ptr<ReceiptDraft> receipt;  // null: receipts are off
    std::string tenant;
    std::unique_ptr<SessionCall> session;  // null: none
  };
  GenerationJob(ServerState& state, Parts parts);
  ~GenerationJob();
  GenerationJob(const GenerationJob&) = delete;
  GenerationJob& operator=(const GenerationJob&) = delete;

  // The whole response body. `peer_left` is asked every now and then.
  // Errors: the engine's; deadline_exceeded; client_left (nobody will read it).
  template <typename PeerLeft>
  Result<std::string> collect(PeerLeft&& peer_left) {
    while (!finished_) {
      if (peer_left()) {
        return fail(ErrorKind::kCancelled, "client_left", "the client closed the connection");
      }
      if (Clock::now() >= parts_.deadline) return deadline_error();
      auto event = parts_.generation->next(kSlice);
      if (event) std::visit([this](auto& each) { gather(std::move(each)); }, *event);
    }
    return whole();
  }

  // Frames that are ready; waits at most kSlice. Empty: nothing yet. After the last
  // frames ("[DONE]") finished() is true.
  std::string frames();
  bool finished() const { return finished_; }
  // The receipt's id; empty if there will be none.
  std::string receipt_id() const { return parts_.receipt ? parts_.receipt->id() : ""; }
  // The session's; empty without one.
  std::string session_id() const { return parts_.session ? parts_.session->id() : ""; }

 private:
  static constexpr std::chrono::milliseconds kSlice{100};

  void gather(DeltaEvent event);  // whole responses
  void gather(const RollbackEvent& event);
  void gather(const ChoiceDoneEvent& event);
  void gather(const DoneEvent& event) { note(event); }
  void gather(const FailedEvent& event) { note(event); }
  Result<std::string> whole();
  tl::unexpected<Error> deadline_error();
  void frame(const DeltaEvent& event, std::string& out);  // streams
  void frame(const RollbackEvent& event, std::string& out);
  void frame(const ChoiceDoneEvent& event, std::string& out);
  void frame(const DoneEvent& event, std::string& out);
  void frame(const FailedEvent& event, std::string& out);
  void flush_finish(std::string& out, const Evidence* evidence);
  void note(const DeltaEvent& event);
  void note(const RollbackEvent& event);
  void note(const ChoiceDoneEvent& event);
  void note(const DoneEvent& event);
  void note(const FailedEvent& event);
  std::optional<AnchorInfo> anchor_in_front(const UsageReport& usage) const;
  void keep_for_later();
  void log_end(const char* outcome);

  ServerState& state_;
  Parts parts_;
  std::vector<ChoiceResult> choices_;
  Evidence evidence_;
  std::optional<ChoiceDoneEvent> pending_finish_;  // held until we know it is the last
  std::optional<Error> error_;
  bool opened_ = false;
  bool finished_ = false;
  bool first_text_seen_ = false;
  std::vector<Clock::time_point> last_text_;  // per choice
  std::vector<std::uint32_t> rollbacks_;      // events so far, per choice
  Clock::time_point last_write_;
};

}  // namespace fieldprint
