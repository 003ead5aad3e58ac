// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// Half-open handshakes and SYN cookies (RFC 4987).
#include "tcp/cookie.h"

#include <random>

#include "script.h"

namespace isthmus::tcp {
namespace {

using namespace std::chrono_literals;
using stats::Reason;

class Cookies : public Script {
 protected:
  Cookies() {
    config_.max_connections = 64;
    config_.max_half_open = 8;
    config_.max_half_open_per_source = 4;
    make_engine();
  }
  static In syn(const SegmentOptions& options = syn_options()) {
    return {.flags = "S", .sequence = 0, .acknowledgment = 0, .options = options};
  }
  static SegmentOptions everything() {
    SegmentOptions options = syn_options();
    options.has_timestamp = options.has_scale = options.sack_permitted = true;
    options.timestamp = 5000;
    options.scale = 9;
    return options;
  }
  // What a gateway does with a segment that belongs to no connection.
  void arrive(const In& in, AcceptMode mode = AcceptMode::now) {
    rte_mbuf* packet = segment(in);
    packet::Parsed view = parsed(packet);
    if (engine_->input(view, now_)) return flush();
    const bool is_syn = flags_of(in.flags) == packet::Tcp::kSyn;
    if (is_syn && mode == AcceptMode::now && engine_->crowded(view)) {
      engine_->send_cookie(view, options_, 2, now_);
      return;
    }
    tag_ = is_syn ? std::nullopt : engine_->cookie_tag(view, now_);
    if (is_syn || tag_) connection_ = engine_->accept(view, this, options_, now_, mode);
    if (is_syn || !tag_ || connection_ == nullptr || !engine_->input(view, now_)) {
      rte_pktmbuf_free(packet);
    }
    flush();
  }
  // From here on every SYN of this source gets a cookie.
  void crowd() {
    const packet::Endpoint mine = remote_;
    for (unsigned i = 0; i < config_.max_half_open; ++i) {
      remote_ = test::endpoint("10.0.0.7:1");
      remote_.port = static_cast<uint16_t>(1000 + i);
      if (i >= 4) remote_.address = test::endpoint("10.0.0.8:1").address;
      arrive(syn());
      EXPECT_EQ(out().flags, "SA");
    }
    remote_ = mine;
    EXPECT_EQ(engine_->connections(), config_.max_half_open);
  }

  std::optional<uint8_t> tag_;
};

TEST_F(Cookies, Rfc4987BeyondTheLimitASynCostsNoConnection) {
  crowd();
  const uint32_t before = engine_->connections();
  for (unsigned i = 0; i < 1000; ++i) {
    ++remote_.port;
    arrive(syn());
    EXPECT_EQ(out().flags, "SA");
  }
  EXPECT_EQ(engine_->connections(), before);
  EXPECT_EQ(engine_->stats().cookies_sent, 1000u);
}

TEST_F(Cookies, AcceptRefusesBeyondTheLimitButHoldsAsBefore) {
  crowd();
  rte_mbuf* packet = segment(syn());
  packet::Parsed view = parsed(packet);
  EXPECT_EQ(engine_->accept(view, this, options_, now_), nullptr);
  EXPECT_EQ(drops_.get(Reason::tcp_half_open_limit), 1u);
  Connection* held = engine_->accept(view, this, options_, now_, AcceptMode::held);
  EXPECT_NE(held, nullptr);
  rte_pktmbuf_free(packet);
}

TEST_F(Cookies, OneSourceDoesNotUseUpThePlacesOfAll) {
  for (unsigned i = 0; i < 20; ++i) {
    ++remote_.port;
    arrive(syn());
  }
  EXPECT_EQ(engine_->connections(), config_.max_half_open_per_source);
  EXPECT_EQ(engine_->stats().cookies_sent, 16u);
  remote_ = test::endpoint("10.0.0.9:1234");
  arrive(syn());
  EXPECT_EQ(engine_->connections(), config_.max_half_open_per_source + 1u);
  sent_.clear();
}

TEST_F(Cookies, PlacesComeBackHoweverAHandshakeEnds) {
  for (unsigned round = 0; round < 5; ++round) {
    // Completed, reset, aborted, given up, completed after it was held.
    for (unsigned end = 0; end < 5; ++end) {
      ++remote_.port;
      arrive(syn(), end == 4 ? AcceptMode::held : AcceptMode::now);
      ASSERT_NE(connection_, nullptr);
      Connection* opened = connection_;
      if (end == 4) {
        opened->complete_accept();
        flush();
      }
      if (end == 0 || end == 4) arrive({});
      if (end == 1) arrive({.flags = "R", .sequence = 1});
      if (end == 3) run(options_.handshake_timeout + 1s);
      if (end != 1 && end != 3) opened->abort();
      flush();
    }
  }
  EXPECT_EQ(engine_->stats().cookies_sent, 0u);
  EXPECT_EQ(engine_->connections(), 0u);
  sent_.clear();
}

TEST_F(Cookies, TheValidatedAckOpensTheConnectionWithEverythingThatWasOffered) {
  crowd();
  In first = syn(everything());
  first.flags = "SEC";
  // As arrive(), but for the flags: an ECN-setup SYN.
  rte_mbuf* packet = segment(first);
  packet::Parsed view = parsed(packet);
  ASSERT_TRUE(engine_->crowded(view));
  ASSERT_TRUE(engine_->send_cookie(view, options_, 3, now_));
  const Out answer = out();
  EXPECT_EQ(answer.flags, "SAE");
  EXPECT_TRUE(answer.options.has_scale);
  EXPECT_TRUE(answer.options.sack_permitted);
  EXPECT_EQ(answer.options.echo, 5000u);
  now_ += 3s;
  In ack{.window = 1000};
  ack.options.has_timestamp = true;
  ack.options.timestamp = 8000;
  ack.options.echo = answer.options.timestamp;
  arrive(ack);
  EXPECT_EQ(tag_, 3);
  ASSERT_NE(connection_, nullptr);
  EXPECT_EQ(take_events() & kConnected, kConnected);
  const Info info = connection_->info();
  EXPECT_EQ(info.state, State::established);
  EXPECT_EQ(info.send_scale, 9);
  EXPECT_EQ(info.receive_scale, answer.options.scale);
  EXPECT_EQ(info.send_mss, 1460 - 12);
  EXPECT_EQ(info.send_window, 1000u << 9);
  EXPECT_TRUE(info.sack);
  EXPECT_TRUE(info.timestamps);
  EXPECT_TRUE(info.ecn);
  EXPECT_EQ(info.rtt, 0u);
  // Its timestamps go on from the one that carried the options.
  send(100);
  const Out data = out();
  EXPECT_EQ(data.sequence, 1u);
  EXPECT_GE(static_cast<int32_t>(data.options.timestamp - answer.options.timestamp), 2900);
  EXPECT_EQ(data.options.echo, 8000u);
}

// An upload over a long path, read in the small bursts in which it comes.
TEST_F(Cookies, ReceiveBufferGrowsWhereNoRoundTripWasMeasured) {
  crowd();
  arrive(syn(everything()));
  In ack;
  ack.options.has_timestamp = true;
  ack.options.timestamp = 5000;
  ack.options.echo = out().options.timestamp;
  arrive(ack);
  ASSERT_NE(connection_, nullptr);
  uint32_t at = 1;
  for (unsigned round = 0; round < 12; ++round) {
    for (uint32_t left = connection_->info().receive_window / 1460; left != 0;) {
      for (unsigned i = 0; i < 32 && left != 0; ++i, --left, at += 1460) {
        put({.sequence = at, .length = 1460});
      }
      take();
      flush();
      run(400us);
    }
    run(50ms);
    sent_.clear();
  }
  EXPECT_EQ(connection_->info().rtt, 0u);
  EXPECT_GT(connection_->info().receive_window, 4 * config_.receive_buffer);
}

TEST_F(Cookies, WithoutTimestampsOnlyTheMssIsKnownAgain) {
  crowd();
  SegmentOptions offer = everything();
  offer.has_timestamp = false;
  offer.mss = 1400;
  arrive(syn(offer));
  const Out answer = out();
  EXPECT_EQ(answer.flags, "SA");
  EXPECT_FALSE(answer.options.has_scale);
  EXPECT_FALSE(answer.options.sack_permitted);
  arrive({.window = 1000});
  ASSERT_NE(connection_, nullptr);
  EXPECT_EQ(connection_->info().send_mss, 1400);
  EXPECT_EQ(connection_->info().send_window, 1000u);
  EXPECT_FALSE(connection_->info().sack);
}

TEST_F(Cookies, MssIsRoundedDownToTheTable) {
  crowd();
  const std::pair<uint16_t, uint16_t> rows[] = {{0, 536},     {1, 216},     {500, 216},
                                                {1219, 536},  {1380, 1360}, {1452, 1440},
                                                {1460, 1460}, {9000, 1460}};  // our own path: 1500
  for (const auto& [offered, expected] : rows) {
    ++remote_.port;
    arrive(syn(syn_options(offered)));
    sent_.clear();
    arrive({});
    ASSERT_NE(connection_, nullptr) << offered;
    EXPECT_EQ(connection_->info().send_mss, expected) << offered;
    connection_->abort();
    flush();
    sent_.clear();
  }
}

TEST_F(Cookies, DataWithTheAckIsTaken) {
  crowd();
  arrive(syn());
  sent_.clear();
  arrive({.flags = "PA", .length = 100});
  ASSERT_NE(connection_, nullptr);
  EXPECT_EQ(take(), test::pattern(100));
  expect("A", 1, 101);
}

TEST_F(Cookies, ACookieOfAnotherTupleOrNumberOrTimeOpensNothing) {
  crowd();
  arrive(syn());
  sent_.clear();
  connection_ = nullptr;
  arrive({.acknowledgment = 2});
  arrive({.acknowledgment = 1 + 8});  // another tag
  arrive({.sequence = 2});
  arrive({.flags = "RA"});
  arrive({.flags = "SA"});
  const packet::Endpoint mine = remote_;
  ++remote_.port;
  arrive({});
  remote_ = mine;
  now_ += 65s;
  arrive({});
  EXPECT_EQ(connection_, nullptr);
  EXPECT_EQ(engine_->stats().cookies_accepted, 0u);
}

TEST_F(Cookies, ACookieLivesAtLeast32Seconds) {
  crowd();
  for (unsigned i = 0; i < 40; ++i) {
    ++remote_.port;
    arrive(syn());
    sent_.clear();
    now_ += 31'999ms;
    arrive({});
    ASSERT_NE(connection_, nullptr) << i;
    connection_->abort();
    connection_ = nullptr;
    flush();
    sent_.clear();
    now_ += 777ms;
  }
}

TEST_F(Cookies, WhileNoneIsAboutNothingIsComputedForAStrayAck) {
  // The cookie is right, but this engine has made none: as after a restart.
  crowd();
  arrive(syn());
  sent_.clear();
  make_engine();
  connection_ = nullptr;
  arrive({});
  EXPECT_EQ(connection_, nullptr);
}

TEST_F(Cookies, Ipv6IsTheSame) {
  local_ = test::endpoint("[fd00::2]:80");
  remote_ = test::endpoint("[fd00::1]:40000");
  for (unsigned i = 0; i < 5; ++i) {
    ++remote_.port;
    arrive(syn(everything()));
  }
  EXPECT_EQ(engine_->stats().cookies_sent, 1u);
  In ack;
  ack.options.has_timestamp = true;
  ack.options.echo = sent_.back().options.timestamp;
  sent_.clear();
  arrive(ack);
  ASSERT_NE(connection_, nullptr);
  EXPECT_EQ(connection_->info().send_mss, 1440 - 12);
  EXPECT_EQ(connection_->info().send_scale, 9);
}

// Guessing: 26 bits stand against it, so of a million guesses none, or hardly one, is right.
TEST(CookieMaker, GuessesFail) {
  CookieMaker maker({1, 2});
  const uint32_t now = 1000;
  const packet::Tuple tuple{test::endpoint("10.0.0.1:1"), test::endpoint("10.0.0.2:2")};
  const Seq made = maker.make(tuple, 77, {.mss = 1460, .tag = 1}, now);
  ASSERT_TRUE(maker.read(tuple, 77, made, now).has_value());
  std::mt19937 random(1);
  unsigned right = 0;
  for (unsigned i = 0; i < 1'000'000; ++i) {
    right += maker.read(tuple, 77, static_cast<Seq>(random()), now) ? 1 : 0;
  }
  EXPECT_LE(right, 1u);
}

TEST(CookieMaker, TimestampIsNeverLaterThanNowAndHoldsTheOptions) {
  std::mt19937 random(2);
  for (unsigned i = 0; i < 10'000; ++i) {
    SegmentOptions syn;
    syn.has_timestamp = true;
    syn.has_scale = random() % 2 == 0;
    syn.scale = static_cast<uint8_t>(random() % 15);
    syn.sack_permitted = random() % 2 == 0;
    const bool ecn = random() % 2 == 0;
    const auto now = static_cast<uint32_t>(i < 100 ? i : random());
    SegmentOptions ack;
    ack.has_timestamp = true;
    ack.echo = cookie_timestamp(now, syn, ecn);
    ASSERT_LE(now - ack.echo, 64u);
    bool ecn_again = !ecn;
    const SegmentOptions again = cookie_options({.mss = 1460}, ack, ecn_again);
    ASSERT_EQ(again.has_scale, syn.has_scale);
    ASSERT_EQ(again.scale, syn.has_scale ? syn.scale : 0);
    ASSERT_EQ(again.sack_permitted, syn.sack_permitted);
    ASSERT_EQ(ecn_again, ecn);
  }
}

TEST_F(Cookies, Rfc4987AnAnswerTakesNoBufferButTheSyns) {
  crowd();
  rte_mbuf* packet = segment(syn(everything()));
  rte_mbuf* rest = rte_pktmbuf_alloc(test::pools().small);
  rte_pktmbuf_append(rest, 700);  // data on the SYN, which the peer will send again
  ASSERT_EQ(rte_pktmbuf_chain(packet, rest), 0);
  auto* ip = rte_pktmbuf_mtod(packet, packet::Ipv4*);
  ip->total_length.set(static_cast<uint16_t>(packet->pkt_len));
  packet->ol_flags = RTE_MBUF_F_RX_IP_CKSUM_GOOD | RTE_MBUF_F_RX_L4_CKSUM_GOOD;
  const packet::Parsed view = parsed(packet);
  ASSERT_EQ(view.payload_length, 700u);
  std::vector<rte_mbuf*> hoard;
  while (rte_mbuf* m = rte_pktmbuf_alloc(test::pools().small)) hoard.push_back(m);
  EXPECT_TRUE(engine_->send_cookie(view, options_, 0, now_));
  for (rte_mbuf* m : hoard) rte_pktmbuf_free(m);
  const Out answer = out();
  EXPECT_EQ(answer.flags, "SA");
  EXPECT_EQ(answer.length, 0u);
  EXPECT_EQ(answer.segments, 1);
  EXPECT_GE(answer.headroom, 64);
  EXPECT_EQ(answer.options.echo, 5000u);
}

// The epoch before the first has no key that anybody could know.
TEST(CookieMaker, Rfc4987NoneIsBelievedUnderAKeyOfZeros) {
  CookieMaker maker({0x123456789abcdef, 0xfedcba987654321});
  maker.make({test::endpoint("10.9.9.9:99"), test::endpoint("10.0.0.2:80")}, 1, {.mss = 1460}, 5);
  const packet::Tuple tuple{test::endpoint("192.0.2.1:1234"), test::endpoint("10.0.0.2:80")};
  for (uint32_t info = 0; info < 64; ++info) {
    const uint64_t code = packet::TupleMac(packet::SipKey{})(tuple, uint64_t{info} << 32 | 777u);
    const Seq forged = (static_cast<uint32_t>(code) & ~63u) | info;
    EXPECT_FALSE(maker.read(tuple, 777, forged, 5).has_value());
  }
}

}  // namespace
}  // namespace isthmus::tcp
