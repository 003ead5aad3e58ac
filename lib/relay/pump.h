// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// Joins two legs: bytes both ways, each bounded by the other side's room; an end closes one
// direction, an abort both (the event table is in docs/hbone.md).
#pragma once

#include <cstdint>

#include "relay/leg.h"
#include "relay/share.h"

namespace isthmus::relay {

class Pump;

// How a relayed flow ended.
struct Outcome {
  Cause cause = Cause::none;     // none: both directions were closed in order
  bool by_first = false;         // the first leg aborted (else the second); meaningless for none
  uint64_t first_to_second = 0;  // payload bytes
  uint64_t second_to_first = 0;
};

class PumpOwner {
 public:
  // Called once. Both legs are still the caller's to release; the surviving leg of an abort has
  // been aborted. The pump may be destroyed or started again from here.
  virtual void on_pump_done(Pump& pump, const Outcome& outcome) = 0;

 protected:
  ~PumpOwner() = default;
};

class Pump final : private Observer {
 public:
  Pump() = default;
  ~Pump() { leave_share(); }
  Pump(const Pump&) = delete;
  Pump& operator=(const Pump&) = delete;

  // Both legs are connected; whatever is readable already is moved at once. Legs and share outlive
  // the pump's run. share: what bounds the bytes on their way and tries again what found no buffer;
  // null: neither is done. Call from an engine's event, or from outside of any engine.
  void start(Leg& first, Leg& second, PumpOwner& owner, Share* share = nullptr);
  // Aborts both legs, without telling the owner. Nothing happens when the pump isn't running.
  void cancel(Cause cause);

  bool running() const { return owner_ != nullptr; }
  uint64_t first_to_second() const { return sides_[0].moved; }
  uint64_t second_to_first() const { return sides_[1].moved; }

 private:
  friend class Share;

  // A leg and the direction that starts at it.
  struct Side {
    Leg* leg = nullptr;
    uint64_t moved = 0;       // bytes read here and written to the other leg
    uint32_t on_its_way = 0;  // of those, as the share counts them
    bool shut_other = false;  // this leg's end was passed on
    bool closed = false;
    bool waits = false;  // for the share's room, or a buffer
  };

  void on_readable(Leg& leg) override { move(from(leg)); }
  void on_writable(Leg& leg) override { move(1 - from(leg)); }
  void on_ended(Leg& leg) override { move(from(leg)); }
  void on_closed(Leg& leg) override;
  void on_aborted(Leg& leg, Cause cause) override;
  int from(const Leg& leg) const { return &leg == sides_[0].leg ? 0 : 1; }
  void move(int direction);
  void finish(Cause cause, int side);

  // Where there is a share.
  uint32_t allowance(int direction);
  void count(Side& side, uint32_t on_its_way);
  void set_waits(Side& side, bool waits);
  void look_again();
  void list();
  void leave_share();

  Side sides_[2];
  PumpOwner* owner_ = nullptr;
  Share* share_ = nullptr;
  Pump* next_ = nullptr;  // of the share's that have something on its way, or wait
  Pump* previous_ = nullptr;
  bool listed_ = false;
};

}  // namespace isthmus::relay
