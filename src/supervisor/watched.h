// What a worker knows of one supervised sequence: chain, pooled state, detector, readings. Pure:
// no thread, no clock, no queue; worker.h feeds it and carries away what it emits.
//
//   judged segments  tokens [32k, 32k+32) of the response, by place, so that after a rollback the
//                    readings are those of a run that never had the dropped tokens; the last one
//                    of a response may be shorter
//   checkpoints      pooled state and detector after every 16th token; a rollback mark puts the
//                    one of its place back, bit for bit
// A token without a record counts as a place and changes neither pooled state nor detector.
//
// Thread rule: one thread at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <variant>
#include <vector>

#include "supervisor/supervisor.h"

namespace fieldprint {

// What came of a record, in order.
struct SegmentDone {  // a reading for the engine
  SegmentReading reading;
};
struct EndReached {  // the report is due: WatchedSequence::report()
  std::uint32_t generation = 0;
  std::uint64_t end_token = 0;
};
using Outgoing = std::variant<Segment, SupervisedBreach, RollbackRecord, SegmentDone, EndReached>;

class WatchedSequence {
 public:
  // chain: of start.binding, nothing in it yet.
  WatchedSequence(SupervisionStart start, FingerprintChain chain);

  // States of the sequence that were lost before the record that follows.
  void gap(std::uint64_t count);
  // final: [hidden]; layer: [hidden] where the model measures coherence and the start wants it.
  void state(std::int32_t token, std::span<const float> final, std::span<const float> layer);
  void rollback(const RollbackRecord& record);
  void end();
  // The engine has given it up: what was seen goes to the ledger, nothing is judged any more.
  void close();

  std::vector<Outgoing> take_outgoing() { return std::exchange(outgoing_, {}); }
  void note_unlogged() { ++unlogged_; }

  std::shared_ptr<const SupervisionReport> report() const;
  const SupervisionStart& start() const { return start_; }
  std::uint32_t generation() const { return static_cast<std::uint32_t>(rollbacks_.size()); }
  std::uint64_t next_token() const { return chain_.next_token(); }
  // For tests: what a rollback has to put back.
  const CoherenceState& pooled() const { return now_.pooled; }
  const DetectorState& detector() const { return now_.detector; }

 private:
  // Everything that a rollback puts back, apart from the chain, which forgets nothing.
  struct Condition {
    CoherenceState pooled;
    std::uint32_t judged_tokens = 0;  // pooled.tokens at the last judgement
    DetectorState detector;
    // Score k of the detector belongs to scored_[k + scores_offset]; below 0: to an earlier
    // response of the session.
    std::int64_t scores_offset = 0;
    std::size_t scores = 0;  // of scored_, in use
  };

  bool measures() const { return start_.coherence && start_.model->coherence() != nullptr; }
  void advance();
  void judge(std::uint64_t first, std::uint64_t end);
  void judge_angle(SegmentReading& reading);
  void emit_segments();

  const SupervisionStart start_;
  FingerprintChain chain_;
  Condition now_;
  std::vector<Condition> checkpoints_;  // [i]: after token 16 i
  std::vector<std::uint64_t> scored_;   // first token of each segment that the detector saw
  std::vector<std::uint64_t> invalid_;  // places of kept states that have no fingerprint
  std::vector<Segment> segments_;
  std::vector<SegmentReading> timeline_;
  std::vector<RollbackRecord> rollbacks_;
  std::vector<Outgoing> outgoing_;
  std::uint64_t gaps_ = 0;
  std::uint64_t unlogged_ = 0;
};

}  // namespace fieldprint
