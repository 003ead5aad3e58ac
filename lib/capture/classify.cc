// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "capture/classify.h"

#include <algorithm>

namespace isthmus::capture {

namespace {

constexpr uint8_t kTcp = 6;

Verdict bypass(Why why) noexcept {
  return {Class::bypass, why, 0};
}
Verdict drop(Why why) noexcept {
  return {Class::drop, why, 0};
}

// 1.18's mangle rules 1 and 3 of the ztunnel pod: the port decides between HBONE and plaintext.
Class inbound_class(const Packet& packet) noexcept {
  return packet.tuple.destination.port == kHbonePort ? Class::inbound_hbone_15008
                                                     : Class::inbound_plaintext_15006;
}

// A flow that is to be captured, unless an operator's rule says otherwise.
Verdict capture(const Context& context, const Packet& packet, Class class_, Why why) noexcept {
  if (context.rules != nullptr) {
    const Direction direction =
        class_ == Class::outbound_15001 ? Direction::outbound : Direction::inbound;
    if (const auto hit = context.rules->match(direction, packet.tuple, packet.protocol)) {
      return hit->action == Action::drop ? Verdict{Class::drop, Why::denied_by_rule, hit->rule}
                                         : Verdict{Class::bypass, Why::excluded, hit->rule};
    }
  }
  return {class_, why, 0};
}

bool is_host(const Context& context, const packet::IpAddress& address) noexcept {
  return std::find(context.hosts.begin(), context.hosts.end(), address) != context.hosts.end();
}

const mesh::WorkloadEntry* local_ambient(const Context& context,
                                         const packet::IpAddress& address) noexcept {
  const auto* entry = context.mesh->find_workload(address);
  return entry != nullptr && entry->local_ambient ? entry : nullptr;
}

// A flow that is not outbound: it is inbound when it goes to an ambient pod of ours.
Verdict towards(const Context& context, const Packet& packet) noexcept {
  if (packet.protocol != kTcp) return bypass(Why::not_tcp);
  if (local_ambient(context, packet.tuple.destination.address) == nullptr) {
    return bypass(Why::not_captured);
  }
  return capture(context, packet, inbound_class(packet), Why::to_ambient_pod);
}

// The host's rules have decided already: the tunnel says what the flow is.
Verdict from_node(const Context& context, const Packet& packet) noexcept {
  if (packet.vni && *packet.vni != kInboundVni && *packet.vni != kOutboundVni) {
    return drop(Why::unknown_vni);
  }
  if (packet.protocol != kTcp) return bypass(Why::not_tcp);
  if (!packet.vni) return drop(Why::no_flow);
  if (*packet.vni == kOutboundVni) {
    return capture(context, packet, Class::outbound_15001, Why::geneve_outbound);
  }
  return capture(context, packet, inbound_class(packet), Why::geneve_inbound);
}

Verdict from_pod(const Context& context, const Packet& packet) noexcept {
  if (packet.tuple.source.address != packet.pod) return drop(Why::spoofed_source);
  if (packet.protocol != kTcp) return bypass(Why::not_tcp);
  const auto* source = context.mesh->find_workload(packet.pod);
  if (source == nullptr) return drop(Why::unknown_source);
  if (!source->local_ambient) return towards(context, packet);
  if (is_host(context, packet.tuple.destination.address)) return bypass(Why::to_host);
  return capture(context, packet, Class::outbound_15001, Why::from_ambient_pod);
}

// From the network, where neither a pod of ours nor the node itself can be the sender.
Verdict from_underlay(const Context& context, const Packet& packet) noexcept {
  const auto& source = packet.tuple.source.address;
  if (is_host(context, source) || local_ambient(context, source) != nullptr) {
    return drop(Why::spoofed_source);
  }
  return towards(context, packet);
}

Verdict from_host(const Context& context, const Packet& packet) noexcept {
  const auto& source = packet.tuple.source.address;
  if (is_host(context, source)) return bypass(Why::host_probe);
  if (local_ambient(context, source) != nullptr) return drop(Why::spoofed_source);
  return towards(context, packet);
}

}  // namespace

Verdict classify(const Context& context, const Packet& packet) noexcept {
  if (packet.vni && packet.role != PortRole::node) return drop(Why::geneve_not_here);
  switch (packet.role) {
    case PortRole::node:
      return from_node(context, packet);
    case PortRole::pod:
      return from_pod(context, packet);
    case PortRole::underlay:
      return from_underlay(context, packet);
    case PortRole::host:
      return from_host(context, packet);
  }
  return drop(Why::no_flow);
}

stats::Reason reason(Why why) noexcept {
  switch (why) {
    case Why::unknown_vni:
      return stats::Reason::capture_unknown_vni;
    case Why::geneve_not_here:
      return stats::Reason::capture_geneve_not_here;
    case Why::spoofed_source:
      return stats::Reason::capture_spoofed_source;
    case Why::unknown_source:
      return stats::Reason::capture_unknown_source;
    case Why::denied_by_rule:
      return stats::Reason::capture_denied_by_rule;
    default:
      return stats::Reason::capture_no_flow;
  }
}

const char* text(Why why) noexcept {
  switch (why) {
    case Why::geneve_outbound:
      return "it came by Geneve VNI 1001 (istioout)";
    case Why::geneve_inbound:
      return "it came by Geneve VNI 1000 (istioin)";
    case Why::from_ambient_pod:
      return "its source is an ambient pod of this node";
    case Why::to_ambient_pod:
      return "its destination is an ambient pod of this node";
    case Why::not_tcp:
      return "only TCP is captured";
    case Why::not_captured:
      return "neither end is an ambient pod of this node";
    case Why::host_probe:
      return "it comes from the node itself";
    case Why::to_host:
      return "its destination is the node itself";
    case Why::excluded:
      return "a rule excludes it";
    case Why::denied_by_rule:
      return "a rule drops it";
    case Why::unknown_vni:
      return "its Geneve VNI is none of Istio's";
    case Why::geneve_not_here:
      return "Geneve is accepted on node ports only";
    case Why::no_flow:
      return "it belongs to no flow and opens none";
    case Why::spoofed_source:
      return "its source address cannot come from that port";
    case Why::unknown_source:
      return "the mesh does not know its source";
  }
  return "";
}

const char* to_string(PortRole role) noexcept {
  switch (role) {
    case PortRole::node:
      return "node";
    case PortRole::underlay:
      return "underlay";
    case PortRole::pod:
      return "pod";
    case PortRole::host:
      return "host";
  }
  return "";
}

const char* to_string(Class value) noexcept {
  switch (value) {
    case Class::outbound_15001:
      return "outbound_15001";
    case Class::inbound_hbone_15008:
      return "inbound_hbone_15008";
    case Class::inbound_plaintext_15006:
      return "inbound_plaintext_15006";
    case Class::bypass:
      return "bypass";
    case Class::drop:
      return "drop";
  }
  return "";
}

}  // namespace isthmus::capture
