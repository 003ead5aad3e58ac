// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// Passive handshakes: how many may be half open, and SYN cookies beyond (RFC 4987).
#include <algorithm>
#include <utility>

#include "packet/headers.h"
#include "tcp/core.h"

namespace isthmus::tcp {
namespace {

using packet::Tcp;
using stats::Reason;

constexpr uint8_t kKinds = Tcp::kSyn | Tcp::kAck | Tcp::kRst | Tcp::kFin;

[[gnu::always_inline]] inline bool one_host(const packet::IpAddress& address) {
  if (!address.is_v4()) return !address.is_multicast() && !address.is_unspecified();
  const uint32_t value = address.v4_value();
  return value != 0 && value != UINT32_MAX && value >> 28 != 0xe;
}

}  // namespace

bool connectable(const packet::Endpoint& local, const packet::Endpoint& remote) {
  return one_host(local.address) && one_host(remote.address);
}

uint32_t Core::source_bucket(const packet::IpAddress& source) const {
  return static_cast<uint32_t>(packet::siphash(secrets.table, source)) % kSources;
}

bool Core::crowded(const packet::Parsed& opener) const {
  return (opener.tcp()->flags & kKinds) == Tcp::kSyn && crowded(opener.tuple.source.address);
}

bool Core::crowded(const packet::IpAddress& source) const {
  return half_open_ >= config.max_half_open ||
         half_open_by_source_[source_bucket(source)] >= config.max_half_open_per_source;
}

void Core::count_half_open(const packet::IpAddress& source, int change) {
  half_open_ += static_cast<uint32_t>(change);
  uint16_t& of_source = half_open_by_source_[source_bucket(source)];
  of_source = static_cast<uint16_t>(of_source + change);
}

Connection* Core::accept(const packet::Parsed& opener, Handler* handler, const Options& options,
                         AcceptMode mode) {
  Incoming segment;
  if (!read_segment(opener, segment)) {
    drop(Reason::tcp_bad_options);
    return nullptr;
  }
  const packet::Endpoint& local = opener.tuple.destination;
  const packet::Endpoint& remote = opener.tuple.source;
  const bool syn = (segment.flags & kKinds) == Tcp::kSyn;
  const std::optional<Cookie> cookie = syn ? std::nullopt : cookie_of(opener);
  if (!syn && !cookie) {
    drop(Reason::tcp_unexpected_flags);
    return nullptr;
  }
  // MUST-57, MUST-63: no connection with a group.
  if (!connectable(local, remote)) {
    drop(Reason::tcp_bad_address);
    return nullptr;
  }
  if (lookup(hash(local, remote), local, remote) != kNone) {
    drop(Reason::tcp_tuple_taken);
    return nullptr;
  }
  if (syn && mode == AcceptMode::now && crowded(remote.address)) {
    drop(Reason::tcp_half_open_limit);
    return nullptr;
  }
  Connection* connection = take(local, remote);
  if (connection == nullptr) return nullptr;
  connection->open(*this, connection->index_, local, remote, handler, options);
  attach(*connection);
  ++stats.passive_opens;
  if (cookie) {
    ++stats.cookies_accepted;
    connection->start_by_cookie(segment, *cookie);
  } else {
    connection->start_passive(segment, mode == AcceptMode::held);
  }
  return connection;
}

bool Core::send_cookie(const packet::Parsed& parsed, const Options& options, uint8_t tag) {
  const auto refuse = [&](Reason reason) {
    drop(reason);
    rte_pktmbuf_free(parsed.mbuf);
    return false;
  };
  const Tcp& tcp = *parsed.tcp();
  SegmentOptions asked;
  if (!read_options(parsed, asked)) return refuse(Reason::tcp_bad_options);
  if ((tcp.flags & kKinds) != Tcp::kSyn) return refuse(Reason::tcp_unexpected_flags);
  const packet::Endpoint& local = parsed.tuple.destination;
  const packet::Endpoint& remote = parsed.tuple.source;
  if (!connectable(local, remote)) {
    return refuse(Reason::tcp_bad_address);
  }
  const bool timed = asked.has_timestamp;
  const bool ecn = timed && options.ecn != Ecn::off && asks_for_ecn(tcp.flags);
  if (!asked.has_mss) asked.mss = default_mss(local);
  const Seq sequence = tcp.sequence.get();
  SegmentOptions answer;
  answer.has_mss = true;
  answer.mss = mss_for(local, options.mtu);
  answer.has_scale = timed && asked.has_scale;
  answer.scale = receive_scale;
  answer.sack_permitted = timed && asked.sack_permitted;
  answer.has_timestamp = timed;
  answer.timestamp = cookie_timestamp(timestamp() + timestamp_offset(local, remote), asked, ecn);
  answer.echo = asked.timestamp;
  SegmentHeader header{.local = local, .remote = remote};
  header.sequence = cookies_.make(parsed.tuple, sequence, {asked.mss, tag}, present.seconds);
  header.acknowledgment = sequence + 1;
  header.flags = static_cast<uint8_t>(Tcp::kSyn | Tcp::kAck | (ecn ? Tcp::kEce : 0));
  header.ttl = options.ttl;
  header.dscp = options.dscp;
  header.window = static_cast<uint16_t>(std::min<uint32_t>(config.receive_buffer, UINT16_MAX));
  header.id = next_id++;
  header.options = &answer;
  rte_mbuf* packet = parsed.mbuf;
  if (packet->next != nullptr) rte_pktmbuf_free(std::exchange(packet->next, nullptr));
  rte_pktmbuf_reset(packet);
  write_header(packet, header);
  ++stats.cookies_sent;
  transmit(packet, options.path);
  return true;
}

// The cookie that an ACK without connection acknowledges; data does as well, should the pure ACK be
// lost.
std::optional<Cookie> Core::cookie_of(const packet::Parsed& parsed) {
  const Tcp& tcp = *parsed.tcp();
  if ((tcp.flags & (Tcp::kSyn | Tcp::kAck | Tcp::kRst)) != Tcp::kAck) return std::nullopt;
  return cookies_.read(parsed.tuple, tcp.sequence.get() - 1, tcp.acknowledgment.get() - 1,
                       present.seconds);
}

// As if the SYN had been kept and answered. The round trip was not measured.
void Connection::start_by_cookie(const Incoming& ack, const Cookie& cookie) {
  state_ = State::syn_received;
  passive_ = true;
  bool ecn = false;
  take_syn_options(cookie_options(cookie, ack.options, ecn));
  ecn_ = ecn && options_.ecn != Ecn::off;
  irs_ = ack.sequence - 1;
  rcv_nxt_ = last_ack_sent_ = ack.sequence;
  rcv_edge_ = rcv_nxt_ + std::min<uint32_t>(core_->config.receive_buffer, UINT16_MAX);
  iss_ = snd_una_ = ack.acknowledgment - 1;
  snd_nxt_ = ack.acknowledgment;
  snd_wnd_ = max_snd_wnd_ = ack.window;
  snd_wl1_ = irs_;
  snd_wl2_ = iss_;
  by_cookie_ = true;
  set_loss_timer();
  arm();
}

// Counted from the SYN-ACK until the handshake is complete, or given up.
void Connection::count_half_open(bool open) {
  if (half_open_ == open) return;
  half_open_ = open;
  core_->count_half_open(remote_.address, open ? 1 : -1);
}

}  // namespace isthmus::tcp
