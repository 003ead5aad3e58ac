// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// Ethernet frames for the driver tests: bytes first, mbufs made from them.
#pragma once

#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include <rte_ether.h>
#include <rte_ip.h>
#include <rte_mbuf.h>
#include <rte_tcp.h>

#include "support/pools.h"

namespace isthmus::test {

using Bytes = std::vector<uint8_t>;

inline constexpr rte_ether_addr kOurMac = {{0x02, 0, 0, 0, 0, 0x01}};
inline constexpr rte_ether_addr kPeerMac = {{0x02, 0, 0, 0, 0, 0x02}};
inline constexpr uint32_t kTcpHeaders = 14 + 20 + 20;

// A TCP segment over IPv4 with `payload` counted bytes, from kPeerMac 10.1.1.1:1000 to kOurMac
// 10.1.1.2:80, IP checksum filled, TCP checksum zero.
inline Bytes tcp_frame(uint32_t payload) {
  Bytes out(kTcpHeaders + payload);
  auto* ethernet = reinterpret_cast<rte_ether_hdr*>(out.data());
  ethernet->dst_addr = kOurMac;
  ethernet->src_addr = kPeerMac;
  ethernet->ether_type = rte_cpu_to_be_16(RTE_ETHER_TYPE_IPV4);
  auto* ip = reinterpret_cast<rte_ipv4_hdr*>(ethernet + 1);
  ip->version_ihl = RTE_IPV4_VHL_DEF;
  ip->total_length = rte_cpu_to_be_16(static_cast<uint16_t>(out.size() - 14));
  ip->time_to_live = 64;
  ip->next_proto_id = IPPROTO_TCP;
  ip->src_addr = rte_cpu_to_be_32(RTE_IPV4(10, 1, 1, 1));
  ip->dst_addr = rte_cpu_to_be_32(RTE_IPV4(10, 1, 1, 2));
  ip->hdr_checksum = rte_ipv4_cksum(ip);
  auto* tcp = reinterpret_cast<rte_tcp_hdr*>(ip + 1);
  tcp->src_port = rte_cpu_to_be_16(1000);
  tcp->dst_port = rte_cpu_to_be_16(80);
  tcp->data_off = 5 << 4;
  tcp->tcp_flags = RTE_TCP_ACK_FLAG;
  for (uint32_t i = 0; i < payload; ++i) out[kTcpHeaders + i] = static_cast<uint8_t>(i * 7);
  return out;
}

inline rte_ipv4_hdr* ip_of(Bytes& frame) {
  return reinterpret_cast<rte_ipv4_hdr*>(frame.data() + 14);
}
inline rte_tcp_hdr* tcp_of(Bytes& frame) {
  return reinterpret_cast<rte_tcp_hdr*>(frame.data() + 34);
}

// A multi-segment mbuf that carries the bytes in pieces of at most `piece`.
inline rte_mbuf* to_mbuf(std::span<const uint8_t> bytes, uint32_t piece, rte_mempool* pool) {
  rte_mbuf* head = nullptr;
  while (!bytes.empty()) {
    const auto part = static_cast<uint16_t>(std::min<size_t>(piece, bytes.size()));
    rte_mbuf* segment = rte_pktmbuf_alloc(pool);
    if (segment == nullptr) abort();
    memcpy(rte_pktmbuf_append(segment, part), bytes.data(), part);
    bytes = bytes.subspan(part);
    if (head == nullptr) {
      head = segment;
    } else if (rte_pktmbuf_chain(head, segment) != 0) {
      abort();
    }
  }
  return head;
}

inline rte_mbuf* to_mbuf(std::span<const uint8_t> bytes) {
  return to_mbuf(bytes, packet::kSmallRoom, pools().small);
}

inline Bytes to_bytes(const rte_mbuf* frame) {
  Bytes out;
  for (const rte_mbuf* segment = frame; segment != nullptr; segment = segment->next) {
    const auto* data = rte_pktmbuf_mtod(segment, const uint8_t*);
    out.insert(out.end(), data, data + segment->data_len);
  }
  return out;
}

// Marks an mbuf made from tcp_frame() as a TCP packet to be cut into segments of mss.
inline void ask_tso(rte_mbuf* frame, uint16_t mss) {
  frame->l2_len = 14;
  frame->l3_len = 20;
  frame->l4_len = 20;
  frame->tso_segsz = mss;
  frame->ol_flags |=
      RTE_MBUF_F_TX_IPV4 | RTE_MBUF_F_TX_IP_CKSUM | RTE_MBUF_F_TX_TCP_CKSUM | RTE_MBUF_F_TX_TCP_SEG;
}

}  // namespace isthmus::test
