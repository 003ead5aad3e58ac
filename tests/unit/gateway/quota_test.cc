// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// What one workload may have of a worker: more is refused at once, for a reason that is told, and
// no other workload feels it.
#include "bench.h"
#include "gateway/quotas.h"

namespace isthmus::gateway {
namespace {

using packet::Tcp;
using stats::Reason;

class Quota : public Bench {
 protected:
  void expect_refused(Reason reason, uint64_t times = 1) {
    const Sent refused = out();
    EXPECT_EQ(refused.tcp().flags, Tcp::kRst | Tcp::kAck);
    EXPECT_TRUE(nothing_out());
    EXPECT_EQ(count(reason), times);
    EXPECT_EQ(count_all(), times);
    const auto records = gateway_->records();
    ASSERT_FALSE(records.empty());
    const auto told = std::count_if(records.begin(), records.end(), [&](const auto& record) {
      return record.kind == flow::Kind::refused && record.state == flow::State::closed &&
             record.reason == reason;
    });
    EXPECT_EQ(static_cast<uint64_t>(told), times);
  }
  // Of the other pod, behind the node port.
  test::Bytes others_syn(const char* to) { return geneve(1001, inner(syn("10.2.0.1:40000", to))); }
};

TEST_F(Quota, FlowsOfAWorkloadAreBoundedAndOthersGoOn) {
  make({.tune = [](WorkerConfig& config) { config.quotas.flows = 2; }});
  for (const char* to : {"10.9.0.1:80", "10.3.0.1:80"}) {  // translated, and by a tunnel
    put(kPod, syn("10.1.0.1:40000", to));
    EXPECT_EQ(out().interface, kUnderlay);
  }
  put(kPod, syn("10.1.0.1:40001", "10.9.0.1:81"));
  expect_refused(Reason::gateway_workload_flows);
  put(kPod, syn("10.1.0.1:40001", "10.3.0.1:81"));
  expect_refused(Reason::gateway_workload_flows, 2);
  put(kNode, others_syn("10.9.0.1:80"));
  EXPECT_EQ(out().tcp().flags, Tcp::kSyn);
}

TEST_F(Quota, AFlowThatIsOverMakesRoom) {
  make({.tune = [](WorkerConfig& config) { config.quotas.flows = 1; }});
  put(kPod, syn("10.1.0.1:40000", "10.9.0.1:80"));
  EXPECT_EQ(out().interface, kUnderlay);
  run(std::chrono::seconds(40));
  EXPECT_EQ(gateway_->live_flows(), 0u);
  put(kPod, syn("10.1.0.1:40001", "10.9.0.1:80"));
  EXPECT_EQ(out().interface, kUnderlay);
}

TEST_F(Quota, FlowsToAWorkloadAreBoundedApartFromItsOwn) {
  make({.tune = [](WorkerConfig& config) { config.quotas.flows = 1; }});
  put(kNode, geneve(1000, inner(syn("10.3.0.1:40001", "10.2.0.1:80"))));
  EXPECT_EQ(out().tcp().flags, Tcp::kSyn);
  put(kNode, geneve(1000, inner(syn("10.3.0.1:40002", "10.2.0.1:80"))));
  expect_refused(Reason::gateway_workload_flows);
  put(kNode, others_syn("10.9.0.1:80"));
  EXPECT_EQ(out().tcp().flags, Tcp::kSyn);
}

TEST_F(Quota, TunnelsThatWaitToBeOpenAreBoundedAndOthersGoOn) {
  make({.tune = [](WorkerConfig& config) { config.quotas.pending_tunnels = 1; }});
  put(kPod, syn("10.1.0.1:40000", "10.3.0.1:80"));
  EXPECT_EQ(out().tcp().destination_port.get(), 15008);
  put(kPod, syn("10.1.0.1:40001", "10.3.0.1:80"));
  expect_refused(Reason::gateway_workload_pending);
  put(kNode, others_syn("10.3.0.1:80"));
  EXPECT_EQ(out().tcp().destination_port.get(), 15008);
}

TEST_F(Quota, ATunnelThatIsGivenUpMakesRoom) {
  make({.tune = [](WorkerConfig& config) { config.quotas.pending_tunnels = 1; }});
  put(kPod, syn("10.1.0.1:40000", "10.3.0.1:80"));
  const Sent dialled = out();
  put(kUnderlay,
      test::tcp_packet(packet::Tuple{{packet::IpAddress::v4(dialled.ip().source),
                                      dialled.tcp().source_port.get()},
                                     {packet::IpAddress::v4(dialled.ip().destination), 15008}}
                           .reversed(),
                       {},
                       {.sequence = 0,
                        .acknowledgment = dialled.tcp().sequence.get() + 1,
                        .flags = Tcp::kRst | Tcp::kAck}));
  EXPECT_EQ(out().tcp().flags, Tcp::kRst | Tcp::kAck);
  put(kPod, syn("10.1.0.1:40001", "10.3.0.1:80"));
  EXPECT_EQ(out().tcp().destination_port.get(), 15008);
}

TEST_F(Quota, WhoWasAcceptedEarlyIsResetWhenTooManyTunnelsWait) {
  make({.tune = [](WorkerConfig& config) {
    config.quotas.pending_tunnels = 1;
    config.outbound.held_per_pod = 1;
  }});
  put(kPod, syn("10.1.0.1:40000", "10.3.0.1:80"));
  EXPECT_EQ(out().tcp().destination_port.get(), 15008);
  put(kPod, syn("10.1.0.1:40001", "10.3.0.1:80"));
  const Sent syn_ack = out();
  EXPECT_EQ(syn_ack.tcp().flags, Tcp::kSyn | Tcp::kAck);
  put(kPod, test::tcp_packet(test::tuple("10.1.0.1:40001", "10.3.0.1:80"), {},
                             {.sequence = 1001,
                              .acknowledgment = syn_ack.tcp().sequence.get() + 1,
                              .flags = Tcp::kAck}));
  EXPECT_NE(out().tcp().flags & Tcp::kRst, 0);
  EXPECT_EQ(count(Reason::gateway_workload_pending), 1u);
}

TEST_F(Quota, RelayedFlowsOfAPodLeaveRoomForOthersAndForTranslatedOnes) {
  make({.tune = [](WorkerConfig& config) { config.quotas.relayed = 4; }});
  for (const char* from : {"10.1.0.1:40000", "10.1.0.1:40001", "10.1.0.1:40002"}) {
    put(kPod, syn(from, "10.3.0.1:80"));
  }
  EXPECT_EQ(out().tcp().destination_port.get(), 15008);
  EXPECT_TRUE(nothing_out());
  put(kPod, syn("10.1.0.1:40003", "10.3.0.1:80"));
  expect_refused(Reason::gateway_workload_relayed);
  put(kPod, syn("10.1.0.1:40004", "10.9.0.1:80"));
  EXPECT_EQ(out().tcp().flags, Tcp::kSyn);
  put(kNode, others_syn("10.3.0.1:80"));
  EXPECT_EQ(out().tcp().destination_port.get(), 15008);
}

TEST_F(Quota, WhoHasNotProvedWhoItIsTakesNothingFromAWorkloadOrClient) {
  make({.tune = [](WorkerConfig& config) {
    config.quotas.transports = 2;
    config.quotas.flows = 1;
  }});
  for (const char* from : {"10.3.0.1:1", "10.3.0.1:2", "10.3.0.1:3", "10.3.0.1:4"}) {
    put(kNode, geneve(1000, inner(syn(from, "10.2.0.1:15008"))));
    EXPECT_EQ(out().tcp().flags, Tcp::kSyn | Tcp::kAck);
  }
  EXPECT_EQ(gateway_->worker().hbone().transports(), 4u);
  const auto has_nothing = [](const auto& party) {
    EXPECT_EQ(party.strangers, 4u);
    EXPECT_EQ(party.flows + party.transports, 0u);
  };
  gateway_->worker().quotas().for_each(has_nothing);
  gateway_->worker().quotas().for_each_client(has_nothing);
  put(kNode, geneve(1000, inner(syn("10.3.0.1:40002", "10.2.0.1:80"))));
  EXPECT_EQ(out().tcp().flags, Tcp::kSyn);
}

TEST(Places, AWorkloadLeavesAQuarterAndAClientHalfOfWhatTheOthersLeave) {
  constexpr uint32_t kSize = 7000;
  for (const auto whom : {Places::Of::workload, Places::Of::client}) {
    const double part = 1 - 1.0 / static_cast<uint8_t>(whom);
    for (const uint32_t many : {1u, 2u, 5u, 50u}) {
      Places places(kSize);
      std::vector<uint32_t> has(many);
      uint32_t taken = 0;
      for (bool more = true; more;) {
        more = false;
        for (uint32_t& mine : has) {
          if (mine >= places.limit(mine, whom)) continue;
          places.take();
          ++mine;
          ++taken;
          more = true;
        }
      }
      const double fair = part * kSize / (1 - part + part * many);
      for (const uint32_t mine : has) EXPECT_NEAR(mine, fair, 2) << many;
      EXPECT_LT(taken, kSize) << many;
      EXPECT_GE(places.limit(0, whom), part * (kSize - taken)) << many << ": of whoever is next";
    }
  }
}

TEST(Places, WhoComesWhenThereIsNothingLeftIsNotBlamed) {
  Places places(2);
  places.take();
  places.take();
  EXPECT_EQ(places.limit(0, Places::Of::client), 1u);
}

flow::Record inbound(flow::Kind kind, const std::string& from, const std::string& to) {
  flow::Record record;
  record.kind = kind;
  record.capture = capture::Class::inbound_hbone_15008;
  record.client = {test::at(from + ":1"), test::at(to + ":15008")};
  return record;
}

// The client's connections are to a pod each, and each carries many streams.
TEST(Quotas, AClientOfManyWorkloadsIsBoundedAsOneAndItsPlacesComeBack) {
  Quotas quotas({.relayed = 8, .transports = 8}, {1, 2});
  const char* greedy = "10.3.0.1";
  std::vector<flow::Record> records;
  for (unsigned i = 1; i <= 4; ++i) {
    for (const auto kind : {flow::Kind::tunnel, flow::Kind::inbound_stream}) {
      auto& record = records.emplace_back(inbound(kind, greedy, "10.2.0." + std::to_string(i)));
      ASSERT_FALSE(quotas.admit(record)) << i;
      if (kind == flow::Kind::tunnel) {
        ASSERT_FALSE(quotas.hold_transport(record)) << i;
      }
    }
  }
  auto refused = inbound(flow::Kind::inbound_stream, greedy, "10.2.0.9");
  EXPECT_EQ(*quotas.admit(refused), Reason::gateway_client_relayed);
  refused = inbound(flow::Kind::tunnel, greedy, "10.2.0.9");
  EXPECT_EQ(*quotas.admit(refused), Reason::gateway_client_transports);
  quotas.release(refused);  // which has nothing
  for (const auto kind : {flow::Kind::tunnel, flow::Kind::inbound_stream}) {
    auto& record = records.emplace_back(inbound(kind, "10.3.0.2", "10.2.0.1"));
    EXPECT_FALSE(quotas.admit(record));
    if (kind == flow::Kind::tunnel) {
      EXPECT_FALSE(quotas.hold_transport(record));
    }
  }
  // Admitted together, one proves who it is when the places are gone.
  quotas.release(records[0]);
  flow::Record late[] = {inbound(flow::Kind::tunnel, greedy, "10.2.0.7"),
                         inbound(flow::Kind::tunnel, greedy, "10.2.0.8")};
  unsigned proven = 0;
  for (auto& record : late) EXPECT_FALSE(quotas.admit(record));
  for (auto& record : late) proven += quotas.hold_transport(record) ? 0 : 1;
  EXPECT_EQ(proven, 1u);
  for (auto& record : late) quotas.release(record);
  for (auto& record : records) quotas.release(record);
  unsigned left = 0;
  quotas.for_each([&](const auto&) { ++left; });
  quotas.for_each_client([&](const auto&) { ++left; });
  EXPECT_EQ(left, 0u);
  EXPECT_EQ(quotas.relayed_limit(Quotas::Account()), 6u) << "of 8";
  EXPECT_EQ(quotas.transports_limit(Quotas::Account()), 6u) << "of 8";
}

// One client that has all it can get of one workload.
TEST(Quotas, AClientLeavesOthersAndTheWorkloadItselfSomeOfThePlaces) {
  Quotas quotas({.flows = 8, .relayed = 8, .transports = 8}, {1, 2});
  const char* pod = "10.2.0.1";
  std::vector<flow::Record> records;
  for (const auto kind : {flow::Kind::tunnel, flow::Kind::inbound_stream}) {
    for (unsigned i = 0; i < 4; ++i) {
      auto& record = records.emplace_back(inbound(kind, "10.3.0.1", pod));
      ASSERT_FALSE(quotas.admit(record)) << i;
      if (kind == flow::Kind::tunnel) {
        ASSERT_FALSE(quotas.hold_transport(record)) << i;
      }
    }
  }
  auto refused = inbound(flow::Kind::tunnel, "10.3.0.1", pod);
  EXPECT_EQ(*quotas.admit(refused), Reason::gateway_client_transports);
  auto& other = records.emplace_back(inbound(flow::Kind::tunnel, "10.3.0.2", pod));
  EXPECT_FALSE(quotas.admit(other));
  EXPECT_EQ(*quotas.hold_transport(other), Reason::gateway_workload_flows) << "of those to it";
  quotas.release(records[7]);
  EXPECT_FALSE(quotas.hold_transport(other));
  // And the pod's own ways out.
  uint32_t account = 0;
  EXPECT_FALSE(quotas.begin_dial(test::ip(pod), account));
  flow::Record out;
  out.kind = flow::Kind::outbound_hbone;
  out.capture = capture::Class::outbound_15001;
  out.client.source = test::at(std::string(pod) + ":1");
  EXPECT_FALSE(quotas.admit(out));
  EXPECT_FALSE(quotas.begin_tunnel(quotas.of(out)));
  quotas.end_tunnel(quotas.of(out));
  quotas.end_dial(account);
  for (auto& record : records) quotas.release(record);
  quotas.release(out);
  quotas.for_each([](const auto& left) { ADD_FAILURE() << left.address.to_string(); });
  quotas.for_each_client([](const auto& left) { ADD_FAILURE() << left.address.to_string(); });
}

// Its connections to others outlive its flows, in the pool.
TEST(Quotas, AnAccountIsKeptForWhatTheWorkloadDialled) {
  Quotas quotas({.workloads = 1, .transports = 4}, {1, 2});
  const packet::IpAddress pod = test::ip("10.1.0.1");
  uint32_t account = 0;
  for (unsigned i = 0; i < 3; ++i) ASSERT_FALSE(quotas.begin_dial(pod, account));
  flow::Record record;
  record.kind = flow::Kind::outbound_hbone;
  record.capture = capture::Class::outbound_15001;
  record.client.source = {pod, 1};
  EXPECT_FALSE(quotas.admit(record));
  quotas.release(record);
  uint32_t none = 0;
  EXPECT_EQ(*quotas.begin_dial(pod, none), Reason::gateway_workload_transports);
  for (unsigned i = 0; i < 3; ++i) quotas.end_dial(account);
  quotas.for_each([](const auto& left) { ADD_FAILURE() << left.address.to_string(); });
}

TEST(Quotas, WorkloadsBeyondTheTableShareAnAccount) {
  Quotas quotas({.flows = 2, .workloads = 2}, {1, 2});
  flow::Record records[6];
  const char* from[] = {"10.0.0.1:1", "10.0.0.2:1", "10.0.0.3:1",
                        "10.0.0.4:1", "10.0.0.5:1", "10.0.0.1:2"};
  for (unsigned i = 0; i < 6; ++i) {
    records[i].capture = capture::Class::outbound_15001;
    records[i].client.source = test::at(from[i]);
  }
  for (unsigned i = 0; i < 4; ++i) EXPECT_FALSE(quotas.admit(records[i])) << i;
  EXPECT_EQ(*quotas.admit(records[4]), Reason::gateway_workload_flows) << "shared, and full";
  EXPECT_FALSE(quotas.admit(records[5])) << "its own";
  EXPECT_EQ(&quotas.of(records[5]), &quotas.of(records[0]));
  EXPECT_EQ(&quotas.of(records[2]), &quotas.of(records[3]));
  quotas.release(records[1]);
  EXPECT_FALSE(quotas.admit(records[4])) << "an account is free";
  for (flow::Record& record : records) quotas.release(record);
  unsigned left = 0;
  quotas.for_each([&](const auto&) { ++left; });
  EXPECT_EQ(left, 0u);
}

}  // namespace
}  // namespace isthmus::gateway
