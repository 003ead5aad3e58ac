// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// A hierarchical timing wheel (Varghese and Lauck, scheme 7) with intrusive entries: arming,
// cancelling and expiring allocate nothing and cost the same however many timers there are.
//
// A connection has one entry, armed at the earliest of its deadlines. Moving a deadline back, which
// is what every received ACK does, only writes a number: the entry stays where it is, and is put
// where it belongs when the wheel comes by.
//
// With many connections each entry lies in memory that no cache holds, and most deadlines are given
// up before they come. So a slot does not link its entries: it names them, seven to a cache line,
// and the wheel asks memory for the next ones while it looks at one. Putting an entry in or taking
// it out touches such lines and the entry, but hardly ever another entry.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>

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
    bool armed() const { return cell_ != 0; }

   private:
    friend class Wheel;
    uint64_t wanted_ = 0;  // tick of the deadline, rounded up
    uint32_t placed_ = 0;  // tick of its place in the wheel, less than 2^32 after current_
    uint32_t cell_ = 0;    // that names it: its chunk's number * 8, and which of the chunk's
  };

  // What an entry takes in the wheel at most, beside the 35 KB that any wheel may take; 9 where
  // they come and go in the same order.
  static constexpr size_t kBytesPerEntry = 16;

  // now: the instant from which the wheel counts; no later one may lie before it.
  // max_entries: how many there can be in the wheel at once. To arm one more is a mistake in the
  // program and ends it. Their memory is allocated here, and touched when it is needed first.
  Wheel(Instant now, size_t max_entries);
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
    while (due_ == 0 || count != max_expirations) {
      if (Entry* entry = take_due(); entry != nullptr) {
        ++count;
        expired(*entry);
      } else if (!turn(target)) {
        break;
      }
    }
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
  // Nothing is placed farther ahead, so that 32 bits tell its tick: five days. What is wanted
  // later moves on from there.
  static constexpr uint64_t kHorizon = UINT32_MAX;

  // A part of a list, a cache line. All but a list's first one name more than half of what fits:
  // that bounds their number.
  static constexpr uint32_t kCells = 7;
  static constexpr uint32_t kFull = (1u << kCells) - 1;
  static constexpr int kEnough = kCells / 2 + 1;
  struct alignas(64) Chunk {
    uint32_t next;           // of the list, or of the free ones
    uint32_t used : 7;       // a bit for each cell
    uint32_t previous : 25;  // unless it is the first
    Entry* cells[kCells];
  };
  static_assert(sizeof(Chunk) == 64 && sizeof(Chunk) / kEnough <= kBytesPerEntry);
  // Chunks whose entries are asked for ahead of the one that is looked at.
  static constexpr unsigned kAhead = 2;

  static uint32_t chunks_for(size_t max_entries);
  uint64_t floor_tick(Instant when) const {
    return when <= origin_ ? 0 : static_cast<uint64_t>((when - origin_) / kTick);
  }
  uint64_t ceil_tick(Instant when) const;
  Instant instant_of(uint64_t tick) const {
    return origin_ + kTick * static_cast<Duration::rep>(tick);
  }

  // Lists of chunks, by the number of their first; 0 is none.
  void append(uint32_t& list, Entry& entry);
  void put(uint32_t number, Entry& entry);
  void push_first(uint32_t& list, uint32_t number);
  void drop_first(uint32_t& list);
  uint32_t take_chunk();
  // The list is going to be emptied: asks for its entries.
  void begin(uint32_t list);
  // Goes on with it by a chunk.
  void look_ahead();

  uint64_t placed(const Entry& entry) const;
  // The place of a tick after current_, as level * kSlots + slot.
  unsigned slot_of(uint64_t tick) const;
  void place(Entry& entry);
  void unlink(Entry& entry);
  void take_out(uint32_t& list, const Entry& entry);
  static bool enough(uint32_t used) { return std::popcount(used) >= kEnough; }
  void fill_up(uint32_t& list, uint32_t number);
  // An entry that is in no list goes where its deadline wants it, or out when it has none.
  void place_or_forget(Entry& entry);
  // The next entry that expires, not armed any more; null when no more are due at current_. Those
  // that were re-armed for later go back into the wheel.
  Entry* take_due();
  // Moves time to the next occupied slot up to target, or to target. False when nothing more is
  // due.
  bool turn(uint64_t target);

  const Instant origin_;
  uint64_t current_ = 0;  // tick up to which everything has left the wheel
  size_t size_ = 0;
  const size_t max_entries_;
  const uint32_t chunk_count_;
  const std::unique_ptr<Chunk[]> chunks_;
  uint32_t free_ = 0;     // chunks that have been used
  uint32_t touched_ = 1;  // chunks that ever were
  uint32_t due_ = 0;      // list of what was placed at current_
  uint32_t ahead_ = 0;    // chunk up to which entries have been asked for
  // An entry's level is the highest digit (base 64) in which its tick differs from current_; so
  // every occupied slot lies after current_, and the lowest occupied level has the earliest one.
  std::array<uint64_t, kLevels> occupied_{};
  std::array<uint32_t, size_t{kLevels} * kSlots> slots_{};
};

}  // namespace isthmus::timer
