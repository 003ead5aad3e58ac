// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "packet/offload.h"

#include <algorithm>
#include <cassert>
#include <cstring>

#include "packet/checksum.h"

namespace isthmus::packet {
namespace {

// A payload shorter than this is copied behind its header: cheaper than a reference.
constexpr uint32_t kCopyLimit = 256;

constexpr uint64_t kReceiveFlags = RTE_MBUF_F_RX_L4_CKSUM_MASK | RTE_MBUF_F_RX_IP_CKSUM_MASK |
                                   RTE_MBUF_F_RX_LRO | RTE_MBUF_F_RX_VLAN | RTE_MBUF_F_RX_RSS_HASH;
constexpr uint64_t kOffloadFlags = RTE_MBUF_F_TX_OFFLOAD_MASK;

be16& transport_checksum(uint8_t* header, uint8_t protocol) {
  return protocol == kProtoTcp ? reinterpret_cast<Tcp*>(header)->checksum
                               : reinterpret_cast<Udp*>(header)->checksum;
}

}  // namespace

void prepare_forward(Parsed& parsed) {
  rte_mbuf* packet = parsed.mbuf;
  const uint64_t received = packet->ol_flags;
  packet->ol_flags &= ~(kReceiveFlags | kOffloadFlags);
  packet->l2_len = 0;
  packet->l3_len = parsed.l3_length;
  packet->l4_len = parsed.l4_length;
  const bool tcp = parsed.protocol == kProtoTcp;
  if (parsed.is_fragment || (!tcp && parsed.protocol != kProtoUdp)) return;
  const bool partial = (received & RTE_MBUF_F_RX_L4_CKSUM_MASK) == RTE_MBUF_F_RX_L4_CKSUM_NONE;
  const bool coalesced = tcp && (received & RTE_MBUF_F_RX_LRO) != 0 && packet->tso_segsz != 0 &&
                         parsed.payload_length > packet->tso_segsz;
  if (!partial && !coalesced) return;
  packet->ol_flags |= tcp ? RTE_MBUF_F_TX_TCP_CKSUM : RTE_MBUF_F_TX_UDP_CKSUM;
  packet->ol_flags |=
      parsed.is_v4() ? RTE_MBUF_F_TX_IPV4 | RTE_MBUF_F_TX_IP_CKSUM : RTE_MBUF_F_TX_IPV6;
  if (coalesced) packet->ol_flags |= RTE_MBUF_F_TX_TCP_SEG;
  const uint32_t length = coalesced ? 0 : parsed.l4_length + parsed.payload_length;
  transport_checksum(parsed.l4<uint8_t>(), parsed.protocol) =
      pseudo_header_sum(parsed.tuple.source.address, parsed.tuple.destination.address,
                        parsed.protocol, length)
          .partial();
}

void complete_checksums(rte_mbuf* packet) {
  const uint64_t wanted = packet->ol_flags;
  auto* ip = rte_pktmbuf_mtod_offset(packet, uint8_t*, packet->l2_len);
  if ((wanted & RTE_MBUF_F_TX_IP_CKSUM) != 0) {
    auto* header = reinterpret_cast<Ipv4*>(ip);
    header->checksum = be16(0);
    header->checksum = ipv4_header_checksum(header, header->header_length());
  }
  const uint64_t l4 = wanted & RTE_MBUF_F_TX_L4_MASK;
  if (l4 == RTE_MBUF_F_TX_TCP_CKSUM || l4 == RTE_MBUF_F_TX_UDP_CKSUM) {
    const uint8_t protocol = l4 == RTE_MBUF_F_TX_TCP_CKSUM ? kProtoTcp : kProtoUdp;
    const auto start = static_cast<uint32_t>(packet->l2_len + packet->l3_len);
    be16& field = transport_checksum(ip + packet->l3_len, protocol);
    // The field holds the pseudo header's sum, so summing it along with the rest completes it.
    field = packet_sum(packet, start, packet->pkt_len - start).checksum();
    if (protocol == kProtoUdp && field.raw() == 0) field = be16(0xffff);
  }
  packet->ol_flags &=
      ~(RTE_MBUF_F_TX_IP_CKSUM | RTE_MBUF_F_TX_L4_MASK | RTE_MBUF_F_TX_IPV4 | RTE_MBUF_F_TX_IPV6);
}

Segmenter::Segmenter(rte_mbuf* packet, const Pools& pools)
    : pools_(pools),
      flags_((packet->ol_flags & kOffloadFlags & ~RTE_MBUF_F_TX_TCP_SEG) | RTE_MBUF_F_TX_TCP_CKSUM),
      tx_offload_(packet->tx_offload),
      l2_length_(packet->l2_len),
      l3_length_(packet->l3_len),
      l4_length_(packet->l4_len),
      segment_size_(packet->tso_segsz) {
  const uint32_t header = l2_length_ + l3_length_ + l4_length_;
  assert(segment_size_ != 0 && header <= kMaxHeader && header <= packet->data_len);
  std::memcpy(header_, rte_pktmbuf_mtod(packet, const uint8_t*), header);
  payload_.append(packet);
  payload_.drop_front(header);
}

rte_mbuf* Segmenter::next() {
  if (done()) return nullptr;
  rte_mbuf* segment = rte_pktmbuf_alloc(pools_.small);
  if (segment == nullptr) return nullptr;
  const uint32_t length = std::min<uint32_t>(segment_size_, payload_.size());
  segment->data_len = static_cast<uint16_t>(l2_length_ + l3_length_ + l4_length_);
  segment = take_payload(segment, length);
  if (segment == nullptr) return nullptr;
  write_header(segment, length);
  segment->tx_offload = tx_offload_;
  segment->tso_segsz = 0;
  segment->ol_flags |= flags_;
  first_ = false;
  sent_ += length;
  ++count_;
  return segment;
}

// Appends the payload's next bytes to the header mbuf: by reference, or copied when they are few or
// no reference is to be had. Frees the mbuf when neither works.
rte_mbuf* Segmenter::take_payload(rte_mbuf* segment, uint32_t length) {
  if (length > kCopyLimit) {
    Chain slice = payload_.split_front(length, pools_.clones);
    if (!slice.empty()) {
      segment->next = slice.release();
      segment->nb_segs = static_cast<uint16_t>(1 + segment->next->nb_segs);
      segment->pkt_len = segment->data_len + length;
      return segment;
    }
  }
  if (rte_pktmbuf_tailroom(segment) < length) {
    rte_pktmbuf_free(segment);
    return nullptr;
  }
  payload_.copy_out(0, {rte_pktmbuf_mtod_offset(segment, uint8_t*, segment->data_len), length});
  payload_.drop_front(length);
  segment->data_len = static_cast<uint16_t>(segment->data_len + length);
  segment->pkt_len = segment->data_len;
  return segment;
}

void Segmenter::write_header(rte_mbuf* segment, uint32_t length) const {
  auto* to = rte_pktmbuf_mtod(segment, uint8_t*);
  std::memcpy(to, header_, l2_length_ + l3_length_ + l4_length_);
  uint8_t* ip = to + l2_length_;
  auto* tcp = reinterpret_cast<Tcp*>(ip + l3_length_);
  const uint32_t transport = l4_length_ + length;
  Tuple tuple;
  if ((flags_ & RTE_MBUF_F_TX_IPV4) != 0) {
    auto* header = reinterpret_cast<Ipv4*>(ip);
    header->total_length.set(static_cast<uint16_t>(l3_length_ + transport));
    header->id.set(static_cast<uint16_t>(header->id.get() + count_));
    tuple.source.address = IpAddress::v4(header->source);
    tuple.destination.address = IpAddress::v4(header->destination);
  } else {
    auto* header = reinterpret_cast<Ipv6*>(ip);
    header->payload_length.set(static_cast<uint16_t>(l3_length_ - sizeof(Ipv6) + transport));
    tuple.source.address = IpAddress::v6(header->source);
    tuple.destination.address = IpAddress::v6(header->destination);
  }
  tcp->sequence.set(tcp->sequence.get() + sent_);
  if (!first_) tcp->flags &= static_cast<uint8_t>(~Tcp::kCwr);
  if (!payload_.empty()) tcp->flags &= static_cast<uint8_t>(~(Tcp::kFin | Tcp::kPsh));
  tcp->checksum =
      pseudo_header_sum(tuple.source.address, tuple.destination.address, kProtoTcp, transport)
          .partial();
}

}  // namespace isthmus::packet
