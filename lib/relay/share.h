// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// What relayed flows may have on its way together: bytes read from one leg that have not left the
// other yet. Nothing is refused over it: a pump reads no more, and the sender's window closes. What
// could not be read for want of a buffer is tried again from here too.
#pragma once

#include <cstdint>

namespace isthmus::relay {

class Pump;
class Shares;

// Of the flows of one owner. Must outlive their pumps.
class Share {
 public:
  // A direction that has less than this on its way goes on whatever the others have: readers that
  // stand still slow their owner's other flows, but don't stop them.
  static constexpr uint32_t kFloor = 16u << 10;

  Share() = default;  // for no pump yet
  // limit: bytes, 0 is none: nothing is counted then.
  Share(uint64_t limit, Shares& shares) : limit_(limit), shares_(&shares) {}

  bool limited() const { return limit_ != 0; }
  // As it was when each pump last moved something: no less than there is.
  uint64_t used() const { return used_; }
  uint32_t waiting() const { return waiting_; }  // directions of pumps
  uint64_t waits() const { return waits_; }      // how often one began to wait

 private:
  friend class Pump;
  friend class Shares;

  // For a direction that has on_its_way already.
  uint64_t room(uint32_t on_its_way) const {
    const uint64_t common = used_ < limit_ ? limit_ - used_ : 0;
    const uint64_t own = on_its_way < kFloor ? kFloor - on_its_way : 0;
    return common > own ? common : own;
  }
  void add(Pump& pump);
  void remove(Pump& pump);
  void wait();
  void stop_waiting() { --waiting_; }
  void look_again(unsigned& most);

  uint64_t limit_ = 0;
  uint64_t used_ = 0;
  uint64_t waits_ = 0;
  uint32_t waiting_ = 0;
  bool listed_ = false;
  Shares* shares_ = nullptr;
  Share* next_ = nullptr;  // of those in which something waits
  Pump* first_ = nullptr;  // those that have something on its way, or wait
  Pump* last_ = nullptr;
};

// Those of one worker.
class Shares {
 public:
  // Legs don't tell when bytes leave them. While a pump waits its share's pumps are looked at
  // again, at most so many. Returns whether some are left for the next call; if not, it is time
  // again when a leg has moved.
  bool resume(unsigned most);

 private:
  friend class Share;

  void push(Share& share);

  Share* first_ = nullptr;
  Share* last_ = nullptr;
};

}  // namespace isthmus::relay
