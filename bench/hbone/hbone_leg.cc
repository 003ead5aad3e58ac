// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "bench.h"
#include "packet/offload.h"
#include "relay/pump.h"
#include "unit/hbone/nodes.h"

namespace isthmus::bench {
namespace {

using hbone::test::Node;
using test::pools;

// What a pod's connection is to the tunnel: bytes in buffers that are there, and a taker for any.
class Endpoint final : public relay::Leg {
 public:
  uint32_t readable() const override { return bytes_.size(); }
  packet::Chain read(uint32_t max) override {
    return bytes_.split_front(std::min(max, bytes_.size()), pools().clones);
  }
  bool ended() const override { return false; }
  uint32_t send_room() const override { return 1u << 20; }
  uint32_t queued() const override { return 0; }
  void write(packet::Chain&& bytes) override {
    taken += bytes.size();
    bytes.clear();
  }
  void shutdown() override {}
  void abort(relay::Cause) override {}
  void release() override {}

  void offer(packet::Chain&& bytes) {
    bytes_.append(std::move(bytes));
    observer_->on_readable(*this);
  }

  uint64_t taken = 0;

 private:
  packet::Chain bytes_;
};

struct Owner final : relay::PumpOwner {
  void on_pump_done(relay::Pump&, const relay::Outcome&) override { require(false, "cut off"); }
};

// Buffers as a port would have filled them. What is in them doesn't matter and isn't written.
packet::Chain payload(uint32_t size, uint32_t segment) {
  packet::Chain chain;
  while (size != 0) {
    const uint32_t n = std::min(size, segment);
    rte_mbuf* mbuf = rte_pktmbuf_alloc(n <= packet::kSmallRoom ? pools().small : pools().large);
    require(mbuf != nullptr && rte_pktmbuf_append(mbuf, static_cast<uint16_t>(n)) != nullptr,
            "no buffer");
    chain.append(mbuf);
    size -= n;
  }
  return chain;
}

// The wire: packets in buffers of their own, whole or cut to an MTU.
void carry(std::deque<rte_mbuf*>& from, bool coalesced, std::vector<rte_mbuf*>& to) {
  for (rte_mbuf* packet : from) {
    if (coalesced || (packet->ol_flags & RTE_MBUF_F_TX_TCP_SEG) == 0) {
      to.push_back(hbone::test::carry(packet));
      continue;
    }
    packet::Segmenter segments(packet, pools());
    while (rte_mbuf* segment = segments.next()) {
      std::vector<uint8_t> bytes(segment->pkt_len);
      const packet::Chain whole(segment);
      whole.copy_out(0, bytes);
      packet::Chain copy;
      require(copy.append_copy(bytes, pools().small), "no buffer");
      rte_mbuf* made = copy.release();
      made->ol_flags = RTE_MBUF_F_RX_L4_CKSUM_GOOD | RTE_MBUF_F_RX_IP_CKSUM_GOOD;
      to.push_back(made);
    }
    require(segments.done(), "no buffer");
  }
  from.clear();
}

// Adds the CPU time of what it calls.
template <typename Work>
void timed(double& sum, Work&& work) {
  const double start = cpu_seconds();
  work();
  sum += cpu_seconds() - start;
}

class Leg {
 public:
  explicit Leg(const Shape& shape) : shape_(shape) {
    pair_.open();
    pair_.run();
    require(pair_.opener.results[0].tunnel != nullptr, "the tunnel does not open");
    near_.start(source_, *pair_.opener.results[0].tunnel, owner_);
    far_.start(*pair_.service.accepted[0].tunnel, sink_, owner_);
  }
  ~Leg() {
    near_.cancel(relay::Cause::cancelled);
    far_.cancel(relay::Cause::cancelled);
  }

  Cost run(double seconds) {
    Ends spent;
    for (int i = 0; i < 200; ++i) turn(spent);  // until the windows are open
    Cost best;
    for (const double end = cpu_seconds() + seconds; cpu_seconds() < end;) {
      spent = {};
      const uint64_t before = sink_.taken;
      for (int i = 0; i < 100; ++i) turn(spent);
      const auto bytes = static_cast<double>(sink_.taken - before);
      if (bytes != 0) best.keep_better(spent.client / bytes, spent.server / bytes);
    }
    return best;
  }

 private:
  struct Ends {
    double client = 0;
    double server = 0;
  };
  void turn(Ends& spent);

  Shape shape_;
  hbone::test::Pair pair_;
  Endpoint source_;
  Endpoint sink_;
  relay::Pump near_;
  relay::Pump far_;
  Owner owner_;
};

// A burst of writes, their packets, and the answers to them.
void Leg::turn(Ends& spent) {
  Node& client = pair_.client;
  Node& server = pair_.server;
  pair_.now += std::chrono::microseconds(100);
  std::vector<packet::Chain> writes;
  if (pair_.opener.results[0].tunnel->send_room() >= shape_.write * shape_.burst) {
    for (uint32_t i = 0; i < shape_.burst; ++i) {
      writes.push_back(payload(shape_.write, shape_.segment));
    }
  }
  timed(spent.client, [&] {
    for (packet::Chain& write : writes) {
      source_.offer(std::move(write));
      client.hbone.flush(pair_.now);  // a message of its own, not a part of the next
    }
    client.round(pair_.now, pair_.wall);
  });
  const auto cross = [&](auto& from, auto& to, double& sum) {
    std::vector<rte_mbuf*> packets;
    carry(from.out, shape_.coalesced, packets);
    timed(sum, [&] {
      for (rte_mbuf* packet : packets) to.receive(packet, pair_.now);
      to.round(pair_.now, pair_.wall);
    });
  };
  cross(client, server, spent.server);
  cross(server, client, spent.client);
}

}  // namespace

Cost hbone_leg(const Shape& shape, double seconds) {
  return Leg(shape).run(seconds);
}

}  // namespace isthmus::bench
