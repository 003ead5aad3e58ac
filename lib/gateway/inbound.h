// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// HBONE towards the pods of this node (class 15008): accepts the tunnels' connections, decides each
// CONNECT, connects to the pod with the client's address as source, and answers 200 only then.
#pragma once

#include <cstdint>

#include "gateway/context.h"
#include "gateway/ports.h"
#include "gateway/slots.h"
#include "hbone/engine.h"
#include "hbone/tcp_leg.h"
#include "packet/parse.h"
#include "proxy/inbound.h"
#include "relay/pump.h"

namespace isthmus::gateway {

class Inbound final : private hbone::Service {
 public:
  Inbound(uint32_t streams, Context& context, hbone::Engine& hbone, Ports& ports);
  ~Inbound() { close_all(stats::Reason::gateway_stopped); }

  // True: a captured SYN to a pod's port 15008 was answered by a cookie, which takes its mbuf.
  bool answer_by_cookie(const packet::Parsed& syn);
  // Otherwise, and for the ACK of a cookie. The mbuf stays the caller's.
  void open(const packet::Parsed& syn, const Arrival& arrival);
  void refresh();
  // Ends those of the next `limit` streams that the plan no longer allows. Returns how many it
  // looked at: 0 at the end.
  uint32_t review(uint32_t& next, uint32_t limit);
  void close_all(stats::Reason reason);
  uint32_t live() const { return streams_.used(); }

 private:
  // One CONNECT: first the upstream's handshake, then the pump between it and the tunnel.
  struct Stream final : tcp::Handler, relay::PumpOwner {
    explicit Stream(Inbound& owner) : inbound(owner) {}
    void on_tcp(tcp::Connection& connection, uint16_t events) override {
      inbound.upstream_event(*this, connection, events);
    }
    void on_pump_done(relay::Pump&, const relay::Outcome& outcome) override {
      inbound.finished(*this, outcome);
    }

    Inbound& inbound;
    flow::Record* record = nullptr;
    hbone::Tunnel* tunnel = nullptr;
    tcp::Connection* dialling = nullptr;  // until it is connected, then upstream has it
    hbone::TcpLeg upstream;
    relay::Pump pump;
  };

  tcp::Options peer_options(const packet::Parsed& syn) const;

  void on_connect(hbone::Tunnel& tunnel, const hbone::Connect& connect) override;
  void on_connect_cancelled(hbone::Tunnel& tunnel, relay::Cause cause) override;
  stats::Refusal on_proven(uint64_t cookie) override {
    return context_.quotas.hold_transport(*reinterpret_cast<flow::Record*>(cookie));
  }
  void on_inbound_ended(uint64_t cookie, const hbone::Failure& failure) override;

  // Connects to the pod that the CONNECT was decided for.
  void dial(hbone::Tunnel& tunnel, const hbone::Connect& connect, flow::Record& record,
            const proxy::InboundDecision& decision);
  void refuse(const packet::Parsed& syn, flow::Record& record, stats::Reason reason);
  void refuse(hbone::Tunnel& tunnel, const hbone::Connect& connect, flow::Record* record,
              uint16_t status, stats::Reason reason);
  // The pod has answered, or won't.
  void dialled(Stream& stream);
  void upstream_event(Stream& stream, tcp::Connection& connection, uint16_t events);
  void finished(Stream& stream, const relay::Outcome& outcome);
  // The reason is counted; count_ for an orderly end.
  void end(Stream& stream, stats::Reason reason);
  void cut(Stream& stream, stats::Reason reason);

  Context& context_;
  hbone::Engine& hbone_;
  Ports& ports_;
  Slots<Stream> streams_;
};

}  // namespace isthmus::gateway
