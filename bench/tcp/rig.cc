// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "rig.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>

#include <rte_eal.h>
#include <rte_mbuf.h>
#include <rte_mempool.h>

#include "packet/headers.h"

namespace isthmus::bench {

double Meter::per_item() const {
  if (samples_.empty()) return 0;
  std::vector<uint64_t> sorted;
  sorted.reserve(samples_.size());
  for (const Sample& sample : samples_) sorted.push_back(sample.cycles);
  std::nth_element(sorted.begin(), sorted.begin() + static_cast<long>(sorted.size() / 2),
                   sorted.end());
  const uint64_t most = sorted[sorted.size() / 2] * 10 + 1000;
  double cycles = 0;
  double items = 0;
  for (const Sample& sample : samples_) {
    if (sample.cycles > most) continue;
    cycles += static_cast<double>(sample.cycles);
    items += sample.items;
  }
  return items == 0 ? 0 : cycles / items;
}

Wire::~Wire() {
  while (first_ < packets_.size()) rte_pktmbuf_free(packets_[first_++]);
}

rte_mbuf* Wire::received_copy(const rte_mbuf* packet) {
  const bool small = packet->pkt_len <= packet::kSmallRoom;
  rte_mbuf* copy = nullptr;
  rte_mbuf* last = nullptr;
  for (uint32_t left = packet->pkt_len; left != 0;) {
    rte_mbuf* segment = rte_pktmbuf_alloc(small ? pools_.small : pools_.large);
    if (segment == nullptr) {
      fprintf(stderr, "the receiving driver has no mbuf\n");
      exit(1);
    }
    segment->data_len = std::min<uint16_t>(rte_pktmbuf_tailroom(segment),
                                           static_cast<uint16_t>(std::min(left, 65535u)));
    left -= segment->data_len;
    (last == nullptr ? copy : last->next) = segment;
    last = segment;
    if (segment != copy) ++copy->nb_segs;
  }
  copy->pkt_len = packet->pkt_len;
  const uint32_t header = std::min<uint32_t>(packet->data_len, 128);
  std::memcpy(rte_pktmbuf_mtod(copy, void*), rte_pktmbuf_mtod(packet, const void*), header);
  copy->ol_flags = RTE_MBUF_F_RX_IP_CKSUM_GOOD | RTE_MBUF_F_RX_L4_CKSUM_GOOD;
  if ((packet->ol_flags & RTE_MBUF_F_TX_TCP_SEG) != 0) {
    copy->ol_flags |= RTE_MBUF_F_RX_LRO;
    copy->tso_segsz = packet->tso_segsz;
  }
  return copy;
}

unsigned Wire::take(std::array<rte_mbuf*, kBurst>& burst) {
  const auto count = static_cast<unsigned>(std::min<size_t>(kBurst, packets_.size() - first_));
  std::array<rte_mbuf*, kBurst> old{};
  for (unsigned i = 0; i < count; ++i) {
    old[i] = packets_[first_++];
    burst[i] = received_copy(old[i]);
  }
  const uint64_t start = rte_rdtsc();
  for (unsigned i = 0; i < count; ++i) rte_pktmbuf_free(old[i]);
  if (count != 0) freeing.add(rte_rdtsc() - start, count);
  if (first_ == packets_.size()) {
    packets_.clear();
    first_ = 0;
  }
  return count;
}

End::End(const tcp::Config& config, const packet::Pools& pools, Wire& out, Clock& clock)
    : out_(out), clock_(clock) {
  tcp::Secrets secrets;
  secrets.table = {1, 2};
  secrets.sequence = {3, 4};
  secrets.timestamp = {5, 6};
  secrets.random = {7, 8};
  engine_ = std::make_unique<tcp::Engine>(config, pools, static_cast<tcp::Output&>(*this), drops_,
                                          secrets, clock.now);
}

void End::transmit(rte_mbuf* packet, uint32_t) {
  ++sent;
  out_.put(packet);
}

void Wire::discard_to(uint8_t network) {
  const auto unwanted = [network](rte_mbuf* packet) {
    const auto* ip = rte_pktmbuf_mtod(packet, const packet::Ipv4*);
    if (ip->destination.get() >> 24 != network) return false;
    rte_pktmbuf_free(packet);
    return true;
  };
  packets_.erase(
      std::remove_if(packets_.begin() + static_cast<long>(first_), packets_.end(), unwanted),
      packets_.end());
}

bool End::answer(const packet::Parsed& segment) {
  if (listener_ == nullptr || (segment.tcp()->flags & packet::Tcp::kSyn) == 0) return false;
  if (engine_->crowded(segment)) {
    engine_->send_cookie(segment, options_, 0, clock_.now);
    return true;
  }
  engine_->accept(segment, listener_, options_, clock_.now);
  return false;
}

unsigned End::turn(Wire& in, Meter* whole) {
  std::array<rte_mbuf*, kBurst> burst{};
  std::array<packet::Parsed, kBurst> parsed;
  const unsigned count = in.take(burst);
  const uint64_t start = rte_rdtsc();
  for (unsigned i = 0; i < count; ++i) {
    if (packet::parse(burst[i], parsed[i])) {
      fprintf(stderr, "an engine has sent a malformed packet\n");
      exit(1);
    }
  }
  const uint64_t read = rte_rdtsc();
  tcp::Engine::Burst segments(*engine_, {parsed.data(), count});
  for (unsigned i = 0; i < count; ++i) {
    if (segments.input(i, clock_.now) || answer(parsed[i])) continue;
    rte_pktmbuf_free(burst[i]);
  }
  engine_->advance(clock_.now);
  const uint64_t taken = rte_rdtsc();
  engine_->flush(clock_.now);
  const uint64_t end = rte_rdtsc();
  if (whole != nullptr) {
    if (count != 0) whole->add(end - start, count);
    return count;
  }
  received += count;
  parsing.add(read - start, count);
  input.add(taken - read, count);
  flushing.add(end - taken, count);
  return count;
}

void End::flush() {
  engine_->flush(clock_.now);
}

void End::clear_meters() {
  parsing.clear();
  input.clear();
  flushing.clear();
  received = sent = 0;
}

packet::Pools make_pools(const char* name, unsigned small, unsigned large, unsigned clones) {
  const auto make = [name](const char* kind, unsigned count, uint16_t room) {
    const std::string full = std::string(name) + "_" + kind;
    const auto data = static_cast<uint16_t>(room == 0 ? 0 : room + packet::kHeadroom);
    rte_mempool* pool = rte_pktmbuf_pool_create_by_ops(full.c_str(), count, 256, 0, data,
                                                       SOCKET_ID_ANY, "ring_mt_rts");
    if (pool == nullptr) {
      fprintf(stderr, "no memory for mempool %s\n", full.c_str());
      exit(1);
    }
    return pool;
  };
  return {make("small", small, packet::kSmallRoom), make("large", large, packet::kLargeRoom),
          make("clones", clones, 0)};
}

int start_eal(int argc, char** argv) {
  const int taken = rte_eal_init(argc, argv);
  if (taken < 0) {
    fprintf(stderr, "EAL did not start\n");
    exit(1);
  }
  return taken;
}

void print_machine() {
  std::ifstream info("/proc/cpuinfo");
  std::string model = "unknown CPU";
  unsigned cpus = 0;
  for (std::string line; std::getline(info, line);) {
    if (line.rfind("processor", 0) == 0) ++cpus;
    if (line.rfind("model name", 0) == 0) model = line.substr(line.find(':') + 2);
  }
  std::ifstream load("/proc/loadavg");
  std::string average = "?";
  load >> average;
  printf("%s, %u CPUs, time stamp counter %.2f GHz, %s pages, load %s (others may share it)\n",
         model.c_str(), cpus, static_cast<double>(rte_get_tsc_hz()) / 1e9,
         rte_eal_has_hugepages() != 0 ? "huge" : "4 KB", average.c_str());
}

}  // namespace isthmus::bench
