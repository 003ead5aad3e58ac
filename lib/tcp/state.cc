// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "tcp/state.h"

#include <algorithm>

#include "tcp/types.h"

namespace isthmus::tcp {
namespace {

constexpr uint32_t kMaxWindow = UINT32_C(1) << 30;  // RFC 7323 section 2.3
constexpr uint16_t kSmallestMss = 64;
constexpr uint32_t kLongestTrial = 3600;         // seconds, until a larger segment is tried
constexpr uint64_t kMaxAge = uint64_t{1} << 50;  // microseconds: 35 years

bool has(const SavedConnection& s, SavedFlag flag) {
  return (s.flags & flag) != 0;
}

bool possible_ends(const SavedConnection& s) {
  return s.local.port != 0 && s.remote.port != 0 && s.local != s.remote &&
         s.local.address.is_v4() == s.remote.address.is_v4() && !s.local.address.is_multicast() &&
         !s.remote.address.is_multicast() && !s.local.address.is_unspecified() &&
         !s.remote.address.is_unspecified();
}

bool possible_state(const SavedConnection& s) {
  const bool fin = has(s, kSavedFinQueued);
  const bool closed = has(s, kSavedPeerClosed);
  switch (static_cast<State>(s.state)) {
    case State::established:
      return !fin && !closed;
    case State::close_wait:
      return !fin && closed;
    case State::fin_wait_1:
      return fin && !closed;
    case State::fin_wait_2:
      return fin && has(s, kSavedFinSent) && !closed && s.snd_una == s.snd_nxt;
    case State::closing:
    case State::last_ack:
      return fin && closed;
    default:
      return false;
  }
}

bool possible_sender(const SavedConnection& s) {
  const uint32_t out = s.snd_nxt - s.snd_una;
  const uint32_t fin = has(s, kSavedFinSent) && out != 0 ? 1 : 0;
  if (has(s, kSavedFinSent) && (!has(s, kSavedFinQueued) || s.send_bytes != out - fin)) {
    return false;
  }
  return out <= kMaxWindow && out - fin <= s.send_bytes && s.snd_wnd <= kMaxWindow &&
         s.snd_wnd <= s.max_snd_wnd && s.max_snd_wnd <= kMaxWindow &&
         s.snd_scale <= kMaxWindowScale && s.mss >= kSmallestMss && s.peer_mss >= kSmallestMss &&
         s.phase <= 2 && (s.phase == 0 || out != 0) && s.congestion <= 1 && s.ecn <= 2 &&
         s.nagle <= 1 && s.dscp <= 63 && s.congestion_window <= kMaxWindow && s.backoff <= 16 &&
         (s.full_mss == 0 || s.full_mss > s.mss) && s.raise_in <= kLongestTrial;
}

bool possible_receiver(const SavedConnection& s) {
  const bool fin = has(s, kSavedFinSeen);
  return s.rcv_edge - s.rcv_nxt <= kMaxWindow && s.rcv_scale <= kMaxWindowScale &&
         s.receive_mss >= kSmallestMss && s.receive_buffer <= kMaxWindow &&
         seq_leq(s.last_ack_sent, s.rcv_nxt) && s.rcv_nxt - s.irs != 0 &&
         (!has(s, kSavedPeerClosed) || (fin && s.gap_count == 0 && s.rcv_nxt == s.fin_at + 1)) &&
         (!fin || has(s, kSavedPeerClosed) ||
          (seq_leq(s.rcv_nxt, s.fin_at) && s.fin_at - s.rcv_nxt <= kMaxWindow));
}

bool possible(const SavedConnection& s) {
  const uint64_t oldest =
      std::max({s.last_sent_age, s.last_received_age, s.progress_age, s.stalled_age});
  return (s.flags & ~uint32_t{kSavedAllFlags}) == 0 && oldest <= kMaxAge && possible_ends(s) &&
         possible_state(s) && possible_sender(s) && possible_receiver(s) &&
         s.sacked_count <= kMaxSavedRanges && s.gap_count <= kMaxSavedRanges &&
         s.send_bytes <= kMaxSavedBytes && s.receive_bytes <= kMaxSavedBytes;
}

// Ascending, apart from each other, and within what was sent; the first byte sent is missing.
bool possible_sacked(const ParsedState& p) {
  Seq at = p.saved.snd_una;
  for (size_t i = 0; i < p.saved.sacked_count; ++i) {
    const SavedRange range = range_at(p.sacked, i);
    if (!seq_lt(at, range.first) || !seq_lt(range.first, range.second) ||
        !seq_leq(range.second, p.saved.snd_nxt)) {
      return false;
    }
    at = range.second;
  }
  return p.saved.sacked_count == 0 || (p.saved.flags & kSavedSack) != 0;
}

// The same of what was received; total: of their bytes.
bool possible_gaps(const ParsedState& p, size_t& total) {
  Seq at = p.saved.rcv_nxt;
  const bool fin = (p.saved.flags & kSavedFinSeen) != 0;
  const Seq last = fin ? p.saved.fin_at : p.saved.rcv_edge;
  total = 0;
  for (size_t i = 0; i < p.saved.gap_count; ++i) {
    const SavedRange range = range_at(p.gaps, i);
    const uint32_t room = last - p.saved.rcv_nxt;
    const uint32_t offset = range.first - p.saved.rcv_nxt;
    if (!seq_lt(at, range.first) || range.second == 0 || offset > room ||
        range.second > room - offset) {
      return false;
    }
    at = range.first + range.second;
    total += range.second;
  }
  return true;
}

}  // namespace

SavedRange range_at(std::span<const uint8_t> ranges, size_t index) {
  StateReader reader(ranges.subspan(index * 8, 8));
  SavedRange range;
  reader.field(range.first);
  reader.field(range.second);
  return range;
}

bool read_state(std::span<const uint8_t> bytes, ParsedState& out) {
  StateReader reader(bytes);
  uint32_t magic;
  uint16_t version;
  uint16_t zero;
  uint32_t length;
  reader.field(magic);
  reader.field(version);
  reader.field(zero);
  reader.field(length);
  if (magic != kStateMagic || version != kStateVersion || zero != 0 || length != bytes.size()) {
    return false;
  }
  exchange_fields(reader, out.saved);
  if (!reader.good() || !possible(out.saved)) return false;
  out.sacked = reader.take(size_t{out.saved.sacked_count} * 8);
  out.gaps = reader.take(size_t{out.saved.gap_count} * 8);
  size_t gap_bytes = 0;
  if (!reader.good() || !possible_sacked(out) || !possible_gaps(out, gap_bytes)) return false;
  out.send = reader.take(out.saved.send_bytes);
  out.receive = reader.take(out.saved.receive_bytes);
  out.gap_bytes = reader.take(gap_bytes);
  return reader.good() && reader.at_end();
}

}  // namespace isthmus::tcp
