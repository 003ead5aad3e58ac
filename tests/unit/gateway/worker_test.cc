// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// A worker at its limits, and two of them sharing flows.
#include <vector>

#include "bench.h"
#include "packet/owner.h"
#include "support/pools.h"

namespace isthmus::gateway {
namespace {

using packet::Tcp;
using stats::Reason;

class WorkerTest : public Bench {
 protected:
  // A flow outside the mesh, translated; returns the tuple of its upstream leg.
  packet::Tuple open_plain(const char* from) {
    put(kPod, syn(from, "10.9.0.1:80"));
    const Sent sent = out();
    EXPECT_EQ(sent.interface, kUnderlay);
    EXPECT_EQ(sent.tcp().flags, Tcp::kSyn);
    return {{packet::IpAddress::v4(sent.ip().source), sent.tcp().source_port.get()},
            {packet::IpAddress::v4(sent.ip().destination), sent.tcp().destination_port.get()}};
  }
  static test::Bytes syn_ack(const packet::Tuple& upstream) {
    return test::tcp_packet(
        upstream.reversed(), {},
        {.sequence = 9000, .acknowledgment = 1001, .flags = Tcp::kSyn | Tcp::kAck});
  }
  // The flow still passes, both ways.
  void expect_passes(const packet::Tuple& upstream) {
    put(kUnderlay, syn_ack(upstream));
    EXPECT_EQ(out().interface, kPod);
    put(kPod, test::tcp_packet(test::tuple("10.1.0.1:40000", "10.9.0.1:80"), test::pattern(100),
                               {.sequence = 1001, .acknowledgment = 9001}));
    EXPECT_EQ(out().interface, kUnderlay);
  }
};

TEST_F(WorkerTest, FullFlowTableRefusesAndOthersGoOn) {
  make({.tune = [](WorkerConfig& config) { config.flows = 1; }});
  const packet::Tuple upstream = open_plain("10.1.0.1:40000");
  for (const char* to : {"10.9.0.1:81", "10.3.0.1:80", "10.3.0.1:81"}) {
    put(kPod, syn("10.1.0.1:40001", to));
    const Sent refused = out();
    EXPECT_EQ(refused.interface, kPod);
    EXPECT_EQ(refused.tcp().flags, Tcp::kRst | Tcp::kAck) << to;
  }
  EXPECT_EQ(count(Reason::gateway_flows_full), 3u);
  EXPECT_TRUE(nothing_out());
  expect_passes(upstream);
}

TEST_F(WorkerTest, FullTranslationTableRefusesAndOthersGoOn) {
  make({.tune = [](WorkerConfig& config) { config.nat.capacity = 1; }});
  const packet::Tuple upstream = open_plain("10.1.0.1:40000");
  put(kPod, syn("10.1.0.1:40001", "10.9.0.1:81"));
  EXPECT_EQ(out().tcp().flags, Tcp::kRst | Tcp::kAck);
  EXPECT_EQ(count(Reason::nat_table_full), 1u);
  EXPECT_EQ(gateway_->live_flows(), 1u);
  expect_passes(upstream);
}

TEST_F(WorkerTest, FullConnectionTableRefuses) {
  make({.tune = [](WorkerConfig& config) { config.tcp.max_connections = 2; }});
  put(kPod, syn("10.1.0.1:40000", "10.3.0.1:80"));  // held, with a dial under way: both places
  EXPECT_EQ(out().tcp().destination_port.get(), 15008);
  put(kPod, syn("10.1.0.1:40001", "10.3.0.1:80"));
  const Sent refused = out();
  EXPECT_EQ(refused.interface, kPod);
  EXPECT_EQ(refused.tcp().flags, Tcp::kRst | Tcp::kAck);
  EXPECT_EQ(count(Reason::tcp_table_full), 1u);
  EXPECT_EQ(gateway_->live_flows(), 1u);
}

TEST_F(WorkerTest, HeldSynsOfOnePodAreBoundedAndTheRestAcceptedAtOnce) {
  make({.tune = [](WorkerConfig& config) { config.outbound.held_per_pod = 2; }});
  for (const char* from : {"10.1.0.1:40000", "10.1.0.1:40001"}) put(kPod, syn(from, "10.3.0.1:80"));
  EXPECT_EQ(out().tcp().destination_port.get(), 15008);
  EXPECT_TRUE(nothing_out());  // no SYN-ACK
  put(kPod, syn("10.1.0.1:40002", "10.3.0.1:80"));
  EXPECT_EQ(out().tcp().flags, Tcp::kSyn | Tcp::kAck);
}

test::Bytes answer_to(const Sent& syn_ack, const char* from, const char* to) {
  return test::tcp_packet(
      test::tuple(from, to), {},
      {.sequence = 1001, .acknowledgment = syn_ack.tcp().sequence.get() + 1, .flags = Tcp::kAck});
}

TEST_F(WorkerTest, UpstreamOfAnEarlyAcceptIsTriedAfterTheClientsAck) {
  make({.tune = [](WorkerConfig& config) { config.outbound.held_per_pod = 0; }});
  put(kPod, syn("10.1.0.1:40000", "10.3.0.1:80"));
  const Sent syn_ack = out();
  EXPECT_EQ(syn_ack.tcp().flags, Tcp::kSyn | Tcp::kAck);
  EXPECT_TRUE(nothing_out());
  put(kPod, answer_to(syn_ack, "10.1.0.1:40000", "10.3.0.1:80"));
  EXPECT_EQ(out().tcp().destination_port.get(), 15008);
}

TEST_F(WorkerTest, UnderPressureACookieKeepsNothingAndItsAckOpensTheFlow) {
  make({.tune = [](WorkerConfig& config) {
    config.outbound.held_per_pod = 1;
    config.tcp.max_half_open = 1;
  }});
  put(kPod, syn("10.1.0.1:40000", "10.3.0.1:80"));  // held, and dialled
  EXPECT_EQ(out().tcp().destination_port.get(), 15008);
  put(kPod, syn("10.1.0.1:40001", "10.3.0.1:80"));  // early
  EXPECT_EQ(out().tcp().flags, Tcp::kSyn | Tcp::kAck);
  EXPECT_EQ(gateway_->live_flows(), 2u);
  Sent syn_ack;
  for (const char* from : {"10.1.0.1:40002", "10.1.0.1:40003", "10.1.0.1:40004"}) {
    put(kPod, syn(from, "10.3.0.1:80"));
    syn_ack = out();
    EXPECT_EQ(syn_ack.tcp().flags, Tcp::kSyn | Tcp::kAck);
  }
  EXPECT_EQ(gateway_->live_flows(), 2u);
  put(kPod, answer_to(syn_ack, "10.1.0.1:40004", "10.3.0.1:80"));
  EXPECT_TRUE(nothing_out());
  EXPECT_EQ(gateway_->live_flows(), 3u);
  EXPECT_EQ(gateway_->records().back().capture, capture::Class::outbound_15001);
  // Another's cookie is no cookie.
  put(kPod, answer_to(syn_ack, "10.1.0.1:40002", "10.3.0.1:80"));
  EXPECT_EQ(out().tcp().flags, Tcp::kRst);
  EXPECT_EQ(gateway_->live_flows(), 3u);
}

// Its SYN comes by Geneve, its ACK does not, and says nothing of the class by itself.
TEST_F(WorkerTest, CookieBringsTheClassBackToAnAckOutsideGeneve) {
  make({.tune = [](WorkerConfig& config) { config.tcp.max_half_open = 1; }});
  put(kNode, geneve(1000, inner(syn("10.3.0.1:40000", "10.2.0.1:15008"))));
  EXPECT_EQ(out().tcp().flags, Tcp::kSyn | Tcp::kAck);
  put(kNode, geneve(1000, inner(syn("10.3.0.1:40001", "10.2.0.1:15008"))));
  const Sent syn_ack = out();
  EXPECT_EQ(syn_ack.tcp().flags, Tcp::kSyn | Tcp::kAck);
  EXPECT_EQ(gateway_->live_flows(), 1u);
  put(kNode, answer_to(syn_ack, "10.3.0.1:40001", "10.2.0.1:15008"));
  EXPECT_EQ(gateway_->live_flows(), 2u);
  EXPECT_EQ(gateway_->records().back().kind, flow::Kind::tunnel);
  EXPECT_TRUE(nothing_out());
}

TEST_F(WorkerTest, RetransmittedSynStartsNoSecondAttempt) {
  put(kPod, syn("10.1.0.1:40000", "10.3.0.1:80"));
  out();
  put(kPod, syn("10.1.0.1:40000", "10.3.0.1:80"));
  EXPECT_TRUE(nothing_out());
  EXPECT_EQ(gateway_->worker().flows().opened(), 1u);
}

TEST_F(WorkerTest, EmptyMempoolsAreSurvived) {
  const packet::Tuple upstream = open_plain("10.1.0.1:40000");
  // Frames that are on their way already.
  rte_mbuf* answer = test::to_mbuf(frame(kUnderlay, syn_ack(upstream)));
  std::vector<rte_mbuf*> arriving;
  for (const test::Bytes& packet :
       {syn("10.1.0.1:40001", "10.3.0.1:80"), syn("10.1.0.1:40002", "10.9.0.1:80"),
        test::tcp_packet(test::tuple("10.1.0.1:1", "10.3.0.1:1")),
        test::udp_packet(test::tuple("10.1.0.1:1", "172.16.0.1:1")),
        test::icmp_packet(test::ip(kPodAddress), test::ip(kPodGateway), 8, 0, 1,
                          test::pattern(8))}) {
    arriving.push_back(test::to_mbuf(frame(kPod, packet)));
  }
  std::vector<rte_mbuf*> taken;
  for (rte_mempool* pool : {test::pools().small, test::pools().large, test::pools().clones}) {
    while (rte_mbuf* each = rte_pktmbuf_alloc(pool)) taken.push_back(each);
  }
  for (rte_mbuf* each : arriving) gateway_->deliver(0, kPod, each);
  ASSERT_TRUE(gateway_->poll(now_));
  sent_.clear();
  // What exists needs no buffer to go on.
  put_mbuf(kUnderlay, answer);
  EXPECT_EQ(out().interface, kPod);
  run(std::chrono::seconds(1));
  rte_pktmbuf_free_bulk(taken.data(), static_cast<unsigned>(taken.size()));
  sent_.clear();
  // And new flows are served again.
  put(kPod, syn("10.1.0.1:40003", "10.9.0.1:80"));
  EXPECT_EQ(out().interface, kUnderlay);
  run(std::chrono::seconds(20));
}

TEST_F(WorkerTest, PacketsGoToTheirOwnerWhereverTheyCome) {
  make({.workers = 2});
  const packet::IndirectionTable owners(2);
  const auto tuple = test::tuple("10.1.0.1:40000", "10.9.0.1:80");
  const unsigned owner = owners.owner(tuple);
  put(kPod, syn("10.1.0.1:40000", "10.9.0.1:80"), 1 - owner);
  EXPECT_EQ(gateway_->worker(1 - owner).counters().handed_over, 1u);
  EXPECT_EQ(gateway_->worker(owner).counters().taken_over, 1u);
  EXPECT_EQ(gateway_->worker(owner).flows().live(), 1u);
  const Sent sent = out();
  const packet::Tuple upstream{
      {packet::IpAddress::v4(sent.ip().source), sent.tcp().source_port.get()},
      test::at("10.9.0.1:80")};
  EXPECT_EQ(owners.owner(upstream.reversed()), owner);
  // And back, on the wrong worker too.
  put(kUnderlay, syn_ack(upstream), 1 - owner);
  EXPECT_EQ(out().interface, kPod);
}

TEST_F(WorkerTest, GeneveSynAndPlainRestMeetAtTheirOwner) {
  make({.workers = 2});
  const packet::IndirectionTable owners(2);
  const unsigned owner = owners.owner(test::tuple("10.2.0.1:40000", "10.9.0.1:80"));
  put(kNode, geneve(1001, inner(syn("10.2.0.1:40000", "10.9.0.1:80"))), 1 - owner);
  const Sent upstream = out();
  EXPECT_NE(upstream.tcp().source_port.get(), 40'000) << "a fresh port on a node port";
  const auto records = gateway_->records();
  ASSERT_EQ(records.size(), 1u);
  EXPECT_EQ(records[0].vni, 1001u);
  EXPECT_EQ(records[0].geneve_source, test::ip(kHost));
  // The rest of the flow comes plain.
  put(kNode, test::tcp_packet(test::tuple("10.2.0.1:40000", "10.9.0.1:80"), {}, {.sequence = 1001}),
      owner);
  EXPECT_EQ(out().tcp().source_port.get(), upstream.tcp().source_port.get());
}

TEST_F(WorkerTest, FullHandoffDropsAndCounts) {
  make({.workers = 2, .handoff_packets = 16});
  const unsigned owner =
      packet::IndirectionTable(2).owner(test::tuple("10.1.0.1:40000", "10.9.0.1:80"));
  for (int i = 0; i < 40; ++i) {
    gateway_->deliver(1 - owner, kPod,
                      test::to_mbuf(frame(kPod, syn("10.1.0.1:40000", "10.9.0.1:80"))));
  }
  // Only the receiving worker runs.
  gateway_->worker(1 - owner).poll(now_, test::kGatewayEpoch);
  EXPECT_EQ(count(Reason::gateway_handoff_full), 25u);
  EXPECT_EQ(gateway_->worker(1 - owner).counters().handed_over, 15u);
  EXPECT_TRUE(gateway_->worker(owner).has_pending());
  ASSERT_TRUE(gateway_->poll(now_));
}

TEST_F(WorkerTest, EveryWorkerHearsNeighbours) {
  make({.workers = 2});
  const packet::Arp arp = {packet::be16(1),
                           packet::be16(packet::Ethernet::kIpv4),
                           6,
                           4,
                           packet::be16(packet::Arp::kReply),
                           peer_mac(kUnderlay),
                           test::ip(kRouter).v4_wire(),
                           own_mac(kUnderlay),
                           test::ip("10.100.0.1").v4_wire()};
  const auto* bytes = reinterpret_cast<const uint8_t*>(&arp);
  put_frame(kUnderlay,
            test::ethernet_frame(own_mac(kUnderlay), peer_mac(kUnderlay), packet::Ethernet::kArp,
                                 test::Bytes(bytes, bytes + sizeof arp)));
  EXPECT_EQ(gateway_->worker(0).counters().handed_over, 1u);
  EXPECT_EQ(gateway_->worker(1).counters().taken_over, 1u);
}

struct Look final : Task {
  void run(Worker& worker) override { live = worker.flows().live(); }
  uint32_t live = UINT32_MAX;
};

TEST_F(WorkerTest, TasksRunBetweenBursts) {
  open_plain("10.1.0.1:40000");
  Look look;
  ASSERT_TRUE(gateway_->worker().post(&look));
  EXPECT_TRUE(gateway_->worker().has_pending());
  ASSERT_TRUE(gateway_->poll(now_));
  EXPECT_EQ(look.live, 1u);
  EXPECT_FALSE(gateway_->worker().has_pending());
}

TEST_F(WorkerTest, PublishedPlanIsTakenUpAndTheOldOneLetGo) {
  Plan next = gateway_->plan();
  next.routes = {};
  gateway_->worker().publish(&next);
  EXPECT_NE(gateway_->worker().plan_in_use(), &next);
  ASSERT_TRUE(gateway_->poll(now_));
  EXPECT_EQ(gateway_->worker().plan_in_use(), &next);
  put(kPod, test::udp_packet(test::tuple("10.1.0.1:53", "10.9.0.1:53")));
  EXPECT_EQ(count(Reason::ip_no_route), 1u);
  EXPECT_TRUE(nothing_out()) << "not even the way back is known";
  gateway_->worker().publish(&gateway_->plan());
  ASSERT_TRUE(gateway_->poll(now_));
}

}  // namespace
}  // namespace isthmus::gateway
