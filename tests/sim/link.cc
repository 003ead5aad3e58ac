// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "sim/link.h"

#include <algorithm>
#include <fmt/format.h>

#include "packet/chain.h"
#include "packet/headers.h"
#include "packet/offload.h"

namespace isthmus::sim {
namespace {

using packet::Ipv6;
using packet::Tcp;

std::vector<uint8_t> bytes_of(const rte_mbuf* packet) {
  std::vector<uint8_t> bytes;
  bytes.reserve(packet->pkt_len);
  for (const rte_mbuf* m = packet; m != nullptr; m = m->next) {
    const auto* data = rte_pktmbuf_mtod(m, const uint8_t*);
    bytes.insert(bytes.end(), data, data + m->data_len);
  }
  return bytes;
}

rte_mbuf* mbuf_of(const std::vector<uint8_t>& bytes, const packet::Pools& pools) {
  packet::Chain chain;
  rte_mempool* pool = bytes.size() > packet::kSmallRoom ? pools.large : pools.small;
  if (!chain.append_copy(bytes, pool)) return nullptr;
  return chain.release();
}

// It carries the end of what its sender had to say.
bool ends_a_flight(const std::vector<uint8_t>& packet) {
  const bool v4 = packet[0] >> 4 == 4;
  const size_t l3 = v4 ? size_t{packet[0] & 0xfu} * 4 : sizeof(Ipv6);
  if ((v4 ? packet[9] : packet[6]) != packet::kProtoTcp || packet.size() < l3 + sizeof(Tcp)) {
    return false;
  }
  const auto& tcp = *reinterpret_cast<const Tcp*>(packet.data() + l3);
  return (tcp.flags & (Tcp::kPsh | Tcp::kFin)) != 0;
}

}  // namespace

std::string describe(const LinkModel& m) {
  std::string text = fmt::format(
      "delay {} us jitter {} us loss {} tail {} burst {}/{} every {} reorder {} by {} us",
      m.delay.count(), m.jitter.count(), m.loss, m.tail_loss, m.burst.enter, m.burst.leave,
      m.lose_every, m.reorder, m.reorder_delay.count());
  text += fmt::format(" duplicate {} corrupt {} mtu {}{} cut {}", m.duplicate, m.corrupt, m.mtu,
                      m.black_hole < m.mtu ? fmt::format(" hole {}", m.black_hole) : "", m.segment);
  if (m.bits_per_second == 0) return text;
  text += fmt::format(" rate {} queue {} bytes", m.bits_per_second, m.queue_bytes);
  if (m.queue_packets != UINT32_MAX) text += fmt::format(" {} packets", m.queue_packets);
  if (m.mark_bytes != UINT32_MAX) text += fmt::format(" marks from {}", m.mark_bytes);
  return text;
}

Link::Link(Scheduler& scheduler, const packet::Pools& pools, uint64_t seed, PacketLog* log)
    : scheduler_(scheduler), pools_(pools), random_(seed), log_(log) {}

void Link::send(int from, rte_mbuf* packet) {
  const LinkModel& model = directions_[from].model;
  const bool large = (packet->ol_flags & RTE_MBUF_F_TX_TCP_SEG) != 0;
  if (large && model.segment) {
    packet::Segmenter segmenter(packet, pools_);
    while (rte_mbuf* segment = segmenter.next()) {
      packet::complete_checksums(segment);
      put(from, bytes_of(segment));
      rte_pktmbuf_free(segment);
    }
    return;
  }
  if (large) {
    // Arrives as one: the checksum is that of the whole.
    packet->ol_flags &= ~RTE_MBUF_F_TX_TCP_SEG;
    const auto length = static_cast<uint16_t>(packet->pkt_len - packet->l3_len);
    auto* tcp = rte_pktmbuf_mtod_offset(packet, Tcp*, packet->l3_len);
    uint32_t sum = uint32_t{tcp->checksum.get()} + length;
    while (sum >> 16 != 0) sum = (sum & 0xffff) + (sum >> 16);
    tcp->checksum.set(static_cast<uint16_t>(sum));
  }
  packet::complete_checksums(packet);
  put(from, bytes_of(packet));
  rte_pktmbuf_free(packet);
}

void Link::log(int from, const char* fate, const std::vector<uint8_t>& bytes) {
  if (log_ != nullptr) log_->add(scheduler_.now(), from, fate, bytes);
}

void Link::put(int from, std::vector<uint8_t> bytes) {
  Direction& direction = directions_[from];
  const LinkModel& model = direction.model;
  const uint64_t number = direction.count++;
  direction.bytes += bytes.size();
  if (watcher_) watcher_(from, bytes);
  middlebox_.rewrite(from, bytes);
  timer::Instant leaves = scheduler_.now();
  const char* fate = nullptr;
  if (model.segment && bytes.size() > model.black_hole) {
    fate = "hole";
  } else if (!pass_bottleneck(direction, bytes, leaves)) {
    fate = "full";
  } else if ((rule_ && rule_(from, number, bytes)) || loses(direction, bytes)) {
    fate = "lost";
  }
  if (fate != nullptr) {
    ++direction.lost;
    return log(from, fate, bytes);
  }
  fate = "sent";
  const timer::Instant arrives = arrival(direction, leaves, fate);
  if (chance(model.corrupt)) {
    const uint64_t bit = random_() % (bytes.size() * 8);
    log(from, "flip", bytes);
    bytes[bit / 8] ^= static_cast<uint8_t>(1u << (bit % 8));
  } else {
    log(from, fate, bytes);
  }
  if (chance(model.duplicate)) arrive(from, arrives + model.delay / 4, bytes);
  arrive(from, arrives, std::move(bytes));
}

bool Link::pass_bottleneck(Direction& direction, std::vector<uint8_t>& bytes,
                           timer::Instant& leaves) {
  const LinkModel& model = direction.model;
  if (model.bits_per_second == 0) return true;
  const timer::Instant now = scheduler_.now();
  while (!direction.queue.empty() && direction.queue.front() <= now) direction.queue.pop_front();
  const auto backlog =
      static_cast<uint64_t>(std::max<int64_t>((direction.free_at - now).count(), 0)) *
      model.bits_per_second / 8'000'000;
  if (backlog + bytes.size() > model.queue_bytes || direction.queue.size() >= model.queue_packets) {
    return false;
  }
  if (backlog > model.mark_bytes && mark_congestion(bytes)) ++direction.marked;
  leaves = std::max(now, direction.free_at) +
           timer::Duration(static_cast<int64_t>(bytes.size() * 8'000'000 / model.bits_per_second));
  direction.free_at = leaves;
  direction.queue.push_back(leaves);
  return true;
}

bool Link::loses(Direction& direction, const std::vector<uint8_t>& bytes) {
  const LinkModel& model = direction.model;
  if (model.burst.enter > 0) {
    const bool was_bad = direction.bad;
    const timer::Instant now = scheduler_.now();
    direction.bad = was_bad ? !chance(model.burst.leave) : chance(model.burst.enter);
    if (!was_bad) direction.bad_since = now;
    if (now - direction.bad_since > model.burst.longest) direction.bad = false;
    if (direction.bad && chance(model.burst.loss)) return true;
  }
  if (model.lose_every != 0 && direction.count % model.lose_every == 0) return true;
  if (model.tail_loss > 0 && ends_a_flight(bytes) && chance(model.tail_loss)) return true;
  return chance(model.loss);
}

timer::Instant Link::arrival(Direction& direction, timer::Instant leaves, const char*& fate) {
  const LinkModel& model = direction.model;
  timer::Duration extra{};
  if (model.jitter.count() != 0) {
    extra = timer::Duration(
        static_cast<int64_t>(random_() % static_cast<uint64_t>(model.jitter.count())));
  }
  timer::Instant arrives = leaves + model.delay + extra;
  if (model.reorder_every != 0 && direction.count % model.reorder_every == 0) {
    fate = "late";
    return arrives + model.reorder_delay;
  }
  if (chance(model.reorder)) {
    fate = "late";
    return arrives +
           timer::Duration(static_cast<int64_t>(random_() % static_cast<uint64_t>(std::max<int64_t>(
                                                                model.reorder_delay.count(), 1))));
  }
  arrives = std::max(arrives, direction.last_at);
  direction.last_at = arrives;
  return arrives;
}

void Link::arrive(int from, timer::Instant when, std::vector<uint8_t> bytes) {
  scheduler_.at(when, [this, from, bytes = std::move(bytes)] {
    rte_mbuf* packet = mbuf_of(bytes, pools_);
    if (packet != nullptr) directions_[from].deliver(packet);
  });
}

}  // namespace isthmus::sim
