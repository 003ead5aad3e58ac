// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// One TCP connection as its user sees it. The engine owns it; a pointer is good until kClosed or
// kFailed has been told, or until abort() or refuse().
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>

#include "packet/address.h"
#include "packet/chain.h"
#include "stats/reason.h"
#include "tcp/congestion.h"
#include "tcp/flight.h"
#include "tcp/moment.h"
#include "tcp/options.h"
#include "tcp/policy.h"
#include "tcp/rtt.h"
#include "tcp/sequence.h"
#include "tcp/types.h"
#include "timer/wheel.h"

namespace isthmus::tcp {

class Core;
struct Cookie;
class Engine;
struct IcmpError;
struct Incoming;
struct ParsedState;
struct SavedConnection;

// The wheel entry is the base: one per connection, at its earliest deadline.
class alignas(64) Connection : private timer::Wheel::Entry {
 public:
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  State state() const;
  bool held() const;  // a late accept that waits for complete_accept() or refuse()
  const packet::Endpoint& local() const;
  const packet::Endpoint& remote() const;
  uint32_t path() const;
  // Its place in the engine (Engine::at()), as long as it lives.
  uint32_t place() const { return index_; }

  // The user, its own 64 bits, and who is told. A null handler: events are dropped.
  void set_handler(Handler* handler);
  Handler* handler() const;
  void set_cookie(uint64_t cookie);
  void set_short_queue(bool on) { options_.short_queue = on; }  // Options::short_queue
  uint64_t cookie() const;

  // Bytes in order, not yet taken.
  uint32_t receive_available() const;
  // Takes up to max bytes, which reopens the window (announced by the next flush(), silly windows
  // avoided). The segments are exclusive (refcnt 1, direct) and may be decrypted in place, but for
  // one that max cuts: it is shared with what stays. Empty when there is nothing, or when the cut
  // found no clone (then take it whole).
  packet::Chain receive(uint32_t max = UINT32_MAX);
  // The peer has sent FIN and receive() has given, or will give, every byte before it.
  bool peer_closed() const;

  // Bytes that send() may add now; 0 before the handshake is complete is not implied: data queued
  // early leaves with the end of the handshake.
  uint32_t send_room() const;
  // Queues data; the queue keeps the references until the peer has acknowledged them, and nobody
  // may write them any more. Everything is taken, even beyond send_room(): the caller's bound is
  // one call. Dropped after shutdown() or when the connection is dead.
  void send(packet::Chain&& data);
  // Bytes not yet acknowledged, sent or not.
  uint32_t send_queued() const;
  // FIN after what is queued; receiving goes on (half-close). Idempotent.
  void shutdown();
  // RST and the end: queues are freed, no event follows, the pointer is dead. In SYN-SENT, and for
  // a held accept, nothing is sent.
  void abort();

  // Late accept: SYN-ACK with the next flush(). No effect unless held().
  void complete_accept();
  // Late accept: RST to the SYN; the pointer is dead. No effect unless held().
  void refuse();

  Failure failure() const;
  // Smoothed; zero before the first measurement.
  timer::Duration round_trip() const { return timer::Duration(rtt_.smoothed()); }
  // now: for ages and deadlines; without it, when the engine was last called.
  Info info() const;
  Info info(timer::Instant now) const;
  // Asks memory for what the next call will touch: worth it some hundred cycles ahead of a call.
  void prefetch() const { prefetch_bytes(kHotBytes); }
  // Queues, scoreboard and sequence numbers agree; slow, for tests.
  bool consistent() const;

  // For the engine's arrays.
  ~Connection() = default;

 private:
  friend class Core;
  friend class Engine;

  // Of what data that is received touches, and of what an acknowledgment and sending do.
  static constexpr size_t kReceiveBytes = 256;
  static constexpr size_t kHotBytes = 384;
  // A short queue's bytes beyond what the windows allow: enough to go out with the ACK that opens
  // them, before the user has heard of it.
  static constexpr uint32_t kShortReserve = 16 << 10;

  enum class Phase : uint8_t { open, recovery, loss };  // of loss recovery
  enum class LossTimer : uint8_t { none, timeout, probe, reorder, persist };

  Connection() = default;

  void prefetch_bytes(size_t bytes) const {
    const auto* at = reinterpret_cast<const char*>(this);
    for (size_t line = 0; line < bytes; line += 64) __builtin_prefetch(at + line, 1);
  }
  // For a segment of a burst; and, when what that asked for has come, what that points to.
  void prefetch_for(bool data) const { prefetch_bytes(data ? kReceiveBytes : kHotBytes); }
  void prefetch_queues(bool data) const;

  // connection.cc: life.
  void open(Core& core, uint32_t index, const packet::Endpoint& local,
            const packet::Endpoint& remote, Handler* handler, const Options& options);
  void start_active();
  void start_passive(const Incoming& syn, bool held);
  void start_by_cookie(const Incoming& ack, const Cookie& cookie);
  void count_half_open(bool open);
  uint8_t syn_ecn_flags() const;
  void take_syn_options(const SegmentOptions& options);
  void on_established();
  void raise(uint16_t events);
  void mark_ready();
  void fail(Failure failure);
  void finish();
  void drop_queues();
  void clear_send_queue();
  void clear_recovery();
  bool synchronized() const { return state_ >= State::established && state_ != State::time_wait; }
  bool receiving() const {
    return state_ == State::established || state_ == State::fin_wait_1 ||
           state_ == State::fin_wait_2;
  }
  bool sending() const { return state_ == State::established || state_ == State::close_wait; }
  void grow_receive_buffer(uint32_t taken);
  uint32_t send_limit() const;
  uint32_t room_worth_telling() const;
  uint32_t sendable() const;  // what both windows and the pace would let go now
  // Bytes that may wait for the user at present: the buffer, its share of what memory is left, or
  // what the window field can say.
  uint32_t receive_limit() const;
  void account_received(uint64_t occupied);
  void account_taken(const packet::Chain& taken);

  // info.cc: what the console shows.
  SendLimit limit() const;
  const char* timer_name() const;
  void describe_path(Info& info) const;
  void describe_sender(Info& info) const;
  void describe_receiver(Info& info) const;

  // input.cc: RFC 9293 section 3.10.7.
  void on_segment(Incoming& segment);
  void on_segment_syn_sent(Incoming& segment);
  bool on_segment_held(const Incoming& segment);
  void answer_bad_handshake_ack(Seq ack);
  bool timestamp_acceptable(const Incoming& segment);
  bool sequence_acceptable(Incoming& segment);
  void trim_to_window(Incoming& segment);
  void on_reset(const Incoming& segment);
  bool on_acknowledgment(const Incoming& segment);
  void on_payload(Incoming& segment);
  bool has_memory_for(const Incoming& segment);
  void take_in_order(Incoming& segment);
  void keep_out_of_order(Incoming& segment);
  void on_fin();
  void note_timestamp(const Incoming& segment);
  void challenge(stats::Reason reason);
  void note_congestion(const Incoming& segment);
  void note_duplicate(Seq start, Seq end);
  void request_ack(bool now);

  // icmp.cc
  void on_icmp(const IcmpError& error);

  // path_mtu.cc
  uint32_t payload_of(uint32_t mtu) const;
  void set_send_mss(uint32_t payload);
  void lower_mtu(uint32_t mtu);
  void suspect_black_hole();
  bool may_raise_mss(uint32_t sendable) const;
  void on_mss_raise_acknowledged();
  void on_mss_raise_lost();

  // ack.cc: what an acknowledgment means for what was sent.
  void process_ack(const Incoming& segment, bool window_changed);
  bool in_trouble(const Incoming& segment) const;
  void repair(const Incoming& segment, Seq before, bool duplicate, AckResult& result);
  void grow_window(const AckResult& result, uint32_t acked);
  void apply_sack(const Incoming& segment, AckResult& result, bool& duplicate_reported);
  void take_acknowledged(Seq ack, AckResult& result);
  void measure(const AckResult& result);
  void undo_if_spurious(const Incoming& segment);
  void on_probe_acknowledged(const Incoming& segment, bool duplicate_reported, bool progress);
  void on_congestion_echo(const Incoming& segment);
  void advance_recovery(const AckResult& result, uint32_t acked);
  bool only_the_raise_is_lost();
  bool keep_queue_short(const AckResult& result, bool limited);
  void enter_recovery();
  void leave_recovery();
  void reduce_proportionally(const AckResult& result);
  bool prr_partial(const AckResult& result) const;
  void detect_losses(AckResult& result);
  void on_sender_state_change();

  // Its own ones instead of those that nobody has; false when the pool is empty.
  bool take_flight();
  bool take_disorder();
  // Gives them back when there is nothing left to remember.
  void release_flight();
  void release_disorder();

  // export.cc
  size_t save(std::span<uint8_t> to) const;
  void save_numbers(SavedConnection& saved) const;
  void save_policy(SavedConnection& saved) const;
  template <typename Visit>
  void each_sacked(Visit&& visit) const;
  // Without a word to the peer or the handler.
  void leave();
  bool restore(const ParsedState& parsed);
  void restore_numbers(const SavedConnection& saved);
  void restore_policy(const SavedConnection& saved);
  bool restore_flight(const ParsedState& parsed);
  bool restore_received(const ParsedState& parsed);

  // output.cc
  void skip_unsent(uint32_t n);
  void output();
  void output_data();
  bool retransmit_next();
  bool send_new(bool probe);
  bool is_paced() const;
  Pacing::Path pace() const;
  uint32_t pace_allowance() const;
  uint32_t take_pace(uint32_t length);
  bool waits_for_time() const { return blocked_by_buffers_ || paced_; }
  // fresh: never sent before and no probe, which ECN may mark.
  bool send_range(Seq start, uint32_t length, rte_mbuf* segment, const uint8_t* data, bool fin,
                  bool fresh);
  void send_syn();
  void send_ack(Seq sequence);
  void send_reset();
  // Of a segment whose payload comes behind it, in pieces of mss.
  rte_mbuf* header(uint8_t flags, Seq sequence, uint32_t payload = 0, uint16_t mss = UINT16_MAX,
                   bool fresh = false);
  uint16_t window_field();
  void fill_options(SegmentOptions& options);
  bool window_update_due() const;
  // RFC 6675's pipe. What duplicate ACKs stand for is a guess, never more than what is out.
  uint32_t in_flight() const {
    const uint32_t out =
        snd_nxt_ - snd_una_ - flight_->board.sacked_bytes() - flight_->board.lost_bytes();
    return out - std::min(out, flight_->reno_sacked) + flight_->board.retransmitted_bytes();
  }
  void out_of_buffers();
  uint32_t timestamp_now() const;

  // timers.cc
  void on_timer();
  void arm();
  void arm_unless_late();
  void set_loss_timer();
  void restart_timeout();
  void on_loss_timer();
  bool stalled_too_long() const;
  void on_retransmission_timeout();
  void on_tail_probe();
  bool repeat_tail();
  void on_persist();
  void on_lifetime();
  timer::Instant lifetime_deadline() const;
  timer::Instant soon(uint32_t deadline) const;
  timer::Duration retransmission_timeout() const;

  static void count_up(uint16_t& counter) {
    if (counter != UINT16_MAX) ++counter;
  }

  // kReceiveBytes that each segment touches, with the wheel's entry before them.
  Core* core_ = nullptr;
  Handler* handler_ = nullptr;
  Flight* flight_ = nullptr;      // of the pool while data is unacknowledged
  Disorder* disorder_ = nullptr;  // of the pool while bytes are missing

  packet::Endpoint local_;
  packet::Endpoint remote_;
  uint32_t next_ready_ = UINT32_MAX;
  uint32_t index_ = 0;
  uint32_t ts_offset_ = 0;
  timer::Instant loss_at_ = timer::kNever;
  uint32_t ack_at_ = 0;   // valid while ack_delayed_
  Moment last_received_;  // for timers and people: the peer's last acceptable segment

  Seq rcv_nxt_ = 0;
  Seq rcv_edge_ = 0;       // right edge of the window as offered; never moves back
  Seq last_ack_sent_ = 0;  // RFC 7323
  uint32_t ts_recent_ = 0;
  Seq snd_una_ = 0;
  Seq snd_nxt_ = 0;
  uint32_t snd_wnd_ = 0;
  uint32_t max_snd_wnd_ = 0;
  Seq snd_wl1_ = 0;
  Seq snd_wl2_ = 0;
  Seq irs_ = 0;
  uint16_t mss_ = 536;  // payload of a full segment that is sent
  uint16_t events_ = 0;
  State state_ = State::closed;
  uint8_t snd_scale_ : 4 = 0;
  uint8_t rcv_scale_ : 4 = 0;
  bool timestamps_ : 1 = false;
  bool sack_ : 1 = false;
  bool scaling_ : 1 = false;
  bool ecn_ : 1 = false;              // both ends have said that they understand it
  bool echo_congestion_ : 1 = false;  // ECE on every ACK, until the peer's CWR
  bool tell_reduced_ : 1 = false;     // CWR on the next new data
  bool ready_ : 1 = false;            // in the engine's list for the next flush
  bool ack_now_ : 1 = false;          // with the next flush
  bool ack_delayed_ : 1 = false;      // by the timer at the latest
  bool fin_queued_ : 1 = false;
  bool fin_sent_ : 1 = false;
  bool fin_seen_ : 1 = false;  // the peer's FIN is at fin_at_, taken or not
  bool peer_closed_ : 1 = false;
  // Room was found short, by send() or by who asked for it: it may also shrink with the congestion
  // window, between two calls.
  mutable bool want_write_ : 1 = false;
  bool cwnd_limited_ : 1 = false;
  bool held_ : 1 = false;
  bool passive_ : 1 = false;   // opened by a SYN (MUST-11)
  bool attached_ : 1 = false;  // in the table
  bool dead_ : 1 = false;      // the user is through with it
  bool send_reset_ : 1 = false;
  bool syn_due_ : 1 = false;
  bool last_event_told_ : 1 = false;
  bool probe_out_ : 1 = false;         // a tail loss probe is unanswered
  bool probe_was_old_ : 1 = false;     // and it repeated old data
  bool peer_delays_acks_ : 1 = false;  // a tail loss probe was needless
  bool undo_possible_ : 1 = false;     // retransmitted_at_ and undo_at_ are of this recovery
  bool prr_progress_ : 1 = false;
  bool blocked_by_buffers_ : 1 = false;
  bool paced_ : 1 = false;  // new data waits for its time
  bool stalled_ : 1 = false;
  bool raising_mss_ : 1 = false;  // a segment of full_mss_ is out to try the path
  bool syn_repeated_ : 1 = false;
  bool half_open_ : 1 = false;  // counted as such
  bool by_cookie_ : 1 = false;  // nobody knows when the SYN-ACK left
  Phase phase_ : 2 = Phase::open;
  LossTimer loss_timer_ : 3 = LossTimer::none;
  Failure failure_ = Failure::none;
  uint8_t backoff_ = 0;
  uint8_t dup_acks_ = 0;
  uint8_t quick_acks_ = 0;
  uint8_t keepalives_out_ = 0;
  Scoreboard::Reordering reordering_;  // valid while there is no Flight
  uint16_t full_mss_ = 0;  // what mss_ was before the path seemed to be smaller; zero: it didn't

  // What follows a chain takes the last bytes of its last word.
  [[no_unique_address]] packet::Chain receive_queue_;
  uint32_t unacked_bytes_ = 0;     // received since the last ACK
  uint32_t receive_occupied_ = 0;  // by the buffers of receive_queue_
  uint32_t receive_buffer_ = 0;
  uint32_t taken_ = 0;  // by the user since taken_since_
  union {
    uint32_t syn_sent_at_;      // during the handshake
    uint32_t taken_since_ = 0;  // from its end on
  };
  uint32_t ts_recent_at_ = 0;   // seconds
  uint16_t receive_mss_ = 536;  // largest segment to expect
  uint16_t challenges_left_ = 0;
  Policy options_;
  uint32_t unsent_ = 0;  // bytes of the send queue behind snd_nxt

  RttEstimator rtt_;
  Congestion congestion_;
  uint16_t peer_mss_ = 536;
  uint16_t timeouts_ = 0;  // it, tail_probes_ and spurious_ stop at their largest value

  // What a segment that is sent, or an acknowledgment of one, touches besides.
  [[no_unique_address]] packet::Chain send_queue_;
  Moment last_sent_;  // data or SYN
  // Of the send queue, where snd_nxt lies; valid while unsent_.
  rte_mbuf* unsent_segment_ = nullptr;
  const uint8_t* unsent_data_ = nullptr;
  timer::Instant timeout_at_ = timer::kNever;  // when the retransmission timer is due
  // Last time snd_una moved or the queue was empty; before the end of the handshake, its beginning.
  Moment progress_at_;
  Seq iss_ = 0;
  uint16_t rcv_wraps_ = 0;      // times rcv_nxt_ passed irs_, for the count of bytes
  uint16_t snd_wraps_ = 0;      // and snd_una_ iss_
  uint32_t send_occupied_ = 0;  // by the buffers of send_queue_

  // Rarely.
  Patience patience_;
  uint32_t challenge_second_ = UINT32_MAX;  // that challenges_left_ is of
  uint32_t opened_at_ = 0;                  // seconds
  uint64_t cookie_ = 0;
  uint64_t bytes_retransmitted_ = 0;
  uint32_t retransmissions_ = 0;
  Moment stalled_at_;      // when the peer's window was shut; valid while stalled_
  uint32_t retry_at_ = 0;  // valid while blocked_by_buffers_ or paced_
  uint32_t raise_at_ = 0;  // seconds
  Seq fin_at_ = 0;
  uint16_t tail_probes_ = 0;
  uint16_t spurious_ = 0;
};
// What an idle connection occupies with its timer, beside at most four slots of 8 bytes in the
// table: no more than 512 bytes in all.
static_assert(sizeof(Connection) + size_t{4} * 8 <= 512);

}  // namespace isthmus::tcp
