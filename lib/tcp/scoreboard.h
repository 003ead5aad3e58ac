// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// What has been sent and not yet acknowledged: one record per transmission, with what is known of
// its fate. SACK (RFC 2018, RFC 6675), RACK's marking of losses by time (RFC 8985) and the count of
// bytes in flight live here; what to do about a loss is the connection's decision.
//
// Records stand in two lists: by sequence number, and those that are in the network by the time at
// which they were sent. All work is bounded by the records that an ACK touches, the number of
// records by max_records.
#pragma once

#include <cstdint>
#include <memory>

#include <rte_mbuf.h>

#include "tcp/options.h"
#include "tcp/sequence.h"
#include "timer/time.h"

namespace isthmus::tcp {

struct SentRecord {
  enum Flag : uint8_t {
    kSacked = 1,         // the peer holds it
    kLost = 2,           // thought lost, and not known to have arrived since
    kRetransmitted = 4,  // lost, and sent again: that copy is in the network
    kSentTwice = 8,      // ever sent again: no RTT from it (Karn)
    kFrontOnly = 16,     // of kRetransmitted: for want of a record, only its front was sent again
  };
  Seq start = 0;
  Seq end = 0;                    // exclusive; a FIN counts
  rte_mbuf* segment = nullptr;    // of the send queue, where the first byte lies; null: only FIN
  const uint8_t* data = nullptr;  // the first byte; a position that trimming the queue can't move
  timer::Instant sent{};          // last transmission
  uint32_t next = 0;
  uint32_t previous = 0;
  uint32_t newer = 0;
  uint32_t older = 0;
  uint8_t flags = 0;

  uint32_t length() const { return end - start; }
  bool in_network() const {
    return (flags & (kSacked | kLost)) == 0 || (flags & kRetransmitted) != 0;
  }
};
static_assert(sizeof(SentRecord) <= 64, "a record is one cache line");

// Records of all connections of an engine.
class RecordPool {
 public:
  static constexpr uint32_t kNone = UINT32_MAX;

  explicit RecordPool(uint32_t count);
  uint32_t take();  // kNone when empty
  void give(uint32_t index);
  // A list of so many, linked by next.
  void give(uint32_t first, uint32_t last, uint32_t count);
  uint32_t in_use() const { return in_use_; }
  // So few are left that they are kept for cutting what must be sent again.
  bool scarce() const { return count_ - in_use_ <= reserve_; }
  // Three quarters are in use: nobody may take many.
  bool crowded() const { return count_ - in_use_ <= count_ / 4; }
  SentRecord& operator[](uint32_t index) { return records_[index]; }
  const SentRecord& operator[](uint32_t index) const { return records_[index]; }

 private:
  std::unique_ptr<SentRecord[]> records_;
  uint32_t count_;
  uint32_t reserve_;
  uint32_t free_ = kNone;
  uint32_t in_use_ = 0;
};

// What one received segment told about what had been sent.
struct AckResult {
  timer::Instant now{};
  bool has_timestamp = false;  // echo and clock_offset mean something
  uint32_t echo = 0;           // TSecr
  uint32_t clock_offset = 0;   // TSval of instant t is ms(t) + clock_offset
  uint32_t min_rtt = 0;        // of the path: what arrives faster than that is the original
  uint32_t delivered = 0;      // bytes newly acknowledged or sacked
  uint32_t sacked = 0;         // of these, by SACK
  uint32_t newly_lost = 0;
  uint32_t steps = 512;         // records that its SACK blocks may still make us walk past
  bool retransmitted = false;   // a record that was sent twice was among the acknowledged
  timer::Duration longest{-1};  // RTT of the first-sent record newly delivered; -1: none to be had
  timer::Duration shortest{-1};
};

class Scoreboard {
 public:
  static constexpr uint32_t kNone = RecordPool::kNone;
  static constexpr uint32_t kMaxRecords = 8192;
  // What a connection may have in flight while the pool is crowded by others.
  static constexpr uint32_t kFairShare = 64;

  bool empty() const { return head_ == kNone; }
  // What RACK has learnt of the path; it outlives what is in flight.
  struct Reordering {
    uint8_t steps = 1;        // of the window
    uint8_t persist : 5 = 0;  // recoveries until it shrinks again
    bool seen : 1 = false;
  };
  const Reordering& reordering() const { return reordering_; }
  void resume(const Reordering& reordering) { reordering_ = reordering; }

  // push() will find a record, and retransmission some more: new data never takes the last ones.
  bool has_room(const RecordPool& pool) const {
    return count_ < kMaxRecords / 2 && !pool.scarce() && (count_ < kFairShare || !pool.crowded());
  }
  // A first transmission at the end of the sequence. False when there is no record left.
  bool push(RecordPool& pool, Seq start, Seq end, rte_mbuf* segment, const uint8_t* data,
            timer::Instant now);
  // The cumulative acknowledgment: frees what lies before una. Call before the send queue frees its
  // bytes.
  void acknowledge(RecordPool& pool, Seq una, AckResult& result);
  // One SACK block within (una, nxt]. What lies too far from anything known, or finds no record to
  // be cut with, is not marked, and at worst sent once more.
  void sack(RecordPool& pool, SackBlock block, AckResult& result);
  void clear(RecordPool& pool);

  // RACK (RFC 8985 section 6.2): marks lost what was sent long enough before something that has
  // arrived. Returns the time until the next record would be, or zero.
  timer::Duration detect_losses(RecordPool& pool, timer::Duration reorder_window,
                                AckResult& result);
  // min_RTT / 4 by steps, or zero before any reordering was seen and three segments were sacked.
  timer::Duration reorder_window(uint32_t min_rtt, uint32_t smoothed_rtt, uint32_t mss,
                                 bool in_recovery) const;
  // A DSACK says that a retransmission was needless: wait longer for late segments.
  void on_duplicate_reported(Seq una, Seq nxt);
  void on_recovery_end();

  // The timer expired, or the path's MTU fell: everything that the peer hasn't got is lost. When
  // the first record is sacked the peer has reneged, and the marks mean nothing (RFC 2018).
  void mark_all_lost(RecordPool& pool);
  // Without SACK: the first mss bytes (RFC 6582).
  void mark_front_lost(RecordPool& pool, uint32_t mss);
  // The losses were none.
  void unmark_losses(RecordPool& pool);

  // The first lost record that has not been sent again, or kNone.
  uint32_t next_lost(const RecordPool& pool);
  // Makes the record [start, start + n) and the rest another one. False when there is none left.
  bool trim_record(RecordPool& pool, uint32_t index, uint32_t n);
  // Its first n bytes were sent again.
  void on_retransmit(RecordPool& pool, uint32_t index, uint32_t n, timer::Instant now);
  // The last record, for a tail loss probe.
  uint32_t tail() const { return tail_; }
  uint32_t head() const { return head_; }

  uint32_t sacked_bytes() const { return sacked_; }
  uint32_t lost_bytes() const { return lost_; }
  uint32_t retransmitted_bytes() const { return retransmitted_; }
  bool has_unsent_losses() const { return lost_ != retransmitted_; }
  // Nothing that is out has been sacked, marked lost or sent again.
  bool untouched() const { return untouched_; }
  uint32_t records() const { return count_; }
  // Every counter equals what the lists say; for tests, slow.
  bool consistent(const RecordPool& pool, Seq una, Seq nxt) const;

 private:
  void acknowledge_all(RecordPool& pool, AckResult& result);
  void deliver(const SentRecord& record, Seq end, AckResult& result);
  uint32_t split(RecordPool& pool, uint32_t index, Seq at);
  uint32_t split_for_sack(RecordPool& pool, uint32_t index, Seq at);
  uint32_t find(const RecordPool& pool, Seq at, AckResult& result) const;
  void remove(RecordPool& pool, uint32_t index);
  void mark_lost(RecordPool& pool, uint32_t index);
  void mark_sacked(RecordPool& pool, uint32_t index, AckResult& result);
  uint32_t merge_sacked(RecordPool& pool, uint32_t index);
  void link_newest(RecordPool& pool, uint32_t index);
  void link_by_time(RecordPool& pool, uint32_t index, uint32_t near);
  void unlink_time(RecordPool& pool, uint32_t index);
  bool sent_before_latest(const SentRecord& record) const;

  uint32_t head_ = kNone;
  uint32_t tail_ = kNone;
  uint32_t oldest_ = kNone;
  uint32_t newest_ = kNone;
  uint32_t lost_hint_ = kNone;  // no lost record that waits lies before it
  uint32_t sack_hint_ = kNone;  // where the last block ended
  uint32_t count_ = 0;
  uint32_t sacked_ = 0;
  uint32_t lost_ = 0;           // includes what was sent again
  uint32_t retransmitted_ = 0;  // of the lost: sent again, that copy's fate unknown
  // RACK: the latest-sent record that has arrived.
  timer::Instant latest_sent_{};
  Seq latest_end_ = 0;
  uint32_t latest_rtt_ = 0;
  Seq forward_ack_ = 0;   // highest sequence delivered
  Seq window_round_ = 0;  // reorder window grows once per round trip
  bool has_latest_ = false;
  bool round_open_ = false;
  bool untouched_ = true;  // what untouched() says; again once nothing is out
  Reordering reordering_;
};

}  // namespace isthmus::tcp
