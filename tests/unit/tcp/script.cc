// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "script.h"

#include <algorithm>

#include "packet/parse.h"

namespace isthmus::tcp {
namespace {

constexpr std::string_view kLetters = "FSRPAUEC";

}  // namespace

uint8_t flags_of(std::string_view letters) {
  uint8_t flags = 0;
  for (const char letter : letters) {
    flags = static_cast<uint8_t>(flags | 1u << kLetters.find(letter));
  }
  return flags;
}

std::string letters_of(uint8_t flags) {
  std::string letters;
  for (const char letter : std::string_view("SFRPAUEC")) {
    if ((flags & (1u << kLetters.find(letter))) != 0) letters += letter;
  }
  return letters;
}

Script::Script() : mbufs_before_(0) {
  test::pools();
  mbufs_before_ = test::mbufs_in_use();
  config_.max_connections = 8;
  config_.max_time_wait = 4;
  config_.max_sent_records = 1024;
  config_.max_gaps = 256;
  config_.paced_rtt = std::chrono::hours(1);  // exchanges are shorter where a window leaves at once
  secrets_.sequence = {1, 2};
  secrets_.timestamp = {3, 4};
  secrets_.table = {5, 6};
  secrets_.random = {7, 8};
  secrets_.cookie = {9, 10};
  make_engine();
}

Script::~Script() {
  EXPECT_TRUE(engine_->consistent());
  engine_.reset();
  EXPECT_EQ(test::mbufs_in_use(), mbufs_before_) << "mbufs leaked";
}

void Script::make_engine() {
  engine_ = std::make_unique<Engine>(config_, test::pools(), *this, drops_, secrets_, now_);
}

void Script::transmit(rte_mbuf* packet, uint32_t path) {
  EXPECT_EQ(path, options_.path);
  const test::Bytes bytes = test::to_bytes(packet);
  const size_t l3 = packet->l3_len;
  const auto& tcp = *reinterpret_cast<const packet::Tcp*>(bytes.data() + l3);
  Out out;
  out.flags = letters_of(tcp.flags);
  if ((tcp.flags & packet::Tcp::kSyn) != 0) iss_ = tcp.sequence.get();
  out.sequence = tcp.sequence.get() - iss_;
  out.acknowledgment = (tcp.flags & packet::Tcp::kAck) != 0 ? tcp.acknowledgment.get() - irs_ : 0;
  out.window = tcp.window.get();
  const int traffic_class = l3 == 20 ? bytes[1] : (bytes[0] & 15) << 4 | bytes[1] >> 4;
  out.ecn = traffic_class & 3;
  out.dscp = static_cast<uint8_t>(traffic_class >> 2);
  out.ttl = l3 == 20 ? bytes[8] : bytes[7];
  out.ol_flags = packet->ol_flags;
  out.segment_size = packet->tso_segsz;
  out.headroom = rte_pktmbuf_headroom(packet);
  out.segments = packet->nb_segs;
  EXPECT_TRUE(parse_options({bytes.data() + l3 + 20, tcp.header_length() - 20},
                            (tcp.flags & packet::Tcp::kSyn) != 0, out.options));
  for (unsigned i = 0; i < out.options.sack_count; ++i) {
    out.options.sack[i].start -= irs_;
    out.options.sack[i].end -= irs_;
  }
  out.payload = test::slice(bytes, l3 + tcp.header_length(), bytes.size());
  out.length = static_cast<uint32_t>(out.payload.size());
  EXPECT_EQ(packet->l2_len, 0);
  EXPECT_EQ(packet->l4_len, tcp.header_length());
  sent_.push_back(std::move(out));
  rte_pktmbuf_free(packet);
}

void Script::on_tcp(Connection& connection, uint16_t events) {
  events_ |= events;
  if ((events & (kClosed | kFailed)) != 0) {
    failure_ = connection.failure();
    connection_ = nullptr;
  }
}

SegmentOptions Script::syn_options(uint16_t mss) {
  SegmentOptions options;
  options.has_mss = mss != 0;
  options.mss = mss;
  return options;
}

void Script::open_passive(const SegmentOptions& options, uint16_t window) {
  rte_mbuf* syn = segment(
      {.flags = "S", .sequence = 0, .acknowledgment = 0, .window = window, .options = options});
  packet::Parsed view = parsed(syn);
  connection_ = engine_->accept(view, this, options_, now_);
  rte_pktmbuf_free(syn);
  ASSERT_NE(connection_, nullptr);
  flush();
  const Out answer = out();
  ASSERT_EQ(answer.flags, "SA");
  In ack{.window = window};
  ack.options.has_timestamp = answer.options.has_timestamp;
  ack.options.timestamp = options.timestamp;
  ack.options.echo = answer.options.timestamp;
  ASSERT_TRUE(in(ack));
  ASSERT_EQ(take_events(), kConnected);
  ASSERT_EQ(connection_->state(), State::established);
  expect_none();
}

void Script::open_active(const SegmentOptions& options, uint16_t window) {
  connection_ = engine_->connect(local_, remote_, this, options_, now_);
  ASSERT_NE(connection_, nullptr);
  flush();
  const Out syn = out();
  ASSERT_EQ(syn.flags, "S");
  In answer{.flags = "SA", .sequence = 0, .acknowledgment = 1, .window = window};
  answer.options = options;
  answer.options.echo = syn.options.timestamp;
  ASSERT_TRUE(in(answer));
  ASSERT_EQ(take_events(), kConnected);
  expect("A", 1, 1);
}

rte_mbuf* Script::segment(const In& in) {
  test::TcpFields fields;
  fields.sequence = irs_ + in.sequence;
  fields.flags = flags_of(in.flags);
  fields.acknowledgment = (fields.flags & packet::Tcp::kAck) != 0 ? iss_ + in.acknowledgment : 0;
  fields.window = in.window;
  fields.options = in.raw_options;
  if (fields.options.empty()) {
    SegmentOptions absolute = in.options;
    for (unsigned i = 0; i < absolute.sack_count; ++i) {
      absolute.sack[i].start += iss_;
      absolute.sack[i].end += iss_;
    }
    uint8_t bytes[kMaxOptionBytes];
    const unsigned n = write_options(absolute, (fields.flags & packet::Tcp::kSyn) != 0, bytes);
    fields.options.assign(bytes, bytes + n);
  }
  return test::to_mbuf(
      test::tcp_packet({remote_, local_}, test::pattern(in.length, in.first_byte), fields));
}

packet::Parsed Script::parsed(rte_mbuf* packet) {
  packet::Parsed view;
  EXPECT_FALSE(packet::parse(packet, view).has_value());
  return view;
}

bool Script::put(const In& in) {
  rte_mbuf* packet = segment(in);
  packet::Parsed view = parsed(packet);
  view.ecn = in.ecn;
  const bool taken = engine_->input(view, now_);
  if (!taken) rte_pktmbuf_free(packet);
  return taken;
}

bool Script::in(const In& in) {
  const bool taken = put(in);
  flush();
  return taken;
}

void Script::run(timer::Duration duration) {
  const timer::Instant end = now_ + duration;
  while (engine_->next_deadline() <= end) {
    now_ = std::max(now_, engine_->next_deadline());
    engine_->advance(now_);
    flush();
  }
  now_ = end;
}

timer::Duration Script::time_to_packet(timer::Duration limit) {
  const timer::Instant start = now_;
  const size_t before = sent_.size();
  while (sent_.size() == before && engine_->next_deadline() <= start + limit) {
    now_ = std::max(now_, engine_->next_deadline());
    engine_->advance(now_);
    flush();
  }
  return now_ - start;
}

Out Script::out() {
  if (sent_.empty()) {
    ADD_FAILURE() << "no packet left";
    return {};
  }
  Out first = std::move(sent_.front());
  sent_.pop_front();
  return first;
}

void Script::expect(std::string_view flags, uint32_t sequence, uint32_t acknowledgment,
                    uint32_t length) {
  const Out packet = out();
  EXPECT_EQ(packet.flags, flags);
  EXPECT_EQ(packet.sequence, sequence);
  EXPECT_EQ(packet.acknowledgment, acknowledgment);
  EXPECT_EQ(packet.length, length);
}

void Script::expect_none() {
  for (const Out& packet : sent_) {
    ADD_FAILURE() << "unexpected " << packet.flags << " seq " << packet.sequence << " ack "
                  << packet.acknowledgment << " len " << packet.length;
  }
  sent_.clear();
}

void Script::send(uint32_t bytes, uint32_t buffer) {
  const test::Bytes all = test::pattern(bytes);
  packet::Chain chain;
  for (uint32_t done = 0; done < bytes;) {
    const uint32_t n = std::min(bytes - done, buffer);
    packet::Chain piece;
    ASSERT_TRUE(piece.append_copy(test::slice(all, done, done + n), n > packet::kSmallRoom
                                                                        ? test::pools().large
                                                                        : test::pools().small));
    chain.append(std::move(piece));
    done += n;
  }
  connection_->send(std::move(chain));
  flush();
}

uint16_t Script::take_events() {
  return std::exchange(events_, uint16_t{0});
}

test::Bytes Script::take(uint32_t max) {
  packet::Chain chain = connection_->receive(max);
  test::Bytes bytes(chain.size());
  chain.copy_out(0, bytes);
  return bytes;
}

}  // namespace isthmus::tcp
