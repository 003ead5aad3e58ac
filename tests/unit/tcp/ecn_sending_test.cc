// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// RFC 3168: what a sender marks as ECN capable, and what it does about an echo.
#include "sending.h"

namespace isthmus::tcp {
namespace {

using namespace std::chrono_literals;

class EcnSending : public Sending {
 protected:
  void open_with_ecn() {
    options_.ecn = Ecn::active;
    connection_ = engine_->connect(local_, remote_, this, options_, now_);
    flush();
    ASSERT_EQ(out().flags, "SEC");
    now_ += 20ms;
    in({.flags = "SAE", .sequence = 0, .acknowledgment = 1, .options = sack_syn()});
    sent_.clear();
    take_events();
    ASSERT_TRUE(connection_->info().ecn);
  }
  uint32_t window() const { return connection_->info().congestion_window; }
};

TEST_F(EcnSending, Rfc3168NewDataIsEct0) {
  open_with_ecn();
  send(3000);
  const Out data = out();
  EXPECT_EQ(data.ecn, 2);
  EXPECT_EQ(data.flags, "PA");
}

TEST_F(EcnSending, Rfc3168WithoutAgreementNothingIsEct) {
  open_passive(sack_syn());
  send(3000);
  EXPECT_EQ(out().ecn, 0);
}

TEST_F(EcnSending, Rfc3168PureAcksAndProbesAndRetransmissionsAreNotEct) {
  open_with_ecn();
  in({.length = 100});
  run(100ms);
  EXPECT_EQ(out().ecn, 0);  // a pure ACK
  send(1000);
  sent_.clear();
  time_to_packet();
  EXPECT_EQ(out().ecn, 0);  // the tail loss probe
  time_to_packet();
  const Out again = out();
  EXPECT_EQ(again.sequence, 1u);
  EXPECT_EQ(again.ecn, 0);  // the timer's
  in({.sequence = 101, .acknowledgment = 1001, .window = 0});
  send(1000);
  sent_.clear();
  time_to_packet();
  EXPECT_EQ(out().ecn, 0);  // a window probe
}

TEST_F(EcnSending, Rfc3168AnEchoReducesTheWindowAsALossDoesAndCwrTells) {
  open_with_ecn();
  send(14'600);
  drain();
  const uint32_t before = window();
  now_ += 20ms;
  in({.flags = "AE", .acknowledgment = 2921});
  EXPECT_EQ(window(), before / 10 * 7);
  EXPECT_EQ(connection_->info().retransmissions, 0u);
  EXPECT_STREQ(connection_->info().congestion_state, "open");
  sent_.clear();
  in({.acknowledgment = 14'601});
  send(1000);
  EXPECT_EQ(out().flags, "PAC");
  send(1000);
  EXPECT_EQ(out().flags, "PA");  // once
}

TEST_F(EcnSending, Rfc3168OneReductionForEachWindow) {
  open_with_ecn();
  send(14'600);
  drain();
  now_ += 20ms;
  for (uint32_t acked = 1461; acked <= 14'601; acked += 1460) {
    in({.flags = "AE", .acknowledgment = acked});
  }
  EXPECT_EQ(window(), 10'220u);
  send(2920);
  EXPECT_EQ(out().flags, "PAC");
  // The peer has not had it yet: an echo that was under way.
  in({.flags = "AE", .acknowledgment = 14'601});
  EXPECT_EQ(window(), 10'220u);
  // It has, and goes on: there is congestion in this window too.
  now_ += 20ms;
  in({.flags = "AE", .acknowledgment = 14'601 + 2920});
  EXPECT_EQ(window(), 7154u);
}

TEST_F(EcnSending, Rfc3168AnEchoIsNoReasonToGrow) {
  open_with_ecn();
  send(14'600);
  drain();
  now_ += 20ms;
  in({.flags = "AE", .acknowledgment = 1461});
  const uint32_t reduced = window();
  in({.flags = "AE", .acknowledgment = 7301});
  EXPECT_EQ(window(), reduced);
  sent_.clear();
}

TEST_F(EcnSending, Rfc3168ALossIsToldByCwrToo) {
  open_with_ecn();
  send(14'600);
  drain();
  now_ += 20ms;
  in(sack(1, {{1461, 7301}}));
  const Out again = out();
  EXPECT_EQ(again.flags, "A");  // never on a retransmission
  EXPECT_EQ(again.ecn, 0);
  sent_.clear();
  in({.acknowledgment = 14'601});
  send(1000);
  EXPECT_EQ(out().flags, "PAC");
}

TEST_F(EcnSending, Rfc3168AnEchoWithoutAgreementIsIgnored) {
  open_passive(sack_syn());
  send(14'600);
  drain();
  in({.flags = "AE", .acknowledgment = 1461});
  EXPECT_GE(window(), 14'600u);
  sent_.clear();
}

}  // namespace
}  // namespace isthmus::tcp
