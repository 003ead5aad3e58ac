// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "ip/routes.h"

#include <algorithm>
#include <tuple>

namespace isthmus::ip {
namespace {

using packet::IpAddress;

// 0.0.0.0/0 is 96 bits of the v4-mapped form, so the families never meet in one group but /96, and
// there only by an IPv6 prefix that is v4-mapped itself, which Prefix::parse refuses.
unsigned bits_of(const packet::Prefix& prefix) {
  return (prefix.address.is_v4() ? 96u : 0u) + prefix.length;
}

IpAddress masked(const IpAddress& address, unsigned bits) {
  std::array<uint8_t, 16> bytes = address.bytes();
  if (bits % 8 != 0) bytes[bits / 8] &= static_cast<uint8_t>(0xff << (8 - bits % 8));
  for (unsigned at = (bits + 7) / 8; at < 16; ++at) bytes[at] = 0;
  return IpAddress::v6(bytes.data());
}

}  // namespace

std::optional<RouteTable> RouteTable::build(std::span<const Route> routes) {
  RouteTable table;
  table.routes_.assign(routes.begin(), routes.end());
  std::sort(table.routes_.begin(), table.routes_.end(), [](const Route& a, const Route& b) {
    return std::tuple(bits_of(b.prefix), a.prefix.address) <
           std::tuple(bits_of(a.prefix), b.prefix.address);
  });
  for (size_t i = 0; i < table.routes_.size(); ++i) {
    const Route& route = table.routes_[i];
    if (!route.next_hop.is_unspecified() &&
        route.next_hop.is_v4() != route.prefix.address.is_v4()) {
      return std::nullopt;
    }
    if (i != 0 && route.prefix == table.routes_[i - 1].prefix) return std::nullopt;
    const unsigned bits = bits_of(route.prefix);
    if (table.groups_.empty() || table.groups_.back().bits != bits) {
      table.groups_.push_back({bits, i, i});
    }
    table.groups_.back().end = i + 1;
  }
  return table;
}

const Route* RouteTable::lookup(const IpAddress& destination) const {
  for (const Group& group : groups_) {
    const IpAddress key = masked(destination, group.bits);
    const auto begin = routes_.begin() + static_cast<ptrdiff_t>(group.begin);
    const auto end = routes_.begin() + static_cast<ptrdiff_t>(group.end);
    const auto found = std::lower_bound(
        begin, end, key,
        [](const Route& route, const IpAddress& wanted) { return route.prefix.address < wanted; });
    if (found != end && found->prefix.address == key && found->prefix.contains(destination)) {
      return &*found;
    }
  }
  return nullptr;
}

}  // namespace isthmus::ip
