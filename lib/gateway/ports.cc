// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "gateway/ports.h"

namespace isthmus::gateway {
namespace {

// Each candidate is a table lookup; so many taken ones in a row mean that the range is used up.
constexpr unsigned kCandidates = 64;

}  // namespace

uint16_t Ports::choose(const packet::IpAddress& from, const packet::Endpoint& to) {
  auto start = static_cast<uint32_t>(context_.random.next());
  for (unsigned i = 0; i < kCandidates; ++i) {
    const auto port = packet::choose_port(
        from, to, context_.owners, static_cast<uint8_t>(context_.index), kOriginatedPorts, start);
    if (!port) break;
    const packet::Endpoint local{from, *port};
    if (!context_.tcp.in_use(local, to) && !context_.nat.find({to, local})) return *port;
    start = *port + 1u;
  }
  return 0;
}

}  // namespace isthmus::gateway
