// A supervisor without threads, for engine tests: it keeps what it was given, says when it is
// told to what a judge thinks of each segment, and can be full or silent.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <vector>

#include "supervisor/supervisor.h"

namespace fieldprint::testing {

// A model for states of `hidden` elements, with a (meaningless) recipe for angles.
std::shared_ptr<const SupervisionModel> fake_supervision_model(std::int32_t hidden);

struct SeenToken {
  std::uint64_t position = 0;
  std::int32_t token = 0;
  std::vector<float> final;
  std::vector<float> layer;
};

// What a worker would know of a sequence.
struct SeenSequence {
  SupervisionStart start;
  std::vector<SeenToken> tokens;  // kept ones; positions have holes where states were lost
  std::uint32_t generation = 0;
  std::uint64_t segment_start = 0;
  std::uint64_t next_position = 0;
  std::uint64_t gaps = 0;
  std::vector<RollbackRecord> marks;
  std::vector<SegmentReading> timeline;
  int ends = 0;
  bool abandoned = false;
};

class FakeSupervisor final : public Supervisor {
 public:
  // Of the segment first..end-1: the cause of a breach, and where it began. Called once for each.
  using Judge = std::function<void(const SeenSequence& sequence, SegmentReading& reading)>;
  Judge judge;                                    // empty: all is well
  std::function<int()> delay = [] { return 0; };  // calls of take_verdicts() before a verdict
  std::size_t room_left = SIZE_MAX;               // records taken before the ring is full
  bool silent = false;                            // no verdicts

  const SeenSequence& seen(std::uint64_t number) const { return sequences_.at(number); }
  const std::map<std::uint64_t, SeenSequence>& all() const { return sequences_; }
  // By the name of its chain, "<request id>/<choice>".
  const SeenSequence* find(const std::string& chain) const;

  Result<std::uint64_t> open(SupervisionStart start) override;
  std::size_t room(std::uint64_t) const override { return room_left; }
  std::size_t ring_of(std::uint64_t) const override { return 0; }
  PushResult push(std::uint64_t number, const TapState& state) override;
  PushResult push_rollback(std::uint64_t number, const RollbackRecord& record) override;
  PushResult push_end(std::uint64_t number) override;
  void abandon(std::uint64_t number) override { sequences_.at(number).abandoned = true; }
  std::vector<SupervisionVerdict> take_verdicts() override;
  SupervisorMetrics metrics() const override { return {}; }

 private:
  void close_segment(std::uint64_t number, SeenSequence& sequence);
  void say(SupervisionVerdict verdict);

  struct Due {
    int calls = 0;
    SupervisionVerdict verdict;
  };
  std::map<std::uint64_t, SeenSequence> sequences_;
  std::deque<Due> due_;
};

}  // namespace fieldprint::testing
