// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// One byte to and fro on a stream, while others of the same connection send all that they can. On a
// path in virtual time, where work takes none, what a byte waits for is what was sent ahead of it:
// the sender's queues and the path's. In memory on one core it is what else a turn of the worker
// does.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "bench.h"
#include "sim/link.h"
#include "sim/scheduler.h"
#include "unit/hbone/nodes.h"

namespace isthmus::bench {
namespace {

using hbone::Tunnel;
using hbone::test::Node;
using test::pools;

constexpr uint32_t kPiece = 16u << 10;
constexpr size_t kWarmUp = 1000;  // round trips, until windows are open; a half of fewer

// Fills its tunnel whenever there is room.
class Bulk final : public relay::Observer {
 public:
  void start(Tunnel& tunnel) {
    tunnel.observe(this);
    on_writable(tunnel);
  }
  void on_readable(relay::Leg&) override {}
  void on_writable(relay::Leg& leg) override {
    while (leg.send_room() >= kPiece) {
      rte_mbuf* mbuf = rte_pktmbuf_alloc(pools().large);
      require(mbuf != nullptr && rte_pktmbuf_append(mbuf, kPiece) != nullptr, "no buffer");
      packet::Chain chain;
      chain.append(mbuf);
      leg.write(std::move(chain));
    }
  }
  void on_ended(relay::Leg&) override {}
  void on_closed(relay::Leg&) override {}
  void on_aborted(relay::Leg&, relay::Cause) override { require(false, "a tunnel is cut off"); }
};

// Takes what comes; echoes it where told so.
class Far final : public relay::Observer {
 public:
  void start(Tunnel& tunnel, bool echo) {
    echo_ = echo;
    tunnel.observe(this);
  }
  void on_readable(relay::Leg& leg) override {
    packet::Chain bytes = leg.read(leg.readable());
    taken += bytes.size();
    if (echo_) leg.write(std::move(bytes));
  }
  void on_writable(relay::Leg&) override {}
  void on_ended(relay::Leg&) override {}
  void on_closed(relay::Leg&) override {}
  void on_aborted(relay::Leg&, relay::Cause) override {}
  uint64_t taken = 0;

 private:
  bool echo_ = false;
};

// Sends a byte as soon as the last one is back.
class Ping final : public relay::Observer {
 public:
  explicit Ping(std::function<double()> clock) : clock_(std::move(clock)) {}
  void start(Tunnel& tunnel) {
    tunnel.observe(this);
    send(tunnel);
  }
  void on_readable(relay::Leg& leg) override {
    leg.read(leg.readable());
    times.push_back(clock_() - sent_);
    send(leg);
  }
  void on_writable(relay::Leg&) override {}
  void on_ended(relay::Leg&) override {}
  void on_closed(relay::Leg&) override {}
  void on_aborted(relay::Leg&, relay::Cause) override { require(false, "a tunnel is cut off"); }
  std::vector<double> times;

 private:
  void send(relay::Leg& leg) {
    sent_ = clock_();
    hbone::test::say(leg, "x");
  }
  std::function<double()> clock_;
  double sent_ = 0;
};

// One tunnel for the byte and one for each bulk stream, on one connection.
class Rig {
 public:
  Rig(unsigned bulks, std::function<double()> clock) : ping_(std::move(clock)), bulks_(bulks) {
    for (unsigned i = 0; i <= bulks; ++i) pair.open();
    pair.run();
    for (unsigned i = 0; i <= bulks; ++i) {
      require(pair.opener.results[i].tunnel != nullptr, "a tunnel does not open");
      far_.emplace_back();
    }
    require(pair.server.hbone.transports() == 1, "more than one connection");
  }
  void start() {
    for (size_t i = 0; i < far_.size(); ++i) {
      far_[i].start(*pair.service.accepted[i].tunnel, i == 0);
      if (i > 0) bulks_[i - 1].start(*pair.opener.results[i].tunnel);
    }
    ping_.start(*pair.opener.results[0].tunnel);
  }
  ~Rig() {
    stop();
    for (auto& each : pair.service.accepted) each.tunnel->observe(nullptr);
  }
  // Nothing new is sent.
  void stop() {
    for (auto& each : pair.opener.results) each.tunnel->observe(nullptr);
  }
  Latency result(double seconds) {
    const size_t warm = std::min(kWarmUp, ping_.times.size() / 2);
    std::vector<double> times(ping_.times.begin() + static_cast<ptrdiff_t>(warm),
                              ping_.times.end());
    require(!times.empty(), "no byte came back");
    std::sort(times.begin(), times.end());
    const auto at = [&](double part) {
      return times.at(static_cast<size_t>(part * static_cast<double>(times.size())));
    };
    uint64_t taken = 0;
    for (size_t i = 1; i < far_.size(); ++i) taken += far_[i].taken;
    return {at(0.5), at(0.99), static_cast<double>(taken) / seconds};
  }

  hbone::test::Pair pair;

 private:
  Ping ping_;
  std::deque<Far> far_;
  std::vector<Bulk> bulks_;
};

}  // namespace

Latency latency_on_path(const Path& path, unsigned bulks, double seconds) {
  // Virtual time goes on from where the tunnels were opened.
  sim::Scheduler* clock = nullptr;
  Rig rig(bulks,
          [&clock] { return 1e-6 * static_cast<double>(clock->now().time_since_epoch().count()); });
  sim::Scheduler scheduler(rig.pair.now);
  clock = &scheduler;
  sim::Link link(scheduler, pools(), 1, nullptr);
  Node* ends[] = {&rig.pair.client, &rig.pair.server};
  bool due[2] = {};
  std::vector<std::unique_ptr<sim::Waker>> wakers;
  const auto round = [&](int side) {
    due[side] = false;
    Node& node = *ends[side];
    node.round(scheduler.now(), rig.pair.wall);
    for (rte_mbuf* packet : std::exchange(node.out, {})) link.send(side, packet);
    wakers[side]->set(std::min(node.tcp.next_deadline(), node.hbone.next_deadline()));
  };
  for (int side = 0; side < 2; ++side) {
    link.model(side) = {.delay = path.delay,
                        .bits_per_second = path.bits_per_second,
                        .queue_bytes = path.queue_bytes};
    wakers.push_back(std::make_unique<sim::Waker>(scheduler, [&round, side] { round(side); }));
    link.attach(side, [&, side](rte_mbuf* packet) {
      ends[side]->receive(packet, scheduler.now());
      if (std::exchange(due[side], true)) return;
      scheduler.at(scheduler.now(), [&round, side] { round(side); });
    });
  }
  rig.start();
  round(0);
  const auto span = std::chrono::microseconds(static_cast<int64_t>(seconds * 1e6));
  const timer::Instant end = scheduler.now() + span;
  while (scheduler.now() < end && scheduler.step()) {
  }
  const Latency result = rig.result(seconds);
  // What is on its way arrives, or is lost and sent again: the rig ends without anything.
  rig.stop();
  const timer::Instant quiet = scheduler.now() + std::chrono::seconds(5);
  while (scheduler.now() < quiet && scheduler.step()) {
  }
  rig.pair.now = scheduler.now();
  return result;
}

Latency latency_on_core(unsigned bulks, double seconds) {
  double spent = 0;
  double started = 0;  // while one of the ends works
  Rig rig(bulks, [&] { return spent + (cpu_seconds() - started); });
  Node* ends[] = {&rig.pair.client, &rig.pair.server};
  started = cpu_seconds();
  rig.start();
  for (int side = 0; spent < seconds; side = 1 - side) {
    Node& node = *ends[side];
    rig.pair.now += std::chrono::microseconds(20);
    started = cpu_seconds();
    node.round(rig.pair.now, rig.pair.wall);
    spent += cpu_seconds() - started;
    std::vector<rte_mbuf*> packets;
    for (rte_mbuf* packet : std::exchange(node.out, {}))
      packets.push_back(hbone::test::carry(packet));
    started = cpu_seconds();
    for (rte_mbuf* packet : packets) ends[1 - side]->receive(packet, rig.pair.now);
    spent += cpu_seconds() - started;
  }
  return rig.result(seconds);
}

}  // namespace isthmus::bench
