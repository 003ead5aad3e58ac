// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "packet/ethernet.h"

#include "packet/buffer.h"

namespace isthmus::packet {
namespace {

constexpr unsigned kMaxTags = 2;
constexpr uint16_t kFirstEtherType = 0x0600;  // below it the field is an 802.3 length

// A new first segment that takes over what the packet's metadata says.
rte_mbuf* add_first_segment(rte_mbuf* packet, rte_mempool* pool) {
  rte_mbuf* first = rte_pktmbuf_alloc(pool);
  if (first == nullptr) return nullptr;
  first->port = packet->port;
  first->ol_flags |= packet->ol_flags & ~(RTE_MBUF_F_INDIRECT | RTE_MBUF_F_EXTERNAL);
  first->tx_offload = packet->tx_offload;
  first->packet_type = packet->packet_type;
  first->pkt_len = packet->pkt_len;
  first->nb_segs = static_cast<uint16_t>(packet->nb_segs + 1);
  first->next = packet;
  return first;
}

}  // namespace

stats::Refusal parse_ethernet(rte_mbuf* frame, FrameView& out) {
  if (auto bad = require_contiguous(frame, sizeof(Ethernet))) return bad;
  const auto* header = rte_pktmbuf_mtod(frame, const Ethernet*);
  out = {header->destination, header->source, header->type.get(), sizeof(Ethernet), 0};
  for (unsigned tag = 0; out.type == Ethernet::kVlan || out.type == Ethernet::kQinq; ++tag) {
    if (tag == kMaxTags) return stats::Reason::packet_unknown_ethertype;
    if (auto bad = require_contiguous(frame, out.length + static_cast<uint32_t>(sizeof(Vlan))))
      return bad;
    const auto* vlan = rte_pktmbuf_mtod_offset(frame, const Vlan*, out.length);
    if (tag == 0) out.vlan_id = vlan->control.get() & 0x0fff;
    out.type = vlan->type.get();
    out.length = static_cast<uint16_t>(out.length + sizeof(Vlan));
  }
  if (out.type < kFirstEtherType) return stats::Reason::packet_unknown_ethertype;
  return std::nullopt;
}

void strip_ethernet(rte_mbuf* frame, const FrameView& view) {
  trim_front(frame, view.length);
}

rte_mbuf* push_ethernet(rte_mbuf* packet, const MacAddress& destination, const MacAddress& source,
                        uint16_t type, rte_mempool* pool) {
  rte_mbuf* frame = packet;
  if (!is_exclusive(packet) || rte_pktmbuf_headroom(packet) < sizeof(Ethernet)) {
    frame = add_first_segment(packet, pool);
    if (frame == nullptr) {
      rte_pktmbuf_free(packet);
      return nullptr;
    }
  }
  auto* header = reinterpret_cast<Ethernet*>(rte_pktmbuf_prepend(frame, sizeof(Ethernet)));
  *header = {destination, source, be16(type)};
  frame->l2_len = sizeof(Ethernet);
  return frame;
}

}  // namespace isthmus::packet
