// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// A whole gateway without devices and threads: its workers, their plan, and everything that they
// stand on, driven by the test's clock.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "gateway/worker.h"
#include "support/mesh.h"
#include "tls/service.h"

namespace isthmus::test {

inline constexpr tls::WallTime kGatewayEpoch =
    std::chrono::sys_days(std::chrono::year(2026) / 6 / 1);

// Our MAC on interface n of gateway g.
packet::MacAddress gateway_mac(unsigned gateway, unsigned interface);

gateway::Interface make_interface(capture::PortRole role, const packet::MacAddress& mac,
                                  std::string_view address);
gateway::Interface make_pod(const packet::MacAddress& mac, std::string_view pod,
                            const packet::MacAddress& pod_mac);
ip::Route make_route(std::string_view prefix, uint16_t interface, std::string_view via,
                     std::string_view source);

// What every plan has, for interfaces and routes that are there already: own addresses, identities.
void complete_plan(gateway::Plan& plan, const Mesh& mesh, std::vector<ip::Route> routes);

struct GatewayOptions {
  unsigned workers = 1;
  uint64_t seed = 1;
  unsigned handoff_packets = 1024;
  uint64_t handoff_bytes = 4 << 20;
  packet::Pools pools;                               // the tests' own when null
  std::function<void(gateway::WorkerConfig&)> tune;  // last word on each worker's configuration
};

// What a reload may change of the credentials. One list is the CA's, the other its intermediate's.
struct TrustFiles {
  std::vector<std::string> revoked;  // SPIFFE ids, by the CA that issued their leaves
  bool intermediate_revoked = false;
  bool other_revoked = false;  // leaves that nobody shows
  tls::TrustDomains domains;
};

class GatewayNode {
 public:
  // Takes ownership of a frame; its transmit flags are what the interface can do.
  using Transmit = std::function<void(uint16_t interface, rte_mbuf* frame)>;

  // The service accounts of the mesh have certificates of one test CA, valid for a year: those
  // whose name ends in 2 of an intermediate of it.
  GatewayNode(std::unique_ptr<gateway::Plan> plan, const Mesh& mesh, const GatewayOptions& options,
              Transmit transmit, timer::Instant now);
  ~GatewayNode();
  GatewayNode(const GatewayNode&) = delete;
  GatewayNode& operator=(const GatewayNode&) = delete;

  // A frame on a worker's receive queue. Takes ownership.
  void deliver(unsigned worker, uint16_t interface, rte_mbuf* frame);
  // Turns of all workers until none finds anything to do. False when that does not end.
  bool poll(timer::Instant now);
  // The credentials' files are these from now on; the trust is for the next plan.
  std::shared_ptr<const tls::Trust> reload(const TrustFiles& files);
  timer::Instant next_deadline() const;

  unsigned workers() const { return static_cast<unsigned>(seats_.size()); }
  gateway::Worker& worker(unsigned n = 0);
  const gateway::Plan& plan() const { return *plan_; }
  uint64_t count(stats::Reason reason) const;  // of all workers
  uint32_t live_flows() const;
  // The records of all workers, live and closed, in the order of their ids.
  std::vector<flow::Report> records();
  // Empty when nothing is left of any flow.
  std::string leftovers();

 private:
  struct Seat;
  std::unique_ptr<gateway::Plan> plan_;
  Transmit transmit_;
  timer::Instant epoch_;
  gateway::Handoff handoff_;
  const tls::CredentialFiles& files_;
  tls::CredentialSource credentials_;
  std::vector<std::unique_ptr<Seat>> seats_;
};

}  // namespace isthmus::test
