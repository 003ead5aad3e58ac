// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// A hierarchical timing wheel (Varghese and Lauck, scheme 7) with intrusive entries: arming,
// cancelling and expiring allocate nothing and cost the same however many timers there are.
//
// A connection has one entry, armed at the earliest of its deadlines. Moving a deadline back, which
// is what every received ACK does, only writes a number: the entry stays where it is, and is put
// where it belongs when the wheel comes by.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "timer/time.h"

namespace isthmus::timer {

inline constexpr Duration kTick{100};  // microseconds

class Wheel {
 public:
  // Embedded in (or a base of) what has the deadline; must be cancelled before it is destroyed.
  class Entry {
   public:
    Entry() = default;
    Entry(const Entry&) = delete;
    Entry& operator=(const Entry&) = delete;

    // In the wheel.
    bool armed() const { return link_ != nullptr; }

   private:
    friend class Wheel;
    Entry* next_ = nullptr;
    Entry** link_ = nullptr;  // what points at this entry
    uint64_t wanted_ = 0;     // tick of the deadline, rounded up
    uint64_t placed_ = 0;     // tick of its place in the wheel, never after wanted_
  };

  // now: the instant from which the wheel counts; no later one may lie before it.
  explicit Wheel(Instant now) : origin_(now) {}
  Wheel(const Wheel&) = delete;
  Wheel& operator=(const Wheel&) = delete;

  // Arms the entry, or gives an armed one another deadline. It expires in the first advance() to an
  // instant at or after the deadline, at most one tick late and never early; a deadline that has
  // passed expires at the next tick, so that an entry armed from its own callback cannot hold up
  // the worker. kNever: it does not expire any more, but stays in the wheel until that comes by;
  // an entry that is armed again before costs nothing.
  void arm(Entry& entry, Instant deadline);
  // Does nothing when the entry is not armed.
  void cancel(Entry& entry);

  // Expires what is due by now: calls expired(Entry&) for each, not armed any more, in the order of
  // their ticks. The callback may arm and cancel any entry. Stops after max_expirations; what is
  // left expires in the next call. Returns the number of expirations.
  template <typename Expired>
  unsigned advance(Instant now, unsigned max_expirations, Expired&& expired) {
    const uint64_t target = floor_tick(now);
    unsigned count = 0;
    do {
      while (due_ != nullptr) {
        if (count == max_expirations) return count;
        Entry& entry = *due_;
        if (settle(entry)) continue;
        ++count;
        expired(entry);
      }
    } while (turn(target));
    return count;
  }

  // No advance() to an earlier instant than this has anything to do: a lower bound of the earliest
  // deadline (it may be earlier than that, where an entry must move), kNever when nothing is armed.
  Instant next_deadline() const;
  // Entries in the wheel.
  size_t size() const { return size_; }

 private:
  // A level's slots are as many as a word has bits, so that finding the next one is one
  // instruction.
  static constexpr unsigned kBits = 6;
  static constexpr unsigned kSlots = 1u << kBits;
  static constexpr unsigned kLevels = 8;  // 2^48 ticks: 891 years
  static constexpr uint64_t kUnwanted = UINT64_MAX;

  uint64_t floor_tick(Instant when) const {
    return when <= origin_ ? 0 : static_cast<uint64_t>((when - origin_) / kTick);
  }
  uint64_t ceil_tick(Instant when) const;
  Instant instant_of(uint64_t tick) const {
    return origin_ + kTick * static_cast<Duration::rep>(tick);
  }
  static void push(Entry*& list, Entry& entry);
  void unlink(Entry& entry);
  void place(Entry& entry);
  // An entry that is in no list goes where its deadline wants it, or out when it has none.
  void place_or_forget(Entry& entry);
  // Takes a due entry off its list. True when it was re-armed for later and has gone back into the
  // wheel.
  bool settle(Entry& entry);
  // Moves time to the next occupied slot up to target, or to target. False when nothing more is
  // due.
  bool turn(uint64_t target);

  Instant origin_;
  uint64_t current_ = 0;  // tick up to which everything has left the wheel
  size_t size_ = 0;
  Entry* due_ = nullptr;
  // An entry's level is the highest digit (base 64) in which its tick differs from current_; so
  // every occupied slot lies after current_, and the lowest occupied level has the earliest one.
  std::array<uint64_t, kLevels> occupied_{};
  std::array<Entry*, size_t{kLevels} * kSlots> slots_{};
};

}  // namespace isthmus::timer
