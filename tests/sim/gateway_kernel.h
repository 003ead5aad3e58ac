// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// A node's kernel with Istio 1.18's redirection (istio-cni 1.18.2, net_linux.go): ambient pods'
// TCP goes to the gateway through istioout (Geneve VNI 1001), what comes for them through istioin
// (VNI 1000), until the gateway has spoken in the conversation: then conntrack's mark sends the
// rest to it plain.
#pragma once

#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "sim/gateway_wire.h"

namespace isthmus::sim {

class NodeKernel {
 public:
  struct Config {
    packet::MacAddress mac;  // of the node's end of the gateway's veth
    packet::IpAddress host;  // HostIP
    packet::IpAddress gateway;
    packet::MacAddress gateway_mac;
    std::vector<packet::IpAddress> pods;  // ambient
    uint16_t mtu = 1500;
  };
  using Send = std::function<void(Carried&&)>;

  // out: to whoever has the packet's destination, pod or network.
  NodeKernel(const Config& config, const Peer::ToGateway& to_gateway, Send out);

  void from_pod(Carried&& packet);
  void from_network(Carried&& packet);
  // Takes ownership.
  void from_gateway(rte_mbuf* frame) { plain_.from_gateway(frame); }

  // conntrack -F; afterwards entries are made again unless told otherwise.
  void forget(bool for_good);

  std::string error() const { return error_.empty() ? plain_.error() : error_; }
  uint64_t opened() const { return opened_; }        // SYNs by Geneve
  uint64_t midflow() const { return midflow_; }      // other segments by Geneve
  uint64_t arp_answers() const { return answers_; }  // by Geneve

 private:
  // istioin or istioout.
  struct Tunnel {
    uint32_t vni;
    packet::IpAddress own;
    packet::IpAddress gateway;
    packet::MacAddress mac;
    packet::MacAddress gateway_mac;
    bool resolved = false;
    std::vector<Carried> waiting;
  };

  void redirect(Tunnel& tunnel, Carried&& packet);
  void encapsulate(const Tunnel& tunnel, const packet::MacAddress& to, uint16_t type,
                   const std::vector<uint8_t>& inner, bool partial);
  void emitted(Carried&& packet);
  void tunnel_answer(const Carried& packet);
  bool proxied(const packet::Tuple& tuple) const;

  Config config_;
  Send out_;
  Peer::ToGateway to_gateway_;
  Tunnel inbound_;
  Tunnel outbound_;
  Peer plain_;
  std::set<packet::Tuple> proxied_;   // conntrack entries with mark 0x210
  std::set<packet::Tuple> captured_;  // 4-tuples that conntrack knows from captured SYNs
  bool remembers_ = true;
  uint64_t opened_ = 0;
  uint64_t midflow_ = 0;
  uint64_t answers_ = 0;
  std::string error_;
};

}  // namespace isthmus::sim
