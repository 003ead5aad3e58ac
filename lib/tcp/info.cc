// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// What a connection says of itself: for the console, not for the data path.
#include <algorithm>

#include "packet/headers.h"
#include "tcp/core.h"

namespace isthmus::tcp {
namespace {

uint64_t microseconds(timer::Duration duration) {
  return static_cast<uint64_t>(std::max<int64_t>(duration.count(), 0));
}

uint64_t without_syn(uint64_t sequence_space) {
  return sequence_space == 0 ? 0 : sequence_space - 1;
}

}  // namespace

const char* to_string(SendLimit limit) {
  switch (limit) {
    case SendLimit::application:
      return "application";
    case SendLimit::handshake:
      return "handshake";
    case SendLimit::receive_window:
      return "receive window";
    case SendLimit::congestion_window:
      return "congestion window";
    case SendLimit::pacing:
      return "pacing";
    case SendLimit::nagle:
      return "nagle";
    case SendLimit::buffers:
      return "buffers";
    case SendLimit::next_flush:
      return "next flush";
  }
  return "?";
}

const char* to_string(CongestionControl algorithm) {
  return algorithm == CongestionControl::cubic ? "cubic" : "reno";
}

// The questions of output_data(), asked without sending.
SendLimit Connection::limit() const {
  if (state_ == State::syn_sent || state_ == State::syn_received) return SendLimit::handshake;
  const bool fin_waits = fin_queued_ && !fin_sent_;
  const bool losses = flight_->board.has_unsent_losses();
  if (unsent_ == 0 && !fin_waits && !losses) return SendLimit::application;
  if (blocked_by_buffers_) return SendLimit::buffers;
  const uint32_t pipe = in_flight();
  const uint32_t window = congestion_.window();
  const uint32_t room = window > pipe ? window - pipe : 0;
  if (losses) return room < mss_ ? SendLimit::congestion_window : SendLimit::next_flush;
  const uint32_t outstanding = snd_nxt_ - snd_una_;
  const uint32_t offered = snd_wnd_ > outstanding ? snd_wnd_ - outstanding : 0;
  const uint32_t least = std::min<uint32_t>(unsent_ + (fin_waits ? 1 : 0), mss_);
  if (offered < least) return SendLimit::receive_window;
  if (room < std::min<uint32_t>(unsent_, mss_)) return SendLimit::congestion_window;
  if (paced_) return SendLimit::pacing;
  const bool small = unsent_ != 0 && unsent_ < mss_ && outstanding != 0;
  return small && options_.nagle && !fin_waits ? SendLimit::nagle : SendLimit::next_flush;
}

const char* Connection::timer_name() const {
  switch (loss_timer_) {
    case LossTimer::timeout:
      return "retransmission";
    case LossTimer::probe:
      return "tail loss probe";
    case LossTimer::reorder:
      return "reordering";
    case LossTimer::persist:
      return "persist";
    case LossTimer::none:
      break;
  }
  return "";
}

Info Connection::info() const {
  return info(core_->now);
}

Info Connection::info(timer::Instant now) const {
  Info info;
  info.state = state_;
  info.held = held_;
  info.failure = failure_;
  info.limit = limit();
  info.age = uint64_t{1'000'000} * (seconds(now) - opened_at_);
  info.since_sent = microseconds(now - last_sent_.instant(now));
  info.since_received = microseconds(now - last_received_.instant(now));
  info.timer = timer_name();
  if (loss_at_ != timer::kNever) info.timer_due = microseconds(loss_at_ - now);
  describe_path(info);
  describe_sender(info);
  describe_receiver(info);
  return info;
}

void Connection::describe_path(Info& info) const {
  info.send_mss = mss_;
  info.receive_mss = receive_mss_;
  const size_t ip = local_.address.is_v4() ? sizeof(packet::Ipv4) : sizeof(packet::Ipv6);
  info.path_mtu =
      static_cast<uint16_t>(mss_ + ip + sizeof(packet::Tcp) + (timestamps_ ? kTimestampBytes : 0));
  info.send_scale = snd_scale_;
  info.receive_scale = rcv_scale_;
  info.timestamps = timestamps_;
  info.sack = sack_;
  info.ecn = ecn_;
  info.echoes_congestion = echo_congestion_;
  info.rtt = rtt_.smoothed();
  info.rtt_var = rtt_.variance();
  info.min_rtt = rtt_.minimum();
  info.rto = static_cast<uint32_t>(retransmission_timeout().count());
  info.backoff = backoff_;
}

void Connection::describe_sender(Info& info) const {
  info.congestion_control = options_.congestion;
  info.congestion_window = congestion_.window();
  info.slow_start_threshold = congestion_.slow_start_threshold();
  info.congestion_state = phase_ == Phase::open       ? "open"
                          : phase_ == Phase::recovery ? "recovery"
                                                      : "loss";
  info.send_window = snd_wnd_;
  info.send_buffer = send_limit();
  info.send_queued = send_queue_.size();
  info.send_occupied = send_occupied_;
  info.not_sent = unsent_;
  info.in_flight = in_flight();
  info.sacked = flight_->board.sacked_bytes();
  info.lost = flight_->board.lost_bytes();
  info.sent_again = flight_->board.retransmitted_bytes();
  info.records = flight_->board.records();
  const bool idle = flight_ == core_->flights.none();
  info.reordering_seen = (idle ? reordering_ : flight_->board.reordering()).seen;
  info.reorder_window = static_cast<uint32_t>(
      flight_->board.reorder_window(rtt_.minimum(), rtt_.smoothed(), mss_, phase_ != Phase::open)
          .count());
  const uint64_t acked = (uint64_t{snd_wraps_} << 32) + (snd_una_ - iss_);
  info.bytes_sent = without_syn(acked + (snd_nxt_ - snd_una_)) - (fin_sent_ ? 1 : 0);
  info.bytes_retransmitted = bytes_retransmitted_;
  info.bytes_acked = without_syn(acked) - (fin_sent_ && snd_una_ == snd_nxt_ ? 1 : 0);
  info.retransmissions = retransmissions_;
  info.timeouts = timeouts_;
  info.tail_probes = tail_probes_;
  info.spurious_recoveries = spurious_;
}

void Connection::describe_receiver(Info& info) const {
  info.receive_window = rcv_edge_ - rcv_nxt_;
  info.receive_buffer = receive_buffer_;
  info.receive_queued = receive_queue_.size();
  info.receive_occupied = receive_occupied_;
  info.out_of_order = disorder_->gaps.bytes();
  info.runs = disorder_->gaps.runs();
  const uint64_t received = (uint64_t{rcv_wraps_} << 32) + (rcv_nxt_ - irs_);
  info.bytes_received = without_syn(received) - (peer_closed_ ? 1 : 0);
}

}  // namespace isthmus::tcp
