// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// The neighbours of one port as one worker knows them: IPv4 by ARP, IPv6 by neighbour discovery,
// with the states of RFC 4861 section 7.3.2 for both. Workers share nothing: each hears every ARP
// and neighbour message of the port (the gateway copies them) and resolves what it needs itself.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include <rte_mbuf.h>

#include "packet/hash_index.h"
#include "packet/headers.h"
#include "packet/parse.h"
#include "packet/pools.h"
#include "packet/siphash.h"
#include "stats/reason.h"
#include "timer/wheel.h"

namespace isthmus::ip {

class NeighbourOutput {
 public:
  // Takes ownership of a frame with its Ethernet header in front.
  virtual void transmit_frame(rte_mbuf* frame) = 0;
  // Takes ownership of an L3 packet that cannot be sent; whoever implements it counts the reason.
  virtual void drop(rte_mbuf* packet, stats::Reason reason) = 0;

 protected:
  ~NeighbourOutput() = default;
};

struct NeighbourConfig {
  packet::MacAddress mac;                    // of the port
  std::vector<packet::IpAddress> addresses;  // that are answered for on the port
  uint32_t capacity = 1024;                  // neighbours, permanent ones included
};

class Neighbours {
 public:
  enum class State : uint8_t { incomplete, reachable, stale, probe, permanent };
  struct Info {
    packet::IpAddress address;
    packet::MacAddress mac;
    State state;
  };

  static constexpr unsigned kQueue = 8;  // packets that wait for one neighbour
  static constexpr unsigned kMaxRequests = 3;
  static constexpr timer::Duration kRequestInterval = std::chrono::seconds(1);
  static constexpr timer::Duration kReachableTime = std::chrono::seconds(30);
  static constexpr timer::Duration kForgetTime = std::chrono::minutes(10);

  Neighbours(const NeighbourConfig& config, const packet::Pools& pools, const packet::SipKey& key,
             NeighbourOutput& output, timer::Instant now);
  ~Neighbours();
  Neighbours(const Neighbours&) = delete;
  Neighbours& operator=(const Neighbours&) = delete;

  // Sends an L3 packet (owned from here on) to a neighbour on the link: at once when its MAC
  // address is known, else after it answered. A multicast next hop of IPv6 needs no resolution.
  void send(rte_mbuf* packet, const packet::IpAddress& next_hop, timer::Instant now);
  // An ARP message that came in, its Ethernet header taken off; the caller keeps and frees it.
  stats::Refusal input_arp(rte_mbuf* message, timer::Instant now);
  // A neighbour solicitation or advertisement (is_neighbour_message); the caller keeps it.
  stats::Refusal input_nd(const packet::Parsed& message, timer::Instant now);
  // A neighbour that is known beforehand and never changes: a pod on its own port. False when the
  // table is full.
  bool add_permanent(const packet::IpAddress& address, const packet::MacAddress& mac);
  // An address that the port answers for.
  bool is_own(const packet::IpAddress& address) const;

  void advance(timer::Instant now);
  timer::Instant next_deadline() const { return wheel_.next_deadline(); }

  size_t size() const { return size_; }
  // Calls visit(const Info&) for each neighbour.
  template <typename Visit>
  void for_each(Visit&& visit) const {
    for (const Entry& entry : entries_) {
      if (entry.used) visit(Info{entry.address, entry.mac, entry.state});
    }
  }

 private:
  struct Entry : timer::Wheel::Entry {
    bool used = false;
    State state = State::incomplete;
    uint8_t requests = 0;  // unanswered ones
    uint8_t queued = 0;
    packet::MacAddress mac;
    packet::IpAddress address;
    rte_mbuf* queue[kQueue];
  };

  Entry* find(const packet::IpAddress& address);
  Entry* create(const packet::IpAddress& address);
  Entry* evict_stale();
  void erase(Entry& entry, stats::Reason reason);
  // A message told this neighbour's address. solicited: it answers a request of ours.
  void learn(Entry& entry, const packet::MacAddress& mac, bool solicited, timer::Instant now);
  void enqueue(Entry& entry, rte_mbuf* packet);
  void request(Entry& entry, timer::Instant now);
  void expire(Entry& entry, timer::Instant now);
  void transmit(rte_mbuf* packet, const packet::MacAddress& destination, uint16_t type);
  void transmit_ip(rte_mbuf* packet, const packet::MacAddress& destination);
  packet::IpAddress own_address(bool v4) const;
  void answer_solicitation(const packet::Parsed& request, const packet::IpAddress& target,
                           const packet::MacAddress& to);

  const packet::MacAddress mac_;
  const std::vector<packet::IpAddress> own_;
  const packet::Pools& pools_;
  const packet::SipKey key_;
  NeighbourOutput& output_;
  timer::Wheel wheel_;
  packet::HashIndex index_;
  std::vector<Entry> entries_;
  std::vector<uint32_t> free_;
  size_t size_ = 0;
  uint32_t hand_ = 0;  // where evict_stale() goes on
};

}  // namespace isthmus::ip
