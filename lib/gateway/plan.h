// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// What a worker knows of its surroundings: interfaces, routes, mesh. Built by the
// control side, immutable once published; workers pick a new one up between bursts and report
// quiescence, after which the control side frees the old one.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "capture/class.h"
#include "capture/rules.h"
#include "geneve/endpoints.h"
#include "ip/routes.h"
#include "mesh/snapshot.h"
#include "packet/address.h"
#include "proxy/profile.h"
#include "tls/identity.h"
#include "tls/trust.h"

namespace isthmus::gateway {

// A port, or the port of one pod on a port that serves many.
struct Interface {
  std::string name;
  capture::PortRole role = capture::PortRole::node;
  packet::MacAddress mac;                    // ours on this link
  std::vector<packet::IpAddress> addresses;  // ours on this link: ARP and echo are answered
  uint16_t mtu = 1500;
  bool can_checksum = false;  // the device completes transmit checksums
  bool can_segment = false;   // the device takes TCP segments larger than the MTU
  // Known beforehand, never asked for: the pod of a pod port, static entries.
  std::vector<std::pair<packet::IpAddress, packet::MacAddress>> neighbours;
  // Role pod: the only source address and MAC that are accepted from it.
  packet::IpAddress pod_address;
  packet::MacAddress pod_mac;
};

struct Plan {
  std::vector<Interface> interfaces;
  ip::RouteTable routes;
  geneve::TunnelEndpoints tunnels{geneve::EndpointConfig{}};
  std::vector<packet::IpAddress> hosts;          // the node's own addresses (HostIPs)
  std::vector<packet::IpAddress> own_addresses;  // of all interfaces
  proxy::Profile profile = proxy::Profile::v1_18;
  bool plaintext_past_waypoint = false;
  std::shared_ptr<const mesh::Snapshot> mesh;   // never null
  std::shared_ptr<const capture::Rules> rules;  // null: none
  std::shared_ptr<const tls::Trust> trust;      // of the credentials; null: what handshakes ask
  // What TLS calls an identity of the mesh, by mesh::IdentityId; null where it is none.
  std::vector<tls::IdentityPtr> identities;

  tls::IdentityPtr identity(mesh::IdentityId id) const {
    return id < identities.size() ? identities[id] : nullptr;
  }
};

}  // namespace isthmus::gateway
