// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// Where L3 packets become frames: route, neighbour, Ethernet, and in software what the device
// cannot do itself (checksums, segmentation). Frames leave in one burst per interface at the end of
// the worker's turn.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "gateway/packet_io.h"
#include "gateway/plan.h"
#include "ip/icmp.h"
#include "ip/neighbours.h"
#include "packet/parse.h"
#include "packet/pools.h"
#include "stats/reason.h"
#include "tcp/engine.h"
#include "timer/time.h"

namespace isthmus::gateway {

class Edge final : public tcp::Output {
 public:
  // Neighbours are made for the plan's interfaces; later plans have the same ones.
  Edge(PacketIo& io, const packet::Pools& pools, stats::ReasonCounters& reasons,
       const packet::SipKey& key, const Plan& plan, timer::Instant now);
  ~Edge();
  Edge(const Edge&) = delete;
  Edge& operator=(const Edge&) = delete;

  PacketIo& io() { return io_; }
  void set_plan(const Plan& plan) { plan_ = &plan; }
  void set_now(timer::Instant now) { now_ = now; }

  // An L3 packet to wherever its destination address leads. Takes ownership.
  void send(rte_mbuf* packet);
  void transmit(rte_mbuf* packet, uint32_t) override { send(packet); }
  // A received packet that goes on unchanged but for its TTL: takes it, and tells its sender where
  // it cannot go on.
  void forward(packet::Parsed& packet);
  // Tells the packet's sender; the packet stays the caller's.
  void send_error(const packet::Parsed& packet, ip::ErrorKind kind, uint32_t mtu);

  // An ARP message (Ethernet taken off), or a neighbour discovery packet. Takes it.
  void neighbour_message(rte_mbuf* message, uint16_t interface);
  bool is_own_address(const packet::IpAddress& address) const;

  void advance();
  timer::Instant next_deadline() const;
  // Sends what the turn has gathered; returns the number of frames.
  unsigned flush();
  uint64_t frames_sent() const { return frames_sent_; }

 private:
  static constexpr uint16_t kBurst = 64;

  // The way out of one interface.
  struct Exit final : ip::NeighbourOutput {
    explicit Exit(Edge& owner, uint16_t number) : edge(owner), interface(number) {}
    void transmit_frame(rte_mbuf* frame) override { edge.finish(*this, frame); }
    void drop(rte_mbuf* packet, stats::Reason reason) override { edge.drop(packet, reason); }

    Edge& edge;
    uint16_t interface;
    uint16_t count = 0;
    std::array<rte_mbuf*, kBurst> frames{};
    std::unique_ptr<ip::Neighbours> neighbours;
  };

  // The frame is complete but for what its offload flags ask.
  void finish(Exit& exit, rte_mbuf* frame);
  void segment(Exit& exit, rte_mbuf* frame);
  void queue(Exit& exit, rte_mbuf* frame);
  unsigned flush(Exit& exit);
  void drop(rte_mbuf* packet, stats::Reason reason);

  PacketIo& io_;
  const packet::Pools& pools_;
  stats::ReasonCounters& reasons_;
  const Plan* plan_;
  timer::Instant now_;
  ip::ErrorSource errors_;
  std::vector<std::unique_ptr<Exit>> exits_;  // by interface
  uint64_t frames_sent_ = 0;
};

}  // namespace isthmus::gateway
