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

}  // namespace
}  // namespace isthmus::tcp
