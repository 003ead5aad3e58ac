// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// What a connection says of itself on the console: figures, and why it isn't sending.
#include <gtest/gtest.h>
#include <vector>

#include <rte_mbuf.h>

#include "sending.h"

namespace isthmus::tcp {
namespace {

using namespace std::chrono_literals;

class TcpInfo : public Sending {};

TEST_F(TcpInfo, HandshakeIsTheLimitUntilEstablished) {
  connection_ = engine_->connect(local_, remote_, this, options_, now_);
  send(100);
  flush();
  EXPECT_EQ(connection_->info().limit, SendLimit::handshake);
  EXPECT_STREQ(connection_->info().timer, "retransmission");
  const Out syn = out();
  In answer{.flags = "SA", .sequence = 0, .acknowledgment = 1};
  answer.options = syn_options();
  answer.options.echo = syn.options.timestamp;
  in(answer);
  EXPECT_EQ(connection_->info().limit, SendLimit::application);
  sent_.clear();
}

TEST_F(TcpInfo, ApplicationIsTheLimitWhenAllIsSent) {
  open_passive();
  EXPECT_EQ(connection_->info().limit, SendLimit::application);
  send(1000);
  flush();
  drain();
  const Info info = connection_->info();
  EXPECT_EQ(info.limit, SendLimit::application);
  EXPECT_EQ(info.send_queued, 1000u);
  EXPECT_EQ(info.in_flight, 1000u);
  EXPECT_EQ(info.not_sent, 0u);
}

TEST_F(TcpInfo, ReceiveWindowIsTheLimitAndThePersistTimerRuns) {
  open_passive(syn_options(), 1000);
  send(5000);
  flush();
  drain();
  EXPECT_EQ(connection_->info().limit, SendLimit::receive_window);
  in({.acknowledgment = 1001, .window = 0});
  const Info info = connection_->info();
  EXPECT_EQ(info.limit, SendLimit::receive_window);
  EXPECT_EQ(info.send_window, 0u);
  EXPECT_EQ(info.not_sent, 4000u);
  EXPECT_STREQ(info.timer, "persist");
  EXPECT_GT(info.timer_due, 0u);
}

TEST_F(TcpInfo, CongestionWindowIsTheLimit) {
  open_passive();
  send(30'000);
  flush();
  EXPECT_EQ(drain(), 14'600u);
  const Info info = connection_->info();
  EXPECT_EQ(info.limit, SendLimit::congestion_window);
  EXPECT_EQ(info.not_sent, 30'000u - 14'600);
  EXPECT_EQ(info.slow_start_threshold, UINT32_MAX);
}

TEST_F(TcpInfo, NagleIsTheLimitOfAShortSegment) {
  options_.nagle = true;
  open_passive();
  send(100);
  flush();
  drain();
  send(100);
  flush();
  expect_none();
  EXPECT_EQ(connection_->info().limit, SendLimit::nagle);
  in({.acknowledgment = 101});
  EXPECT_EQ(connection_->info().limit, SendLimit::application);
  sent_.clear();
}

TEST_F(TcpInfo, BuffersAreTheLimitWhenAPoolIsEmpty) {
  open_passive();
  std::vector<rte_mbuf*> all;
  while (rte_mbuf* mbuf = rte_pktmbuf_alloc(test::pools().small)) all.push_back(mbuf);
  send(3000, 16'384);  // the payload is there, but no header is to be had
  EXPECT_EQ(connection_->info().limit, SendLimit::buffers);
  for (rte_mbuf* mbuf : all) rte_pktmbuf_free(mbuf);
  run(20ms);
  EXPECT_EQ(connection_->info().limit, SendLimit::application);
  sent_.clear();
}

TEST_F(TcpInfo, SackStateIsThatOfTheScoreboard) {
  open_after(40ms, sack_syn());
  send(14'600);
  drain();
  now_ += 40ms;
  in(sack(1, {{1 + 2 * 1460, 1 + 6 * 1460}}));
  const Info info = connection_->info();
  EXPECT_EQ(info.sacked, 4u * 1460);
  EXPECT_EQ(info.lost, 2u * 1460);
  EXPECT_EQ(info.sent_again, info.bytes_retransmitted);
  EXPECT_GT(info.records, 0u);
  EXPECT_STREQ(info.congestion_state, "recovery");
  EXPECT_EQ(info.rtt, 40'000u);
  EXPECT_EQ(info.min_rtt, 40'000u);
  EXPECT_FALSE(info.reordering_seen);
  sent_.clear();
}

TEST_F(TcpInfo, PathReceiverAndTimesAreTold) {
  open_passive(scaled_syn(7));
  in({.length = 100});
  in({.sequence = 201, .length = 100});
  in({.sequence = 401, .length = 100});
  const Info info = connection_->info(now_ + 3s);
  EXPECT_EQ(info.path_mtu, 1500);
  EXPECT_EQ(info.send_mss, 1460);
  EXPECT_EQ(info.send_scale, 7);
  EXPECT_EQ(info.receive_queued, 100u);
  EXPECT_EQ(info.out_of_order, 200u);
  EXPECT_EQ(info.runs, 2u);
  EXPECT_EQ(info.bytes_received, 100u);
  EXPECT_GE(info.receive_buffer, info.receive_window);
  EXPECT_GE(info.age, 3'000'000u);
  EXPECT_GE(info.since_received, 3'000'000u);
  sent_.clear();
}

TEST_F(TcpInfo, AConnectionIsFoundAtItsPlaceAsLongAsItLives) {
  open_passive();
  const uint32_t place = connection_->place();
  ASSERT_LT(place, engine_->places());
  EXPECT_EQ(engine_->at(place), connection_);
  uint32_t others = 0;
  for (uint32_t i = 0; i < engine_->places(); ++i) {
    others += i != place && engine_->at(i) != nullptr ? 1 : 0;
  }
  EXPECT_EQ(others, 0u);
  EXPECT_EQ(engine_->at(engine_->places()), nullptr);
  connection_->abort();
  EXPECT_EQ(engine_->at(place), nullptr);
  flush();
  sent_.clear();
}

}  // namespace
}  // namespace isthmus::tcp
