// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// Whatever is refused is counted under one reason, once, and its record says the same.
#include "bench.h"

namespace isthmus::gateway {
namespace {

using packet::Tcp;
using stats::Reason;

class Reasons : public Bench {
 protected:
  void expect_refused_once(Reason reason) {
    const Sent refused = out();
    EXPECT_EQ(refused.tcp().flags, Tcp::kRst | Tcp::kAck);
    EXPECT_TRUE(nothing_out());
    EXPECT_EQ(count(reason), 1u);
    EXPECT_EQ(count_all(), 1u);
    const auto records = gateway_->records();
    ASSERT_EQ(records.size(), 1u);
    EXPECT_EQ(records[0].kind, flow::Kind::refused);
    EXPECT_EQ(records[0].reason, reason);
  }
  // As after a reload of a mesh that lost its identities.
  void forget_identities() {
    plan_ = gateway_->plan();
    plan_.identities.clear();
    gateway_->worker().publish(&plan_);
    ASSERT_TRUE(gateway_->poll(now_));
  }
  ~Reasons() override { gateway_.reset(); }  // before its plan

  Plan plan_;
};

TEST_F(Reasons, TunnelToAPodWithoutIdentity) {
  forget_identities();
  put(kNode, geneve(1000, inner(syn("10.3.0.1:40000", "10.2.0.1:15008"))));
  expect_refused_once(Reason::gateway_no_identity);
}

TEST_F(Reasons, FlowOfAPodWithoutIdentity) {
  forget_identities();
  put(kPod, syn("10.1.0.1:40000", "10.3.0.1:80"));
  expect_refused_once(Reason::gateway_no_identity);
}

TEST_F(Reasons, FullTableOfTunnelRequests) {
  make({.tune = [](WorkerConfig& config) { config.pool.waiters = 0; }});
  put(kPod, syn("10.1.0.1:40000", "10.3.0.1:80"));
  expect_refused_once(Reason::hbone_waiters_full);
}

TEST_F(Reasons, FullTableOfTransports) {
  make({.tune = [](WorkerConfig& config) { config.hbone.transports = 0; }});
  put(kNode, geneve(1000, inner(syn("10.3.0.1:40000", "10.2.0.1:15008"))));
  out();
  EXPECT_EQ(count(Reason::hbone_transports_full), 1u);
  EXPECT_EQ(count_all(), 1u);
  ASSERT_EQ(gateway_->records().size(), 1u);
  EXPECT_EQ(gateway_->records()[0].reason, Reason::hbone_transports_full);
}

TEST_F(Reasons, FullTableOfConnections) {
  make({.tune = [](WorkerConfig& config) { config.tcp.max_connections = 0; }});
  put(kNode, geneve(1000, inner(syn("10.3.0.1:40000", "10.2.0.1:15008"))));
  expect_refused_once(Reason::tcp_table_full);
}

TEST_F(Reasons, FullTableOfFlowsCountsARefusalOnce) {
  make({.tune = [](WorkerConfig& config) { config.flows = 0; }});
  // Refused for another reason: that there is no room for its record is none.
  put(kPod, syn("10.1.0.1:40000", "10.1.0.1:80"));
  const uint64_t first = count_all();
  EXPECT_LE(first, 1u);
  sent_.clear();
  put(kPod, syn("10.1.0.1:40001", "10.9.0.1:80"));
  EXPECT_EQ(count_all(), first + 1);
}

TEST_F(Reasons, RefusalOfTheUpstreamIsCountedOnce) {
  put(kPod, syn("10.1.0.1:40000", "10.9.0.1:80"));
  const Sent sent = out();
  const packet::Tuple upstream{
      {packet::IpAddress::v4(sent.ip().source), sent.tcp().source_port.get()},
      test::at("10.9.0.1:80")};
  put(kUnderlay,
      test::tcp_packet(upstream.reversed(), {},
                       {.sequence = 0, .acknowledgment = 1001, .flags = Tcp::kRst | Tcp::kAck}));
  EXPECT_EQ(out().interface, kPod);
  EXPECT_EQ(count(Reason::gateway_upstream_refused), 1u);
  EXPECT_EQ(count_all(), 1u);
}

}  // namespace
}  // namespace isthmus::gateway
