// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// One worker: owns its flows, runs each of them to completion, waits for nobody. Sans-IO like the
// rooms below: frames go through PacketIo, time comes with poll(), so that a simulator can run many
// of them in one thread.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>

#include "capture/classify.h"
#include "flow/table.h"
#include "gateway/context.h"
#include "gateway/edge.h"
#include "gateway/handoff.h"
#include "gateway/inbound.h"
#include "gateway/outbound.h"
#include "gateway/packet_io.h"
#include "gateway/plain.h"
#include "gateway/plan.h"
#include "gateway/ports.h"
#include "gateway/random.h"
#include "gateway/review.h"
#include "hbone/engine.h"
#include "hbone/pool.h"
#include "nat/table.h"
#include "packet/pools.h"
#include "tcp/engine.h"
#include "tls/executor.h"
#include "tls/record.h"

struct rte_ring;

namespace isthmus::gateway {

class Worker;

// Runs on the worker between bursts, on behalf of the control side, which waits for it. Bounded:
// copies out what it came for and returns.
class Task {
 public:
  virtual void run(Worker& worker) = 0;

 protected:
  ~Task() = default;
};

struct WorkerConfig {
  unsigned index = 0;
  unsigned workers = 1;
  uint32_t flows = 65536;  // records; the tables below have their own bounds
  tcp::Config tcp;
  hbone::EngineOptions hbone;
  hbone::PoolOptions pool;
  nat::Config nat;
  OutboundOptions outbound;
  uint32_t inbound_streams = 16384;
  QuotaLimits quotas;
  // Keys of the hashes that nobody outside may predict; fixed in tests.
  tcp::Secrets secrets;
  Random::Key random{};
};

// All of it belongs to the worker alone, but the handoff, and outlives it.
struct WorkerParts {
  PacketIo& io;
  Handoff& handoff;
  packet::Pools pools;
  tls::HandshakeExecutor& executor;
  tls::RecordLayer& records;
};

struct WorkerCounters {
  uint64_t polls = 0;
  uint64_t busy_polls = 0;  // found something to do
  uint64_t frames_received = 0;
  uint64_t handed_over = 0;  // to other workers
  uint64_t taken_over = 0;   // from other workers
};

class Worker final : private hbone::Dialer {
 public:
  // plan: the first one; it and its successors must outlive their use (plan_in_use()).
  Worker(const WorkerConfig& config, const WorkerParts& parts, const Plan* plan,
         timer::Instant now);
  ~Worker();
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  // One turn: receive, process, timers, events, transmit. Returns how much there was to do; 0 means
  // that the worker may sleep until next_deadline() unless has_pending().
  unsigned poll(timer::Instant now, tls::WallTime wall);
  timer::Instant next_deadline() const;
  // Something from another thread waits: a packet, a task, a plan. Handshake results announce
  // themselves by the executor's wake-up.
  bool has_pending() const;

  // Control side. The worker takes a published plan up at its next turn; the one before is in use
  // until then.
  void publish(const Plan* plan) { published_.store(plan, std::memory_order_release); }
  const Plan* plan_in_use() const { return in_use_.load(std::memory_order_acquire); }
  // False when the ring is full. The task must live until it has run.
  bool post(Task* task);

  // On the worker only (Task::run). No new flow is taken up from now on; tunnels get GOAWAY.
  void drain();
  bool drained() const { return draining_ && flows_.live() == 0; }
  // Resets what is left.
  void close_all();

  // For tasks and tests: on the worker only.
  flow::Table& flows() { return flows_; }
  tcp::Engine& tcp() { return tcp_; }
  hbone::Engine& hbone() { return hbone_; }
  nat::Table& nat() { return nat_; }
  Edge& edge() { return edge_; }
  const Context& context() const { return context_; }
  const Quotas& quotas() const { return quotas_; }
  const stats::ReasonCounters& reasons() const { return reasons_; }
  const WorkerCounters& counters() const { return counters_; }
  // Brings the byte counts in the live records up to date.
  void refresh_records();

 private:
  hbone::Dialled dial(const hbone::PoolKey& key, tcp::Handler& handler,
                      timer::Duration connect_timeout, timer::Instant now) override;
  void hung_up(uint64_t account) override { quotas_.end_dial(static_cast<uint32_t>(account)); }

  void take_plan();
  unsigned run_tasks();
  unsigned receive();
  unsigned take_over();
  void classify_frame(rte_mbuf* frame);
  void packet_in(rte_mbuf* packet, const Arrival& arrival);
  void process(packet::Parsed& packet, const Arrival& arrival);
  void take_segments();
  void miss(packet::Parsed& packet, const Arrival& arrival);
  void tunnelled_in(packet::Parsed& datagram, const Arrival& arrival);
  capture::Verdict classify(const packet::Parsed& packet, const Arrival& arrival) const;
  bool forwards_unknown(const packet::Parsed& packet, const Arrival& arrival) const;
  void open_flow(packet::Parsed& syn, const Arrival& arrival);
  bool open_by_cookie(packet::Parsed& ack, const Arrival& arrival);
  void settle(packet::Parsed& opener);
  void open_outbound(packet::Parsed& syn, const Arrival& arrival);
  void open_inbound_plaintext(packet::Parsed& syn, const Arrival& arrival);
  // What a translated flow becomes.
  struct PlainLeg {
    flow::Kind kind;
    capture::Class capture_class;
    packet::IpAddress source;  // as the upstream sees it
    packet::Endpoint upstream;
    mesh::IdentityId source_identity = mesh::kNoIdentity;
    mesh::IdentityId destination_identity = mesh::kNoIdentity;
  };
  void open_plain(packet::Parsed& syn, const Arrival& arrival, const PlainLeg& leg);
  // The record of a flow that its workload's quota allows. Null: the client was told, and why is
  // counted and recorded. The mbuf stays the caller's.
  flow::Record* open_admitted(const packet::Parsed& syn, const Arrival& arrival, flow::Kind kind,
                              capture::Class capture_class);
  void refuse(packet::Parsed& syn, const Arrival& arrival, capture::Class capture_class,
              stats::Reason reason, mesh::NameId policy);
  void icmp(packet::Parsed& packet, bool ours);
  void neighbour_message(rte_mbuf* message, uint16_t interface);
  void drop(rte_mbuf* packet, stats::Reason reason);

  static constexpr uint16_t kBurst = 64;
  static_assert(kBurst <= tcp::Engine::Burst::kMost);

  // TCP of the burst at hand.
  std::array<packet::Parsed, kBurst> segments_;
  std::array<Arrival, kBurst> arrivals_;
  unsigned segment_count_ = 0;

  const packet::Pools pools_;  // the rooms below keep references
  stats::ReasonCounters reasons_;
  WorkerCounters counters_;
  Random random_;
  flow::Table flows_;
  Quotas quotas_;
  Handoff& handoff_;
  Edge edge_;
  tcp::Engine tcp_;
  hbone::Engine hbone_;
  hbone::Pool pool_;
  nat::Table nat_;
  Context context_;
  Ports ports_;
  Outbound outbound_;
  Inbound inbound_;
  Plain plain_;
  Review review_;
  bool draining_ = false;
  std::unique_ptr<rte_ring, void (*)(rte_ring*)> tasks_;
  std::atomic<const Plan*> published_;
  std::atomic<const Plan*> in_use_;
};

}  // namespace isthmus::gateway
