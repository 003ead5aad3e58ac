// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// Routes: an immutable table, built by the control side and read by every worker.
//
// A gateway has a default route, a few networks and a host route for each pod port: some hundred
// entries of very few lengths. Sorted by length and looked up by one binary search for each length
// that occurs, this beats rte_lpm's 64 MB of direct tables in what it costs, needs no second
// structure for IPv6, and is copied and replaced as a value.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "packet/address.h"

namespace isthmus::ip {

struct Route {
  packet::Prefix prefix;
  uint16_t port = 0;           // egress port, as the gateway numbers them
  packet::IpAddress next_hop;  // unspecified: the destination itself, on the link
  packet::IpAddress source;    // the gateway's own address there, for packets that it originates

  // Who must be resolved to a MAC address.
  const packet::IpAddress& neighbour(const packet::IpAddress& destination) const {
    return next_hop.is_unspecified() ? destination : next_hop;
  }
};

class RouteTable {
 public:
  RouteTable() = default;
  // Empty when a prefix occurs twice or a next hop is of another family than its prefix.
  static std::optional<RouteTable> build(std::span<const Route> routes);

  // The longest match, or null.
  const Route* lookup(const packet::IpAddress& destination) const;
  // Sorted by length (of 128 bits), longest first.
  std::span<const Route> routes() const { return routes_; }

 private:
  struct Group {
    unsigned bits;  // prefix length in the 16-byte form of addresses
    size_t begin, end;
  };

  std::vector<Route> routes_;
  std::vector<Group> groups_;
};

}  // namespace isthmus::ip
