// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "gateway/endings.h"

#include "tls/failure.h"

namespace isthmus::gateway {

using stats::Reason;

Reason reason_of(relay::Cause cause) {
  switch (cause) {
    case relay::Cause::none:
      return Reason::count_;
    case relay::Cause::reset:
      return Reason::gateway_reset;
    case relay::Cause::refused:
      return Reason::gateway_upstream_refused;
    case relay::Cause::timed_out:
      return Reason::gateway_timed_out;
    case relay::Cause::lost:
      return Reason::gateway_tunnel_lost;
    case relay::Cause::no_memory:
      return Reason::packet_no_buffer;
    case relay::Cause::cancelled:
      return Reason::gateway_stopped;
  }
  return Reason::count_;
}

Reason reason_of(relay::Cause cause, const hbone::Tunnel& tunnel) {
  if (cause != relay::Cause::lost) return reason_of(cause);
  const stats::Refusal why = tunnel.transport_ended_for();
  return why ? *why : reason_of(cause);
}

Reason reason_of(tcp::Failure failure) {
  switch (failure) {
    case tcp::Failure::none:
      return Reason::count_;
    case tcp::Failure::refused:
      return Reason::gateway_upstream_refused;
    case tcp::Failure::reset:
      return Reason::gateway_reset;
    case tcp::Failure::timed_out:
      return Reason::gateway_timed_out;
    case tcp::Failure::unreachable:
      return Reason::gateway_upstream_unreachable;
    case tcp::Failure::no_memory:
      return Reason::packet_no_buffer;
  }
  return Reason::count_;
}

uint8_t alert_of(const hbone::Failure& failure) {
  using Kind = hbone::Failure::Kind;
  if (failure.kind != Kind::tls && failure.kind != Kind::identity) return 0;
  // What the peer sent us is told as such by the reason.
  return static_cast<uint8_t>(tls::alert_of(static_cast<tls::Failure>(failure.code)));
}

}  // namespace isthmus::gateway
