// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// What becomes of a flow, decided on the packet that opens it: a TCP SYN, or any packet of another
// protocol. Later packets of a known flow are never classified: they belong to the class that its
// first packet had, whatever way they come (istio-cni 1.18 sends only the first by Geneve).
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "capture/class.h"
#include "capture/rules.h"
#include "mesh/snapshot.h"
#include "packet/address.h"
#include "stats/reason.h"

namespace isthmus::capture {

// What the decision rests on; all of it published together.
struct Context {
  const mesh::Snapshot* mesh = nullptr;  // never null
  const Rules* rules = nullptr;          // null: none
  // Addresses of the node itself (HostIPs): probes come from them, and what pods send to them is
  // never captured (rule 0 of the node, "local", wins in 1.18).
  std::span<const packet::IpAddress> hosts;
};

struct Packet {
  PortRole role = PortRole::node;
  std::optional<uint32_t> vni;  // it came by Geneve, decapsulated; only on node ports
  packet::Tuple tuple;          // ports are 0 for protocols without
  uint8_t protocol = 0;         // IP protocol number
  packet::IpAddress pod;        // role pod: the interface's only source address
};

// Why a verdict is what it is; with class drop, reason() says it as a counter.
enum class Why : uint8_t {
  geneve_outbound,   // VNI 1001
  geneve_inbound,    // VNI 1000
  from_ambient_pod,  // pod port, source is an ambient pod of ours
  to_ambient_pod,    // destination is an ambient pod of ours
  not_tcp,           // UDP, ICMP and others are forwarded
  not_captured,      // neither end is an ambient pod of ours: sidecars, the host, strangers
  host_probe,        // from the node, on the host port: exempt from capture and policy
  to_host,           // a pod to its own node
  excluded,          // an operator's rule says bypass
  denied_by_rule,    // an operator's rule says drop
  unknown_vni,       // Geneve with another VNI
  geneve_not_here,   // Geneve on a port that is no node port
  no_flow,           // a plain TCP packet on a node port that belongs to no flow
  spoofed_source,    // a source address that cannot come from there
  unknown_source,    // a pod's TCP from an address that the mesh does not know
};

struct Verdict {
  Class class_ = Class::drop;
  Why why = Why::no_flow;
  uint32_t rule = 0;  // with excluded and denied_by_rule: the index of the rule
};

// Allocates nothing. A bypassed TCP flow that came by Geneve must leave with a fresh source port
// (as nat's passthrough does): its own 4-tuple is taken in the host's conntrack table.
Verdict classify(const Context& context, const Packet& packet) noexcept;

// The counter of a verdict of class drop.
stats::Reason reason(Why why) noexcept;
const char* text(Why why) noexcept;

}  // namespace isthmus::capture
