// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "sim/gateway_wire.h"

#include <algorithm>
#include <fmt/format.h>

#include <rte_ip.h>

#include "ip/arp.h"
#include "packet/chain.h"
#include "packet/offload.h"
#include "support/pools.h"

namespace isthmus::sim {
namespace {

using packet::Ethernet;
using packet::Ipv4;
using packet::Tcp;

rte_mbuf* mbuf_of(const std::vector<uint8_t>& bytes) {
  packet::Chain chain;
  const packet::Pools& pools = test::pools();
  if (!chain.append_copy(bytes, bytes.size() > packet::kSmallRoom ? pools.large : pools.small)) {
    return nullptr;
  }
  return chain.release();
}

}  // namespace

bool Carried::header_intact() const {
  const auto* ip = reinterpret_cast<const rte_ipv4_hdr*>(bytes.data());
  return bytes.size() >= sizeof *ip && rte_ipv4_hdr_len(ip) == sizeof *ip &&
         rte_raw_cksum(ip, sizeof *ip) == 0xffff;
}

packet::Tuple Carried::tuple() const {
  const auto* ip = reinterpret_cast<const Ipv4*>(bytes.data());
  packet::Tuple tuple;
  tuple.source.address = packet::IpAddress::v4(ip->source);
  tuple.destination.address = packet::IpAddress::v4(ip->destination);
  if (protocol() == packet::kProtoTcp || protocol() == packet::kProtoUdp) {
    const uint8_t* l4 = bytes.data() + ip->header_length();
    tuple.source.port = packet::load_be<uint16_t>(l4);
    tuple.destination.port = packet::load_be<uint16_t>(l4 + 2);
  }
  return tuple;
}

const Tcp* Carried::tcp() const {
  if (protocol() != packet::kProtoTcp) return nullptr;
  return reinterpret_cast<const Tcp*>(bytes.data() +
                                      reinterpret_cast<const Ipv4*>(bytes.data())->header_length());
}

Carried carry(rte_mbuf* packet) {
  Carried carried;
  const uint64_t flags = packet->ol_flags;
  carried.bytes.resize(packet->pkt_len);
  const uint16_t segment_size = packet->tso_segsz;
  packet::Chain(packet).copy_out(0, carried.bytes);
  if ((flags & RTE_MBUF_F_TX_IP_CKSUM) != 0) {
    auto* ip = reinterpret_cast<rte_ipv4_hdr*>(carried.bytes.data());
    ip->hdr_checksum = 0;
    ip->hdr_checksum = rte_ipv4_cksum(ip);
  }
  const bool segmented = (flags & RTE_MBUF_F_TX_TCP_SEG) != 0;
  carried.partial = segmented || (flags & RTE_MBUF_F_TX_L4_MASK) != 0;
  if (segmented) carried.segment_size = segment_size;
  return carried;
}

rte_mbuf* to_received(const Carried& packet) {
  rte_mbuf* made = mbuf_of(packet.bytes);
  if (made == nullptr) return nullptr;
  if (packet.partial) made->ol_flags |= RTE_MBUF_F_RX_L4_CKSUM_NONE;
  if (packet.segment_size != 0) {
    made->ol_flags |= RTE_MBUF_F_RX_LRO;
    made->tso_segsz = packet.segment_size;
  }
  return made;
}

rte_mbuf* to_transmit(const Carried& packet) {
  rte_mbuf* made = mbuf_of(packet.bytes);
  if (made == nullptr || !packet.partial) return made;
  auto* ip = rte_pktmbuf_mtod(made, rte_ipv4_hdr*);
  made->l3_len = rte_ipv4_hdr_len(ip);
  auto* tcp = rte_pktmbuf_mtod_offset(made, Tcp*, made->l3_len);
  made->l4_len = tcp->header_length();
  made->ol_flags = RTE_MBUF_F_TX_IPV4 | RTE_MBUF_F_TX_IP_CKSUM | RTE_MBUF_F_TX_TCP_CKSUM;
  if (packet.segment_size != 0) {
    made->ol_flags |= RTE_MBUF_F_TX_TCP_SEG;
    made->tso_segsz = packet.segment_size;
  }
  tcp->checksum = packet::be16::from_raw(rte_ipv4_phdr_cksum(ip, made->ol_flags));
  return made;
}

std::vector<Carried> segments(Carried&& packet) {
  std::vector<Carried> all;
  if (packet.segment_size == 0) {
    all.push_back(std::move(packet));
  } else if (rte_mbuf* whole = to_transmit(packet)) {
    packet::Segmenter segmenter(whole, test::pools());
    while (rte_mbuf* segment = segmenter.next()) all.push_back(carry(segment));
  }
  return all;
}

void Peer::put(rte_mbuf* packet, const packet::MacAddress& to, uint16_t type) {
  auto* ethernet = reinterpret_cast<Ethernet*>(rte_pktmbuf_prepend(packet, sizeof(Ethernet)));
  *ethernet = {to, config_.mac, packet::be16(type)};
  to_gateway_(packet);
}

void Peer::send(Carried&& packet) {
  if (!resolved_) {
    waiting_.push_back(std::move(packet));
    if (waiting_.size() > 1) return;
    put(ip::make_arp_request(config_.mac, config_.addresses.front().v4_wire(),
                             config_.gateway.v4_wire(), test::pools().small),
        packet::MacAddress::broadcast(), Ethernet::kArp);
    return;
  }
  if (rte_mbuf* made = to_received(packet)) put(made, config_.gateway_mac, Ethernet::kIpv4);
}

void Peer::arp(const Ethernet& ethernet, rte_mbuf* frame) {
  packet::Arp message;
  if (ip::parse_arp(frame, message)) {
    error_ = "the gateway sent a malformed ARP message";
  } else if (message.operation.get() == packet::Arp::kRequest) {
    ++arp_requests_;
    const auto asked = packet::IpAddress::v4(message.target_ip);
    const auto& own = config_.addresses;
    if (std::find(own.begin(), own.end(), asked) != own.end()) {
      put(ip::make_arp_reply(message, config_.mac, test::pools().small), ethernet.source,
          Ethernet::kArp);
    }
  } else if (message.sender_mac != config_.gateway_mac) {
    error_ = "the gateway answered ARP with another MAC";
  } else {
    resolved_ = true;
    auto waiting = std::move(waiting_);
    for (Carried& packet : waiting) send(std::move(packet));
  }
  rte_pktmbuf_free(frame);
}

void Peer::from_gateway(rte_mbuf* frame) {
  const Ethernet ethernet = *rte_pktmbuf_mtod(frame, const Ethernet*);
  if (ethernet.source != config_.gateway_mac ||
      (ethernet.destination != config_.mac && !ethernet.destination.is_multicast())) {
    error_ = fmt::format("a frame from {} to {}", ethernet.source.to_string(),
                         ethernet.destination.to_string());
  }
  rte_pktmbuf_adj(frame, sizeof(Ethernet));
  frame->l2_len = 0;
  if (ethernet.type.get() == Ethernet::kArp) return arp(ethernet, frame);
  Carried packet = carry(frame);
  if (packet.partial && !config_.offload) error_ = "a checksum was left to who cannot do it";
  if (packet.bytes.size() > config_.mtu && packet.segment_size == 0) {
    error_ = fmt::format("a packet of {} bytes exceeds the MTU", packet.bytes.size());
  }
  up_(std::move(packet));
}

}  // namespace isthmus::sim
