// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// The gateway's ends of the node's Geneve devices (istio-cni 1.18's pistioin and pistioout): from
// whom it accepts, which VNIs, and the addresses that the host asks for inside them.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "geneve/header.h"
#include "packet/address.h"
#include "packet/headers.h"
#include "stats/reason.h"

namespace isthmus::geneve {

struct Endpoint {
  uint32_t vni;
  packet::IpAddress address;  // ours inside the tunnel
  packet::MacAddress mac;     // ours inside the tunnel, the same on every gateway
};

struct Endpoints {
  // Hosts that may send Geneve to us; none other is heard.
  std::vector<packet::IpAddress> hosts;
  // 192.168.126.2 in VNI 1000 (istioin), 192.168.127.2 in VNI 1001 (istioout).
  std::array<Endpoint, 2> tunnels = {
      Endpoint{1000, packet::IpAddress::v4(0xc0a87e02u), {{0x02, 0, 0, 0, 0x03, 0xe8}}},
      Endpoint{1001, packet::IpAddress::v4(0xc0a87f02u), {{0x02, 0, 0, 0, 0x03, 0xe9}}}};

  // Whether a decapsulated frame is ours to handle.
  std::optional<stats::Reason> check(const Tunnelled& tunnelled) const;
  const Endpoint* find(uint32_t vni) const;
};

// The answer to an ARP frame (L2, decapsulated) in a tunnel: an L3 packet to the host that asked,
// in Geneve. Reuses the mbuf and takes it. Null (the mbuf is freed) with a reason when the frame
// is no request for our address there.
struct ArpAnswer {
  rte_mbuf* packet = nullptr;
  std::optional<stats::Reason> reason;
};
ArpAnswer answer_arp(const Endpoints& endpoints, const Tunnelled& tunnelled, rte_mbuf* frame);

}  // namespace isthmus::geneve
