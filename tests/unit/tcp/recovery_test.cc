// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// Loss, found and repaired: RFC 8985 (RACK-TLP), RFC 6675, RFC 6937 (PRR), RFC 2883, RFC 3522.
#include "sending.h"

namespace isthmus::tcp {
namespace {

using namespace std::chrono_literals;

class Recovery : public Sending {};

// A FIN takes no room of a segment's payload, so the whole last segment is probed with.
TEST_F(Recovery, Rfc8985ProbeRepeatsAFullSegmentWithItsFin) {
  open_after(20ms, sack_syn());
  send(1460);
  connection_->shutdown();
  flush();
  drain();
  EXPECT_LE(time_to_packet(), 50ms);
  expect("FA", 1, 1, 1460);
  in({.acknowledgment = 1462});
  EXPECT_EQ(connection_->info().timeouts, 0u);
  EXPECT_EQ(connection_->state(), State::fin_wait_2);
}

// The last two segments are lost. The probe's answer names the payload and not the FIN, which has
// no number to be named by before it is in order.
TEST_F(Recovery, Rfc8985TailOfTwoSegmentsNeedsNoTimeout) {
  open_after(20ms, sack_syn());
  send(2920);
  connection_->shutdown();
  flush();
  drain();
  EXPECT_LE(time_to_packet(), 50ms);
  expect("FA", 1461, 1, 1460);
  now_ += 20ms;
  in(sack(1, {{1461, 2921}}));
  expect("A", 1, 1, 1460);
  now_ += 20ms;
  in({.acknowledgment = 2922});
  EXPECT_EQ(connection_->info().timeouts, 0u);
  EXPECT_EQ(connection_->state(), State::fin_wait_2);
}

// A needless probe may have been a stall of the peer, no habit: it must not cost the whole timeout
// each time that a tail is lost from then on.
TEST_F(Recovery, Rfc8985ATimeoutThatAProbeHadSparedMakesProbesEarlyAgain) {
  open_after(20ms, sack_syn());
  send(1000);
  drain();
  EXPECT_LE(time_to_packet(), 60ms);
  expect("PA", 1, 1, 1000);
  in(sack(1001, {{1, 1001}}));  // both copies arrived

  send(1000);
  drain();
  EXPECT_GE(time_to_packet(), 200ms);
  EXPECT_EQ(connection_->info().timeouts, 1u);
  drain();
  in({.acknowledgment = 2001});

  send(1000);
  drain();
  EXPECT_LE(time_to_packet(), 60ms);
  expect("PA", 2001, 1, 1000);
  EXPECT_EQ(connection_->info().tail_probes, 2u);
  EXPECT_EQ(connection_->info().timeouts, 1u);
}

}  // namespace
}  // namespace isthmus::tcp
