// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// The words of capture: where a packet came in, and what becomes of the flow that it opens. The
// classes are named after the ztunnel ports to which Istio 1.18 redirects.
#pragma once

#include <cstdint>

namespace isthmus::capture {

enum class PortRole : uint8_t {
  node,      // to the node's host: Geneve from it, plain packets of known flows, everything out
  underlay,  // to the network between nodes
  pod,       // a pod's interface
  host,      // to the node itself: its addresses, and probes from them
};

enum class Class : uint8_t {
  outbound_15001,           // from an ambient pod: endpoint, tunnel or passthrough
  inbound_hbone_15008,      // an HBONE connection to an ambient pod
  inbound_plaintext_15006,  // plaintext to an ambient pod
  bypass,                   // not captured: forwarded
  drop,                     // refused
};

inline constexpr uint32_t kInboundVni = 1000;   // the host's istioin
inline constexpr uint32_t kOutboundVni = 1001;  // the host's istioout
inline constexpr uint16_t kHbonePort = 15008;

const char* to_string(PortRole role) noexcept;
const char* to_string(Class value) noexcept;

}  // namespace isthmus::capture
