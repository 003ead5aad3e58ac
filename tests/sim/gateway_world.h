// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// Two whole gateways with their pods, a network between them that misbehaves by a seed, and
// applications that know every byte they are to get.
//
//   a1 a2 -- gateway A --- link --- gateway B -- b1 b2          pod + underlay
//                    \           /
//                     \-outside-/
//
// or with gateway B one-armed, beside a node's kernel that redirects to it as Istio 1.18 does:
//
//   ... link --- kernel B -- b1 b2
//                  |
//               gateway B
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "sim/gateway_kernel.h"
#include "sim/gateway_station.h"
#include "sim/gateway_wire.h"
#include "sim/link.h"
#include "sim/scheduler.h"
#include "sim/tcp_host.h"
#include "support/gateway_node.h"

namespace isthmus::sim {

enum Place : uint8_t { kA1, kA2, kB1, kB2, kOutside, kPlaces };

// What must become of a flow.
enum class Fate : uint8_t {
  served,   // connected; every byte, unless somebody aborts
  refused,  // by the server: the client's connect fails
  silent,   // the server never answers: the client is told so after the time limit
  denied,   // by policy: the client's connect fails
};

struct FlowPlan {
  Place client = kA1;
  Place server = kB1;
  Fate fate = Fate::served;
  Behaviour user[2];  // 0: client, 1: server
  timer::Duration start{};
};

// What a promise is tested with.
struct Shape {
  unsigned workers;  // of each gateway
  bool kernel;
};
inline constexpr Shape kShapes[] = {{1, false}, {2, false}, {1, true}, {2, true}};
// For gtest's names.
template <typename Info>
std::string shape_name(const Info& info) {
  return std::string(info.param.kernel ? "OneArmed" : "PodUnderlay") +
         (info.param.workers == 1 ? "1" : "2");
}

struct GatewayScenario {
  uint64_t seed = 1;
  unsigned workers = 1;  // of each gateway
  proxy::Profile profile = proxy::Profile::v1_18;
  LinkModel link;  // between the nodes, both directions
  bool kernel = false;
  timer::Duration forget_at{};  // the kernel's conntrack is flushed then; zero: never
  bool forget_for_good = false;
  bool offload = false;  // pod interfaces and underlays take checksums and segmentation
  std::vector<FlowPlan> flows;
  std::function<void(gateway::WorkerConfig&)> tune;
};

// Everything that a seed decides.
GatewayScenario random_gateways(uint64_t seed);
std::string describe(const GatewayScenario& scenario);

class World {
 public:
  explicit World(const GatewayScenario& scenario);
  ~World();
  World(const World&) = delete;
  World& operator=(const World&) = delete;

  // To the end of every flow, then until nothing is left of them. Empty when everything that was
  // promised held; else what did not, with the seed.
  std::string finish();
  // Lets time pass; false when something went wrong.
  bool run_for(timer::Duration time);
  bool run_until(const std::function<bool()>& done);

  Scheduler& scheduler() { return scheduler_; }
  Link& link() { return link_; }
  test::GatewayNode& gateway(int side) { return *sides_[side].gateway; }
  NodeKernel& kernel() { return *kernel_; }
  Station& station(Place place) { return *stations_[place]; }
  // A reload: the gateway's mesh is this one from now on, in the local file's words.
  void republish(int side, std::string_view mesh);
  // Likewise its credentials' files.
  void republish(int side, const test::TrustFiles& files);
  // What it was before.
  static std::string_view mesh();
  // After something was done to a gateway from outside.
  void poll(int side);
  User& client(size_t flow) { return *flows_[flow].users[0]; }
  User& server(size_t flow) { return *flows_[flow].users[1]; }
  // How long the client has waited, or did wait, for an answer to its SYN.
  timer::Duration waited(size_t flow) const;
  void add(const FlowPlan& plan);
  size_t flows() const { return flows_.size(); }
  std::string outcome() const;  // what each application saw, by line
  const PacketLog& log() const { return log_; }
  uint64_t digest() const { return digest_; }  // of every byte between the nodes
  size_t completed() const;                    // flows that ended by FIN both ways
  size_t broken() const;                       // served flows that failed though nobody aborted
  uint64_t steps() const { return steps_; }

 private:
  struct Side {
    std::unique_ptr<test::GatewayNode> gateway;
    std::vector<std::unique_ptr<Peer>> peers;  // by interface
    std::unique_ptr<Waker> waker;
    bool poll_due = false;
  };
  struct Flow {
    FlowPlan plan;
    std::unique_ptr<User> users[2];
    timer::Instant started{};
    timer::Instant over{};
    bool accepted = false;
    bool begun = false;
  };

  void make_stations();
  void make_gateway(int side);
  void make_one_armed();
  void publish(int side, std::unique_ptr<gateway::Plan> plan);
  void poll_soon(int side);
  void to_gateway(int side, uint16_t interface, rte_mbuf* frame);
  void from_gateway(int side, uint16_t interface, rte_mbuf* frame);
  void from_network(int side, Carried&& packet);
  void into_network(int side, Carried&& packet);
  void from_station(Place place, Carried&& packet);
  void to_station(const packet::IpAddress& address, Carried&& packet);
  void begin(size_t flow);
  tcp::Connection* accept(Place place, const packet::Parsed& syn);
  bool step();
  void check();
  bool flow_over(const Flow& flow) const;
  bool all_over() const;
  std::string verdict() const;
  std::string verdict(size_t number, const Flow& flow) const;

  GatewayScenario scenario_;
  Scheduler scheduler_;
  PacketLog log_;
  unsigned mbufs_before_;
  uint64_t digest_ = 0xcbf29ce484222325;
  Link link_;                                          // between the nodes: side 0 is A
  Link outer_[2];                                      // from each node to outside
  std::vector<std::unique_ptr<gateway::Plan>> plans_;  // of republish()
  Side sides_[2];
  std::unique_ptr<NodeKernel> kernel_;
  std::unique_ptr<Station> stations_[kPlaces];
  std::vector<Flow> flows_;
  uint64_t steps_ = 0;
  std::string error_;
};

}  // namespace isthmus::sim
