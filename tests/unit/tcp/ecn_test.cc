// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// RFC 3168: who may use ECN, and the receiver's echo.
#include "script.h"

namespace isthmus::tcp {
namespace {

using namespace std::chrono_literals;

class EcnReceiving : public Script {
 protected:
  // Its SYN is answered, and by what flags.
  std::string answer_to(std::string_view flags) {
    rte_mbuf* packet = segment({.flags = flags, .sequence = 0, .options = syn_options()});
    packet::Parsed view = parsed(packet);
    connection_ = engine_->accept(view, this, options_, now_);
    rte_pktmbuf_free(packet);
    flush();
    return out().flags;
  }
  void open_with_ecn() {
    ASSERT_EQ(answer_to("SEC"), "SAE");
    in({});
    take_events();
  }
};

TEST_F(EcnReceiving, Shld8Rfc3168AnEcnSetupSynIsAgreedTo) {
  EXPECT_EQ(answer_to("SEC"), "SAE");
  EXPECT_TRUE(connection_->info().ecn);
}

TEST_F(EcnReceiving, Rfc3168ASynWithoutBothFlagsIsNoOffer) {
  for (const auto* flags : {"S", "SE", "SC"}) {
    EXPECT_EQ(answer_to(flags), "SA") << flags;
    EXPECT_FALSE(connection_->info().ecn);
    connection_->abort();
    flush();
    sent_.clear();
  }
}

TEST_F(EcnReceiving, Rfc3168OffMeansOff) {
  options_.ecn = Ecn::off;
  EXPECT_EQ(answer_to("SEC"), "SA");
}

TEST_F(EcnReceiving, Rfc3168ARepeatedSynWithoutTheFlagsTakesTheOfferBack) {
  EXPECT_EQ(answer_to("SEC"), "SAE");
  in({.flags = "S", .sequence = 0, .options = syn_options()});
  EXPECT_EQ(out().flags, "SA");
  EXPECT_FALSE(connection_->info().ecn);
}

TEST_F(EcnReceiving, Rfc3168ConnectAsksWhereItIsToldTo) {
  connection_ = engine_->connect(local_, remote_, this, options_, now_);
  flush();
  EXPECT_EQ(out().flags, "S");
  connection_->abort();
  flush();
  options_.ecn = Ecn::active;
  connection_ = engine_->connect(local_, remote_, this, options_, now_);
  flush();
  EXPECT_EQ(out().flags, "SEC");
  in({.flags = "SAE", .sequence = 0, .options = syn_options()});
  EXPECT_TRUE(connection_->info().ecn);
  sent_.clear();
}

TEST_F(EcnReceiving, Rfc3168ASynAckThatReflectsBothFlagsIsNoAgreement) {
  options_.ecn = Ecn::active;
  for (const auto* flags : {"SA", "SAEC", "SAC"}) {
    connection_ = engine_->connect(local_, remote_, this, options_, now_);
    flush();
    sent_.clear();
    in({.flags = flags, .sequence = 0, .options = syn_options()});
    EXPECT_FALSE(connection_->info().ecn) << flags;
    connection_->abort();
    flush();
    sent_.clear();
  }
}

TEST_F(EcnReceiving, Rfc3168AnUnansweredSynIsRepeatedWithoutTheFlags) {
  options_.ecn = Ecn::active;
  connection_ = engine_->connect(local_, remote_, this, options_, now_);
  flush();
  EXPECT_EQ(out().flags, "SEC");
  time_to_packet();
  EXPECT_EQ(out().flags, "S");
  // The answer to the first comes late: one SYN without the flags forbids their use.
  in({.flags = "SAE", .sequence = 0, .options = syn_options()});
  EXPECT_FALSE(connection_->info().ecn);
  sent_.clear();
}

TEST_F(EcnReceiving, Rfc3168CongestionIsEchoedUntilTheSenderHasReduced) {
  open_with_ecn();
  in({.length = 1460, .ecn = kEcnCongestion});
  EXPECT_EQ(out().flags, "AE");
  in({.sequence = 1461, .length = 1460, .ecn = kEcnCapable});
  EXPECT_EQ(out().flags, "AE");
  send(10);
  EXPECT_EQ(out().flags, "PAE");
  in({.flags = "AC", .sequence = 2921, .acknowledgment = 11, .length = 1460, .ecn = kEcnCapable});
  EXPECT_EQ(out().flags, "A");
  // Reduced, and marked again.
  in({.flags = "AC",
      .sequence = 4381,
      .acknowledgment = 11,
      .length = 1460,
      .ecn = kEcnCongestion});
  EXPECT_EQ(out().flags, "AE");
}

TEST_F(EcnReceiving, Rfc3168MarksOutsideTheWindowAreNotBelieved) {
  open_with_ecn();
  in({.length = 1460, .ecn = kEcnCapable});
  sent_.clear();
  in({.length = 1460, .ecn = kEcnCongestion});  // received before
  EXPECT_EQ(out().flags, "A");
  in({.sequence = 0x40000000, .length = 1460, .ecn = kEcnCongestion});
  EXPECT_EQ(out().flags, "A");
  in({.sequence = 1461, .ecn = kEcnCongestion});  // no data
  in({.sequence = 1461, .length = 1460, .ecn = kEcnCapable});
  EXPECT_EQ(out().flags, "A");
}

TEST_F(EcnReceiving, Rfc3168WithoutAgreementMarksMeanNothing) {
  open_passive();
  in({.length = 1460, .ecn = kEcnCongestion});
  expect("A", 1, 1461);
}

TEST_F(EcnReceiving, Rfc3168ControlPacketsAreNotMarkable) {
  open_with_ecn();
  in({.length = 1460, .ecn = kEcnCapable});
  EXPECT_EQ(out().ecn, kEcnNot);
  connection_->abort();
  flush();
  EXPECT_EQ(out().ecn, kEcnNot);
}

}  // namespace
}  // namespace isthmus::tcp
