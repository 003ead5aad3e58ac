// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "gateway/context.h"

namespace isthmus::gateway {

bool opens(const packet::Parsed& segment) {
  using packet::Tcp;
  constexpr uint8_t kMask = Tcp::kSyn | Tcp::kAck | Tcp::kRst | Tcp::kFin;
  return (segment.tcp()->flags & kMask) == Tcp::kSyn;
}

packet::IpAddress Context::own_address_to(const packet::IpAddress& address) const {
  const auto* route = plan->routes.lookup(address);
  return route == nullptr ? packet::IpAddress() : route->source;
}

uint16_t Context::interface_to(const packet::IpAddress& address) const {
  const auto* route = plan->routes.lookup(address);
  return route == nullptr ? flow::kNoInterface : route->port;
}

uint16_t Context::mtu_to(const packet::IpAddress& address) const {
  constexpr uint16_t kLeast = 576;
  const uint16_t interface = interface_to(address);
  return interface == flow::kNoInterface ? kLeast : plan->interfaces[interface].mtu;
}

flow::Record* open_record(Context& context, flow::Kind kind, capture::Class capture_class,
                          const packet::Tuple& client, const Arrival& arrival) {
  flow::Record* record = context.flows.open(context.now);
  if (record == nullptr) return nullptr;
  record->kind = kind;
  record->capture = capture_class;
  record->in_interface = arrival.interface;
  record->vni = arrival.vni;
  record->geneve_source = arrival.geneve_source;
  record->client = client;
  return record;
}

void close_record(Context& context, flow::Record* record, stats::Reason reason,
                  std::string_view refused_authority) {
  if (reason != stats::Reason::count_) record->reason = reason;
  context.quotas.release(*record);
  context.flows.close(record, context.now, refused_authority);
}

void fail_record(Context& context, flow::Record* record, stats::Reason reason) {
  if (reason != stats::Reason::count_) context.reasons.count(reason);
  close_record(context, record, reason);
}

}  // namespace isthmus::gateway
