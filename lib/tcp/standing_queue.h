// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// Keeps a sender that fills its path by itself from filling the path's queue too. A window that
// grows by a quarter and finds every round trip longer by as much has bought delay and no
// throughput: it goes back to where it was and rests there. Who has a share of the path only is
// not held: others' packets make most of its round trip, which then rises by less than its window
// grew. If the round trips rise while it rests, others fill the queue, and CUBIC competes with
// them. Times are microseconds; windows bytes.
#pragma once

#include <cstdint>

#include "tcp/sequence.h"

namespace isthmus::tcp {

class StandingQueue {
 public:
  struct Sample {
    Seq una = 0;  // after the ACK
    Seq nxt = 0;
    uint32_t rtt = 0;   // measured by it; zero: not
    uint32_t base = 0;  // the path's shortest
    uint32_t window = 0;
    bool limited = false;  // the window was what held the sender back
  };
  struct Advice {
    bool grow = true;
    uint32_t window = 0;  // to take instead; zero: as it is
  };

  // For each ACK of new data outside of slow start and of loss recovery.
  Advice on_ack(const Sample& ack);
  // Slow start, a recovery, a reduction: what was measured says nothing about what follows.
  void interrupt() { started_ = false; }

 private:
  enum class Stage : uint8_t {
    growing,
    shrinking,  // as long as that costs no throughput
    resting,
    competing,
  };

  void begin(const Sample& ack, uint32_t window, unsigned settling);
  void on_pause();
  Advice on_measured(uint32_t rtt, const Sample& ack);
  Advice on_grown(uint32_t rtt, const Sample& ack);
  Advice on_shrunk(uint32_t rtt, const Sample& ack);
  Advice shrink();
  Advice rest(uint32_t window);
  void mark(uint32_t window, uint32_t rtt);
  bool grows() const { return stage_ == Stage::growing || stage_ == Stage::competing; }

  Seq round_end_ = 0;
  uint32_t measured_ = 0;  // the window whose round trips are being measured
  uint32_t lowest_ = 0;    // of the rounds so far; zero: none
  uint32_t window_ = 0;    // where it began to grow; zero: not known
  uint32_t rtt_ = 0;       // with that
  uint32_t tried_ = 0;     // shrinking: the window that is being measured
  uint64_t rate_ = 0;      // bytes a second, at the most
  uint16_t left_ = 0;      // measurements until the stage ends
  uint8_t rounds_ = 0;
  uint8_t settling_ = 0;  // rounds until the queue shows the window
  Stage stage_ = Stage::growing;
  bool started_ = false;
  bool limited_ = false;  // in this round
};

}  // namespace isthmus::tcp
