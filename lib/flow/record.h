// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// The record of a captured flow: what it was, what became of it and why. Written by the worker that
// owns the flow. Every live flow has one, so texts that repeat are held as what names them, and are
// written out by those who read the copies, for the console and the access log.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <string_view>

#include "capture/class.h"
#include "flow/moments.h"
#include "mesh/identity.h"
#include "packet/address.h"
#include "stats/reason.h"
#include "timer/time.h"

namespace isthmus::flow {

enum class Kind : uint8_t {
  passthrough,     // translated packet by packet to where it was going: outside the mesh
  direct,          // translated packet by packet to a chosen endpoint that speaks plaintext
  local,           // translated packet by packet to a pod of this node, both ends in the mesh
  inbound_plain,   // translated packet by packet to the pod, source without identity
  outbound_hbone,  // terminated here; its bytes go as one CONNECT stream of a pooled tunnel
  tunnel,          // an HBONE connection accepted on 15008; its streams are flows of their own
  inbound_stream,  // one CONNECT stream of such a tunnel, to the pod by TCP
  refused,         // answered with RST, a code, or nothing
};

enum class State : uint8_t { opening, open, closing, closed };

// What it has of the places that a worker shares out.
enum class Holds : uint8_t { nothing, relayed, transport };

// Text of bounded length without a heap: what does not fit is cut.
template <unsigned Capacity>
struct ShortText {
  std::array<char, Capacity> bytes{};
  uint8_t length = 0;
  static_assert(Capacity <= 255);

  void assign(std::string_view text) {
    length = static_cast<uint8_t>(std::min<size_t>(text.size(), Capacity));
    std::copy_n(text.data(), length, bytes.data());
  }
  std::string_view view() const { return {bytes.data(), length}; }
  bool empty() const { return length == 0; }
};

inline constexpr uint16_t kNoInterface = UINT16_MAX;
inline constexpr uint32_t kNoAccount = UINT32_MAX;

struct Record {
  uint64_t id = 0;  // unique in the process, never 0; id % workers is the owner (Table gives it)
  uint64_t tunnel = 0;  // inbound_stream: id of the record of the tunnel that carries it; 0: none
  [[no_unique_address]] Moments at;
  uint32_t account = kNoAccount;  // the owner's: of the workload whose quotas it counts in
  std::string_view peer;  // SPIFFE id that the peer proved, as interned: outlives every record
  uint64_t bytes_to_upstream = 0;
  uint64_t bytes_to_client = 0;
  packet::Tuple client;             // client to original destination, as captured
  packet::Tuple upstream;           // the leg that we originate, as it leaves
  packet::Endpoint endpoint;        // the chosen workload's address and port
  packet::Endpoint authority;       // of the CONNECT; port 0: none, or none that could be read
  packet::IpAddress geneve_source;  // the node that encapsulated the SYN
  uint32_t vni = 0;                 // the SYN came by Geneve with this VNI; 0: it came plain
  mesh::NameId authority_service = mesh::kNoName;  // whose hostname the authority had, no address
  mesh::NameId policy = mesh::kNoName;             // that decided
  mesh::IdentityId source_identity = mesh::kNoIdentity;
  mesh::IdentityId destination_identity = mesh::kNoIdentity;
  stats::Reason reason = stats::Reason::count_;  // why it was refused or failed; count_: it was not
  uint16_t http_status = 0;                      // of the CONNECT; 0 when there was none
  uint16_t in_interface = kNoInterface;          // index in the plan: where the SYN came in
  uint16_t out_interface = kNoInterface;         // where the leg that we originate leaves
  Kind kind = Kind::refused;
  State state = State::opening;
  capture::Class capture = capture::Class::drop;
  uint8_t tls_alert = 0;  // sent or received, when the tunnel failed by one
  bool through_waypoint = false;
  Holds holds = Holds::nothing;
};
// Every live flow has one, and many are idle.
static_assert(sizeof(Record) <= 240);

// A record as it is copied out.
struct Report : Record {
  timer::Instant closed{};  // State::closed
  // The authority that was refused, as the peer sent it; empty: Record::authority says it.
  ShortText<94> refused_authority;

  bool has_authority() const { return authority.port != 0 || !refused_authority.empty(); }
};

}  // namespace isthmus::flow
