// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// One engine, one peer that may send anything at any time: the input is a byte of settings and a
// sequence of acts of the peer, of the user and of the clock. After each, the connection's numbers
// agree among themselves and with the engine's sums, every byte that either side is given is the
// one of its place in the stream, no window was taken back and the engine did not run away; at the
// end every mbuf is home.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <vector>

#include "eal.h"
#include "packet/headers.h"
#include "packet/parse.h"
#include "support/pools.h"
#include "tcp/engine.h"
#include "tcp/sequence.h"

namespace {

using namespace isthmus;

constexpr unsigned kMaxActs = 400;
constexpr unsigned kMaxPacketsPerAct = 2000;

// What stands in a stream from that place on, good for 64 KB; it repeats only after as much.
const uint8_t* stream_at(uint32_t place) {
  constexpr uint32_t kPeriod = 1 << 16;
  static const std::vector<uint8_t> bytes = [] {
    std::vector<uint8_t> twice(size_t{2} * kPeriod);
    std::generate_n(twice.begin(), kPeriod, std::minstd_rand(1));
    std::copy_n(twice.begin(), kPeriod, twice.begin() + kPeriod);
    return twice;
  }();
  return bytes.data() + place % kPeriod;
}

void check(const rte_mbuf* packet, uint32_t offset, uint32_t place) {
  for (; packet != nullptr; packet = packet->next) {
    const auto* bytes = rte_pktmbuf_mtod_offset(packet, const uint8_t*, offset);
    const uint32_t size = packet->data_len - offset;
    if (std::memcmp(bytes, stream_at(place), size) != 0) abort();
    place += size;
    offset = 0;
  }
}

class Reader {
 public:
  Reader(const uint8_t* data, size_t size) : data_(data), size_(size) {}
  bool empty() const { return size_ == 0; }
  uint8_t byte() {
    if (size_ == 0) return 0;
    --size_;
    return *data_++;
  }
  uint16_t word() { return static_cast<uint16_t>(byte() << 8 | byte()); }

 private:
  const uint8_t* data_;
  size_t size_;
};

class Peer final : public tcp::Output, public tcp::Handler {
 public:
  enum Setting : uint8_t { kIpv6 = 1, kCookies = 2, kAskForEcn = 4, kLittleMemory = 8 };

  explicit Peer(uint8_t settings) : settings_(settings) {
    if ((settings & kIpv6) != 0) {
      uint8_t address[16] = {0xfd};
      address[15] = 2;
      local_.address = packet::IpAddress::v6(address);
      address[15] = 1;
      remote_.address = packet::IpAddress::v6(address);
    }
    tcp::Config config;
    if ((settings & kCookies) != 0) config.max_half_open = 0;
    if ((settings & kLittleMemory) != 0) {
      config.memory_budget = 12'000;
      config.memory_floor = 2048;
    }
    config.max_connections = 2;
    config.max_time_wait = 2;
    config.max_sent_records = 64;
    config.max_gaps = 16;
    config.receive_buffer = config.send_buffer = 20'000;
    config.max_receive_buffer = config.max_send_buffer = 100'000;
    tcp::Secrets secrets;
    secrets.sequence = {1, 2};
    engine_ = std::make_unique<tcp::Engine>(config, test::pools(), *this, drops_, secrets, now_);
  }

  void transmit(rte_mbuf* packet, uint32_t) override {
    const auto& header = *rte_pktmbuf_mtod_offset(packet, packet::Tcp*, packet->l3_len);
    if (++packets_ > kMaxPacketsPerAct) abort();
    watch_window(header);
    watch_streams(packet, header);
    if ((header.flags & packet::Tcp::kRst) == 0) {
      const uint32_t payload = packet->pkt_len - packet->l3_len - packet->l4_len;
      sent_ = header.sequence.get() + payload;
      if ((header.flags & packet::Tcp::kSyn) != 0) ++sent_;
      if ((header.flags & packet::Tcp::kAck) != 0) expected_ = header.acknowledgment.get();
    }
    rte_pktmbuf_free(packet);
  }

  void on_tcp(tcp::Connection& connection, uint16_t events) override {
    if (ended_) abort();
    if ((events & (tcp::kClosed | tcp::kFailed)) == 0) return;
    take(connection, UINT32_MAX);
    ended_ = true;
    connection_ = nullptr;
  }

  void act(Reader& in) {
    packets_ = 0;
    switch (in.byte() % 12) {
      case 0:
        connect(in);
        break;
      case 1:
        send(in.word());
        break;
      case 2:
        receive(in.word());
        break;
      case 3:
        if (connection_ != nullptr) connection_->shutdown();
        break;
      case 4:
        end(in.byte());
        break;
      case 5:
        pass(in.word());
        break;
      case 6:
        icmp(in);
        break;
      default:
        segment(in);
        break;
    }
    engine_->flush(now_);
    if (!engine_->consistent()) abort();
    const uint16_t beat = in.byte();
    now_ += timer::Duration(beat * 50);
    engine_->advance(now_);
    engine_->flush(now_);
    if (!engine_->consistent()) abort();
  }

 private:
  // The right edge of what is offered never moves back, but by what the scale rounds off.
  void watch_window(const packet::Tcp& header) {
    if (connection_ == nullptr || (header.flags & packet::Tcp::kRst) != 0) return;
    if ((header.flags & (packet::Tcp::kSyn | packet::Tcp::kAck)) != packet::Tcp::kAck) {
      edge_known_ = false;
      return;
    }
    const uint32_t unit = 1u << connection_->info().receive_scale;
    const uint32_t edge = header.acknowledgment.get() + header.window.get() * unit;
    if (edge_known_ && tcp::seq_lt(edge + unit, edge_)) abort();
    edge_ = edge_known_ ? tcp::seq_max(edge, edge_) : edge;
    edge_known_ = true;
  }

  // The first byte of each stream follows its SYN. What we send is what the user gave.
  void watch_streams(rte_mbuf* packet, const packet::Tcp& header) {
    const bool syn = (header.flags & packet::Tcp::kSyn) != 0;
    if (syn) first_sent_ = header.sequence.get() + 1;
    // A peer whose SYN is held may begin anew with another number.
    if (syn && (header.flags & packet::Tcp::kAck) != 0) start_reading(header.acknowledgment.get());
    if (!reading_ && connection_ != nullptr && (header.flags & packet::Tcp::kAck) != 0 &&
        (header.flags & packet::Tcp::kRst) == 0 && !connection_->peer_closed()) {
      const auto received = static_cast<uint32_t>(connection_->info().bytes_received);
      start_reading(header.acknowledgment.get() - received);
    }
    check(packet, packet->l3_len + packet->l4_len,
          header.sequence.get() + (syn ? 1 : 0) - first_sent_);
  }

  void start_reading(uint32_t sequence) {
    reading_ = true;
    next_read_ = sequence;
  }

  void take(tcp::Connection& connection, uint32_t most) {
    const packet::Chain bytes = connection.receive(most);
    if (reading_) check(bytes.head(), 0, next_read_);
    next_read_ += bytes.size();
  }

  void begin() {
    ended_ = edge_known_ = reading_ = false;
    given_ = 0;
  }

  void connect(Reader& in) {
    if (connection_ != nullptr) return;
    tcp::Options options;
    options.mtu = static_cast<uint16_t>(576 + in.byte() * 8);
    options.keepalive_idle = std::chrono::seconds(in.byte() % 8);
    if ((settings_ & kAskForEcn) != 0) options.ecn = tcp::Ecn::active;
    begin();
    connection_ = engine_->connect(local_, remote_, this, options, now_);
  }

  void send(uint16_t bytes) {
    if (connection_ == nullptr || connection_->send_queued() > 60'000) return;
    packet::Chain chain;
    if (!chain.append_copy({stream_at(given_), bytes}, test::pools().small)) return;
    connection_->send(std::move(chain));
    given_ += bytes;
  }

  void receive(uint16_t most) {
    if (connection_ != nullptr) take(*connection_, most);
  }

  void end(uint8_t how) {
    if (connection_ == nullptr) return;
    if (connection_->held()) {
      if (how % 2 == 0) return connection_->complete_accept();
      connection_->refuse();
    } else {
      connection_->abort();
    }
    connection_ = nullptr;
  }

  void pass(uint16_t amount) {
    const timer::Instant end = now_ + std::chrono::milliseconds(amount);
    for (unsigned i = 0; i < 500 && engine_->next_deadline() <= end; ++i) {
      now_ = std::max(now_, engine_->next_deadline());
      engine_->advance(now_);
      engine_->flush(now_);
    }
    now_ = std::max(now_, end);
  }

  void icmp(Reader& in) {
    tcp::IcmpError error;
    error.tuple = {local_, remote_};
    error.type = static_cast<uint8_t>(in.byte() % 5);
    error.code = static_cast<uint8_t>(in.byte() % 16);
    error.mtu = in.word();
    error.sequence = sent_ - in.word();
    engine_->icmp_error(error, now_);
  }

  // Numbers near those that the engine expects, so that inputs get somewhere; options are raw.
  void segment(Reader& in) {
    const uint8_t flags = in.byte();
    const auto sequence = static_cast<int16_t>(in.word());
    const auto acknowledgment = static_cast<int8_t>(in.byte());
    const uint32_t acked = sent_ + static_cast<uint32_t>(acknowledgment * (in.byte() + 1));
    const uint16_t window = in.word();
    const uint8_t choice = in.byte();
    const unsigned options = choice % 11 * 4;
    const unsigned length = in.word() % 3000;
    const unsigned l3 = (settings_ & kIpv6) != 0 ? sizeof(packet::Ipv6) : sizeof(packet::Ipv4);
    const unsigned total = l3 + 20 + options + length;
    rte_mbuf* packet =
        rte_pktmbuf_alloc(total > packet::kSmallRoom ? test::pools().large : test::pools().small);
    if (packet == nullptr) return;
    auto* bytes =
        reinterpret_cast<uint8_t*>(rte_pktmbuf_append(packet, static_cast<uint16_t>(total)));
    std::memset(bytes, 0, total);
    const uint32_t start = expected_ + static_cast<uint32_t>(sequence);
    const uint32_t first = start + ((flags & packet::Tcp::kSyn) != 0 ? 1 : 0);
    std::memcpy(bytes + total - length, stream_at(first), length);
    write_ip(bytes, total, choice / 11 % 4);
    auto& tcp = *reinterpret_cast<packet::Tcp*>(bytes + l3);
    tcp.source_port.set(remote_.port);
    tcp.destination_port.set(local_.port);
    tcp.sequence.set(start);
    tcp.acknowledgment.set(acked);
    tcp.data_offset = static_cast<uint8_t>((20 + options) / 4 << 4);
    tcp.flags = flags;
    tcp.window.set(window);
    for (unsigned i = 0; i < options; ++i) bytes[l3 + 20 + i] = in.byte();
    packet->ol_flags = RTE_MBUF_F_RX_L4_CKSUM_GOOD | RTE_MBUF_F_RX_IP_CKSUM_GOOD;
    packet::Parsed parsed;
    if (!packet::parse(packet, parsed) && engine_->input(parsed, now_)) return;
    if (parsed.mbuf != nullptr && parsed.protocol == packet::kProtoTcp && parsed.l4_length != 0 &&
        stray(parsed, window)) {
      return;
    }
    rte_pktmbuf_free(packet);
  }

  void write_ip(uint8_t* bytes, unsigned total, unsigned ecn) const {
    if ((settings_ & kIpv6) != 0) {
      auto& ip = *reinterpret_cast<packet::Ipv6*>(bytes);
      ip.version_class_flow.set(6u << 28 | ecn << 20);
      ip.payload_length.set(static_cast<uint16_t>(total - sizeof ip));
      ip.next_header = packet::kProtoTcp;
      ip.hop_limit = 64;
      std::memcpy(ip.source, remote_.address.bytes().data(), 16);
      std::memcpy(ip.destination, local_.address.bytes().data(), 16);
      return;
    }
    auto& ip = *reinterpret_cast<packet::Ipv4*>(bytes);
    ip.version_ihl = 0x45;
    ip.tos = static_cast<uint8_t>(ecn);
    ip.total_length.set(static_cast<uint16_t>(total));
    ip.ttl = 64;
    ip.protocol = packet::kProtoTcp;
    ip.source = remote_.address.v4_wire();
    ip.destination = local_.address.v4_wire();
  }

  // A segment without connection, by a listener's rules. True: the mbuf was taken.
  bool stray(const packet::Parsed& parsed, uint16_t window) {
    const auto mode = window % 2 == 0 ? tcp::AcceptMode::now : tcp::AcceptMode::held;
    const auto cookie = engine_->cookie_tag(parsed, now_);
    const bool syn = (parsed.tcp()->flags & packet::Tcp::kSyn) != 0;
    if (connection_ != nullptr || (!syn && !cookie)) {
      engine_->send_reset(parsed, 0, now_);
      return false;
    }
    if (mode == tcp::AcceptMode::now && engine_->crowded(parsed)) {
      const tcp::Seq sequence = parsed.tcp()->sequence.get();
      if (engine_->send_cookie(parsed, tcp::Options(), window / 2 % 4, now_)) {
        expected_ = sequence + 1;
      }
      return true;
    }
    begin();
    connection_ = engine_->accept(parsed, this, tcp::Options(), now_, mode);
    if (connection_ == nullptr) return false;
    expected_ = parsed.tcp()->sequence.get() + (syn ? 1 : 0);
    start_reading(expected_);
    if (cookie) first_sent_ = parsed.tcp()->acknowledgment.get();
    return cookie && engine_->input(parsed, now_);
  }

  stats::ReasonCounters drops_;
  timer::Instant now_{std::chrono::hours(1)};
  packet::Endpoint local_{packet::IpAddress::v4(0x0a000002u), 80};
  packet::Endpoint remote_{packet::IpAddress::v4(0x0a000001u), 40'000};
  const uint8_t settings_;
  std::unique_ptr<tcp::Engine> engine_;
  tcp::Connection* connection_ = nullptr;
  bool ended_ = false;
  unsigned packets_ = 0;
  uint32_t sent_ = 0;               // what follows our last segment
  uint32_t expected_ = 0xfffff000;  // what we expect next
  uint32_t edge_ = 0;               // of the window that we offered
  uint32_t next_read_ = 0;          // the sequence number of what receive() gives next
  uint32_t first_sent_ = 0;         // the sequence number of the first byte of our stream
  uint32_t given_ = 0;              // bytes to send() in all
  bool reading_ = false;            // next_read_ is known
  bool edge_known_ = false;
};

}  // namespace

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  fuzz::start_eal();
  test::pools();
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const unsigned before = test::mbufs_in_use();
  {
    const std::unique_ptr<uint8_t[]> copy(new uint8_t[size]);
    std::copy_n(data, size, copy.get());
    Reader in(copy.get(), size);
    Peer peer(in.byte());
    for (unsigned i = 0; i < kMaxActs && !in.empty(); ++i) peer.act(in);
  }
  if (test::mbufs_in_use() != before) abort();
  return 0;
}
