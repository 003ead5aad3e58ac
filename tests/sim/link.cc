// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "sim/link.h"

#include <cstdio>
#include <fmt/format.h>

#include "packet/chain.h"
#include "packet/headers.h"
#include "packet/offload.h"

namespace isthmus::sim {
namespace {

using packet::Ipv4;
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

std::string describe(const std::vector<uint8_t>& bytes) {
  const bool v4 = bytes[0] >> 4 == 4;
  const size_t l3 = v4 ? (bytes[0] & 0xfu) * 4 : sizeof(Ipv6);
  const uint8_t protocol = v4 ? bytes[9] : bytes[6];
  if (protocol != packet::kProtoTcp || bytes.size() < l3 + sizeof(Tcp)) {
    return fmt::format("protocol {} length {}", protocol, bytes.size());
  }
  const auto& tcp = *reinterpret_cast<const Tcp*>(bytes.data() + l3);
  std::string flags;
  for (unsigned i = 0; i < 8; ++i) {
    if ((tcp.flags & (1u << i)) != 0) flags += "FSRPAUEC"[i];
  }
  const size_t payload = bytes.size() - std::min(bytes.size(), l3 + tcp.header_length());
  std::string text = fmt::format("{} > {} {} seq {} ack {} win {} len {}", tcp.source_port.get(),
                                 tcp.destination_port.get(), flags, tcp.sequence.get(),
                                 tcp.acknowledgment.get(), tcp.window.get(), payload);
  for (size_t i = l3 + sizeof(Tcp); i < std::min(bytes.size(), l3 + tcp.header_length()); ++i) {
    text += fmt::format("{}{:02x}", i == l3 + sizeof(Tcp) ? " opt " : "", bytes[i]);
  }
  return text;
}

}  // namespace

void PacketLog::add(timer::Instant now, int side, const char* fate,
                    const std::vector<uint8_t>& packet) {
  text_ +=
      fmt::format("{:.6f} {} {} {}\n", static_cast<double>(now.time_since_epoch().count()) / 1e6,
                  side, fate, describe(packet));
  if (keep_) kept_.push_back({now, packet});
}

bool PacketLog::write_pcap(const std::string& path) const {
  FILE* file = std::fopen(path.c_str(), "wb");
  if (file == nullptr) return false;
  const uint32_t header[] = {0xa1b2c3d4, 0x00040002, 0, 0, 262144, 101};  // raw IP
  std::fwrite(header, sizeof header, 1, file);
  for (const Kept& packet : kept_) {
    const auto micros = packet.at.time_since_epoch().count();
    const auto length = static_cast<uint32_t>(packet.bytes.size());
    const uint32_t record[] = {static_cast<uint32_t>(micros / 1'000'000),
                               static_cast<uint32_t>(micros % 1'000'000), length, length};
    std::fwrite(record, sizeof record, 1, file);
    std::fwrite(packet.bytes.data(), 1, length, file);
  }
  return std::fclose(file) == 0;
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

void Link::put(int from, std::vector<uint8_t> bytes) {
  Direction& direction = directions_[from];
  const LinkModel& model = direction.model;
  const timer::Instant now = scheduler_.now();
  const uint64_t number = direction.count++;
  if (watcher_) watcher_(from, bytes);
  timer::Instant leaves = now;
  if (model.bits_per_second != 0) {
    const auto backlog =
        static_cast<uint64_t>(std::max<int64_t>((direction.free_at - now).count(), 0)) *
        model.bits_per_second / 8'000'000;
    if (backlog + bytes.size() > model.queue_bytes) {
      ++direction.lost;
      if (log_ != nullptr) log_->add(now, from, "full", bytes);
      return;
    }
    leaves =
        std::max(now, direction.free_at) +
        timer::Duration(static_cast<int64_t>(bytes.size() * 8'000'000 / model.bits_per_second));
    direction.free_at = leaves;
  }
  if ((rule_ && rule_(from, number, bytes)) || chance(model.loss)) {
    ++direction.lost;
    if (log_ != nullptr) log_->add(now, from, "lost", bytes);
    return;
  }
  timer::Duration extra{};
  if (model.jitter.count() != 0) {
    extra = timer::Duration(
        static_cast<int64_t>(random_() % static_cast<uint64_t>(model.jitter.count())));
  }
  timer::Instant arrives = leaves + model.delay + extra;
  const char* fate = "sent";
  if (chance(model.reorder)) {
    fate = "late";
    arrives += timer::Duration(static_cast<int64_t>(
        random_() % static_cast<uint64_t>(std::max<int64_t>(model.reorder_delay.count(), 1))));
  } else {
    arrives = std::max(arrives, direction.last_at);
    direction.last_at = arrives;
  }
  if (chance(model.corrupt)) {
    fate = "flip";
    const uint64_t bit = random_() % (bytes.size() * 8);
    if (log_ != nullptr) log_->add(now, from, fate, bytes);
    bytes[bit / 8] ^= static_cast<uint8_t>(1u << (bit % 8));
  } else if (log_ != nullptr) {
    log_->add(now, from, fate, bytes);
  }
  if (chance(model.duplicate)) arrive(from, arrives + model.delay / 4, bytes);
  arrive(from, arrives, std::move(bytes));
}

void Link::arrive(int from, timer::Instant when, std::vector<uint8_t> bytes) {
  scheduler_.at(when, [this, from, bytes = std::move(bytes)] {
    rte_mbuf* packet = mbuf_of(bytes, pools_);
    if (packet != nullptr) directions_[from].deliver(packet);
  });
}

}  // namespace isthmus::sim
