// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// Flows that a pod of ours opens into a tunnel (class 15001): the client's connection on one side,
// a CONNECT stream of the pool on the other. The client's SYN is held until the stream is
// connected, so that refused stays refused and a silent upstream becomes a reset, not an accepted
// connection that dies. Beyond held_per_pod SYNs of one pod it is accepted at once, and the
// upstream tried when the client's ACK has come; when too many of those ACKs are missing, SYN
// cookies keep nothing at all until then.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <variant>

#include "gateway/context.h"
#include "gateway/slots.h"
#include "hbone/pool.h"
#include "hbone/tcp_leg.h"
#include "packet/parse.h"
#include "proxy/outbound.h"
#include "relay/pump.h"

namespace isthmus::gateway {

struct OutboundOptions {
  uint32_t flows = 16384;
  uint32_t held_per_pod = 256;  // SYNs held at once for one workload
  // From the SYN until it is answered, all attempts together; an attempt's own limits are the
  // pool's. Clients give up after two minutes (Linux), people much earlier.
  timer::Duration hold_timeout = std::chrono::seconds(20);
};

// What a flow keeps until its tunnel is open.
struct Opening {
  static constexpr unsigned kMaxAttempts = 4;

  hbone::Ticket ticket;
  bool counted_as_held = false;
  bool counted_as_pending = false;
  bool waits_for_client = false;  // accepted early; not dialled
  uint8_t attempts = 0;           // upstreams that failed
  std::array<packet::IpAddress, kMaxAttempts> tried{};
  packet::IpAddress retry_key;  // of the attempt under way
};

class Outbound final : private hbone::OpenHandler {
 public:
  Outbound(const OutboundOptions& options, Context& context, hbone::Pool& pool);
  ~Outbound() { close_all(stats::Reason::gateway_stopped); }

  // True: a SYN whose decision is hbone was answered by a cookie, which takes its mbuf.
  bool answer_by_cookie(const packet::Parsed& syn);
  // A captured SYN, or the ACK of its cookie, whose decision is hbone. The mbuf stays the caller's.
  // Takes the record over.
  void open(const packet::Parsed& syn, flow::Record& record,
            const proxy::OutboundDecision& decision);
  // Brings the live records' byte counts up to date, for a look from outside.
  void refresh();
  // Ends those of the next `limit` flows that the plan no longer allows. Returns how many it looked
  // at: 0 at the end.
  uint32_t review(uint32_t& next, uint32_t limit);
  // Ends every flow: resets both sides.
  void close_all(stats::Reason reason);
  uint32_t live() const { return flows_.used(); }

 private:
  struct Flow final : relay::Observer, relay::PumpOwner {
    explicit Flow(Outbound& owner) : outbound(owner) {}
    // The client's leg while no tunnel is open: it arrives, where it was accepted early, or goes.
    void on_readable(relay::Leg&) override {}
    void on_writable(relay::Leg&) override { outbound.client_is_there(*this); }
    void on_ended(relay::Leg&) override {}
    void on_closed(relay::Leg& leg) override { on_aborted(leg, relay::Cause::none); }
    void on_aborted(relay::Leg&, relay::Cause cause) override { outbound.abandoned(*this, cause); }
    void on_pump_done(relay::Pump&, const relay::Outcome& outcome) override {
      outbound.finished(*this, outcome);
    }

    // Null once the tunnel is open.
    Opening* opening() { return std::get_if<Opening>(&stage); }
    // Null before.
    relay::Pump* pump() { return std::get_if<relay::Pump>(&stage); }

    Outbound& outbound;
    flow::Record* record = nullptr;
    hbone::TcpLeg client;
    hbone::Tunnel* tunnel = nullptr;
    std::variant<Opening, relay::Pump> stage;
  };

  void on_tunnel_open(uint64_t cookie, hbone::Tunnel& tunnel) override;
  void on_tunnel_failed(uint64_t cookie, const hbone::Failure& failure) override;

  // A reason, counted, when no tunnel can be asked for.
  stats::Refusal dial(Flow& flow, const proxy::OutboundDecision& decision);
  bool retry(Flow& flow);
  proxy::OutboundDecision decide(Flow& flow);
  void client_is_there(Flow& flow);
  tcp::Options client_options(const packet::Parsed& syn) const;
  // The reason has been counted.
  void refuse(Flow& flow, stats::Reason reason);
  void abandoned(Flow& flow, relay::Cause cause);
  void finished(Flow& flow, const relay::Outcome& outcome);
  // The reason is counted; count_ for an orderly end.
  void end(Flow& flow, stats::Reason reason);
  void let_go(Flow& flow);
  void cut(Flow& flow, stats::Reason reason);
  // What it counts as while it is not open.
  void release_opening(Flow& flow);

  Context& context_;
  hbone::Pool& pool_;
  const OutboundOptions options_;
  Slots<Flow> flows_;
};

}  // namespace isthmus::gateway
