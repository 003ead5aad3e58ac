// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// A connection in mid-transfer as bytes, for another process to go on with (a hitless upgrade).
// Fields are written one by one, little-endian, in the order of exchange_fields(); memory layout is
// nobody's format. Layout of version 2:
//
//   magic "ITCP" | version u16 | zero u16 | length of all u32
//   the fields of SavedConnection
//   sacked_count ranges of what the peer holds (start u32, end u32), ascending
//   gap_count runs of what was received behind a gap (start u32, length u32), ascending
//   unacknowledged and unsent bytes | received bytes that nobody has taken | the bytes of each run
//
// Times are ages and remainders in microseconds relative to the moment of writing, so that the
// clocks need not agree. A reader refuses another version; a new field means a new version.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <span>

#include "packet/address.h"
#include "tcp/options.h"
#include "tcp/sequence.h"

namespace isthmus::tcp {

inline constexpr uint32_t kStateMagic = 0x50435449;
inline constexpr uint16_t kStateVersion = 2;
inline constexpr uint32_t kMaxSavedRanges = 4096;  // of sacked ranges, and of runs
inline constexpr uint32_t kMaxSavedBytes = 64 << 20;

// Names as in Connection and RFC 9293.
struct SavedConnection {
  packet::Endpoint local;
  packet::Endpoint remote;
  uint64_t cookie = 0;
  uint8_t state = 0;  // of the enumeration State: synchronized ones only
  uint8_t phase = 0;  // 0 open, 1 recovery, 2 loss
  uint16_t events = 0;
  uint32_t flags = 0;  // SavedFlag

  uint32_t iss = 0, snd_una = 0, snd_nxt = 0, snd_wnd = 0, max_snd_wnd = 0, snd_wl1 = 0,
           snd_wl2 = 0;
  uint32_t irs = 0, rcv_nxt = 0, rcv_edge = 0, last_ack_sent = 0, fin_at = 0;
  uint8_t snd_scale = 0, rcv_scale = 0;
  uint16_t mss = 0, peer_mss = 0, receive_mss = 0;
  uint32_t receive_buffer = 0;
  uint32_t timestamp = 0;                     // TSval at the moment of writing
  uint32_t ts_recent = 0, ts_recent_age = 0;  // age in seconds

  uint32_t congestion_window = 0, slow_start_threshold = 0;
  uint32_t smoothed_rtt = 0, rtt_variance = 0, min_rtt = 0;
  uint32_t recovery_point = 0, prr_delivered = 0, prr_out = 0, prr_flight = 0, reno_sacked = 0;
  uint8_t backoff = 0, dup_acks = 0, quick_acks = 0, keepalives_out = 0;

  uint64_t last_sent_age = 0, last_received_age = 0, progress_age = 0, stalled_age = 0;

  // Policy: milliseconds.
  uint32_t path = 0, keepalive_idle = 0, user_timeout = 0, handshake_timeout = 0, stall_timeout = 0,
           keepalive_interval = 0, fin_wait_2_timeout = 0;
  uint8_t ttl = 0, keepalive_probes = 0, nagle = 0, congestion = 0, ecn = 0, dscp = 0;
  // What mss was before the path seemed to be smaller, or 0; the next trial of it, in seconds.
  uint16_t full_mss = 0;
  uint32_t raise_in = 0;

  uint16_t rcv_wraps = 0, snd_wraps = 0;
  uint64_t bytes_retransmitted = 0;
  uint32_t retransmissions = 0, timeouts = 0, tail_probes = 0, spurious = 0;

  uint32_t sacked_count = 0, gap_count = 0;
  uint32_t send_bytes = 0;     // in the send queue: first what is unacknowledged
  uint32_t receive_bytes = 0;  // in order, not taken
};

enum SavedFlag : uint32_t {
  kSavedTimestamps = 1 << 0,
  kSavedSack = 1 << 1,
  kSavedScaling = 1 << 2,
  kSavedEcn = 1 << 3,
  kSavedEchoCongestion = 1 << 4,
  kSavedAckOwed = 1 << 5,
  kSavedFinQueued = 1 << 6,
  kSavedFinSent = 1 << 7,
  kSavedFinSeen = 1 << 8,
  kSavedPeerClosed = 1 << 9,
  kSavedWantWrite = 1 << 10,
  kSavedPassive = 1 << 11,
  kSavedStalled = 1 << 12,
  kSavedPeerDelaysAcks = 1 << 13,
  kSavedAllFlags = (1 << 14) - 1,
};

// Writes little-endian fields; counts on when the room is used up.
class StateWriter {
 public:
  explicit StateWriter(std::span<uint8_t> to) : to_(to) {}

  template <typename T>
  void field(T value) {
    uint8_t* at = room(sizeof(T));
    if (!fits()) return;
    for (size_t i = 0; i < sizeof(T); ++i) at[i] = static_cast<uint8_t>(value >> (8 * i));
  }
  void field(const packet::Endpoint& end) {
    uint8_t* at = room(16);
    if (fits()) std::memcpy(at, end.address.bytes().data(), 16);
    field(end.port);
  }
  // Where n bytes go; of no use when they do not fit.
  uint8_t* room(size_t n) {
    uint8_t* at = to_.data() + std::min(size_, to_.size());
    size_ += n;
    return at;
  }
  bool fits() const { return size_ <= to_.size(); }
  size_t size() const { return size_; }

 private:
  std::span<uint8_t> to_;
  size_t size_ = 0;
};

// Reads them; past the end everything is zero and good() is false.
class StateReader {
 public:
  explicit StateReader(std::span<const uint8_t> from) : from_(from) {}

  template <typename T>
  void field(T& value) {
    value = 0;
    const auto bytes = take(sizeof(T));
    for (size_t i = 0; i < bytes.size(); ++i) {
      value = static_cast<T>(value | static_cast<T>(static_cast<T>(bytes[i]) << (8 * i)));
    }
  }
  void field(packet::Endpoint& end) {
    const auto bytes = take(16);
    if (!bytes.empty()) end.address = packet::IpAddress::v6(bytes.data());
    field(end.port);
  }
  // n bytes; empty when there are not so many.
  std::span<const uint8_t> take(size_t n) {
    if (n > from_.size()) {
      good_ = false;
      from_ = {};
      return {};
    }
    const auto bytes = from_.first(n);
    from_ = from_.subspan(n);
    return bytes;
  }
  bool good() const { return good_; }
  bool at_end() const { return from_.empty(); }

 private:
  std::span<const uint8_t> from_;
  bool good_ = true;
};

// Both directions by one list.
template <typename Archive, typename Saved>
void exchange_fields(Archive& a, Saved& s) {
  const auto all = [&a](auto&... fields) { (a.field(fields), ...); };
  all(s.local, s.remote, s.cookie, s.state, s.phase, s.events, s.flags);
  all(s.iss, s.snd_una, s.snd_nxt, s.snd_wnd, s.max_snd_wnd, s.snd_wl1, s.snd_wl2);
  all(s.irs, s.rcv_nxt, s.rcv_edge, s.last_ack_sent, s.fin_at, s.snd_scale, s.rcv_scale);
  all(s.mss, s.peer_mss, s.receive_mss, s.receive_buffer, s.timestamp, s.ts_recent,
      s.ts_recent_age);
  all(s.congestion_window, s.slow_start_threshold, s.smoothed_rtt, s.rtt_variance, s.min_rtt);
  all(s.recovery_point, s.prr_delivered, s.prr_out, s.prr_flight, s.reno_sacked);
  all(s.backoff, s.dup_acks, s.quick_acks, s.keepalives_out);
  all(s.last_sent_age, s.last_received_age, s.progress_age, s.stalled_age);
  all(s.path, s.keepalive_idle, s.user_timeout, s.handshake_timeout, s.stall_timeout,
      s.keepalive_interval, s.fin_wait_2_timeout);
  all(s.ttl, s.keepalive_probes, s.nagle, s.congestion, s.ecn, s.dscp, s.full_mss, s.raise_in);
  all(s.rcv_wraps, s.snd_wraps, s.bytes_retransmitted, s.retransmissions, s.timeouts, s.tail_probes,
      s.spurious);
  all(s.sacked_count, s.gap_count, s.send_bytes, s.receive_bytes);
}

// Bytes from an unknown source, read and found to be a connection that could exist. The spans lie
// in what was read.
struct ParsedState {
  SavedConnection saved;
  std::span<const uint8_t> sacked;  // pairs of start and end
  std::span<const uint8_t> gaps;    // pairs of start and length
  std::span<const uint8_t> send;
  std::span<const uint8_t> receive;
  std::span<const uint8_t> gap_bytes;
};
// False: another version, lengths that do not add up, or numbers that contradict each other.
bool read_state(std::span<const uint8_t> bytes, ParsedState& out);

// The pair of words at a position of ParsedState::sacked or gaps.
struct SavedRange {
  uint32_t first = 0;
  uint32_t second = 0;
};
SavedRange range_at(std::span<const uint8_t> ranges, size_t index);

}  // namespace isthmus::tcp
