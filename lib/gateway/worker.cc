// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "gateway/worker.h"

#include <algorithm>
#include <cstdlib>
#include <utility>

#include <rte_mbuf.h>
#include <rte_ring.h>

#include "capture/classify.h"
#include "geneve/geneve.h"
#include "ip/icmp.h"
#include "ip/nd.h"
#include "packet/ethernet.h"
#include "packet/offload.h"
#include "proxy/inbound.h"
#include "proxy/outbound.h"

namespace isthmus::gateway {
namespace {

using packet::Parsed;
using stats::Reason;

constexpr unsigned kTaskRing = 64;
// In place of a VNI: the packet is an ARP or neighbour message that every worker hears.
constexpr uint32_t kNeighbourMessage = UINT32_MAX;

// A packet on its way to its owner carries how it came in, in mbuf fields that nobody reads
// otherwise between the two.
void write_arrival(rte_mbuf* packet, const Arrival& arrival) {
  packet->port = arrival.interface;
  packet->hash.fdir.lo = arrival.vni;
  packet->hash.fdir.hi = arrival.geneve_source.is_v4() ? arrival.geneve_source.v4_value() : 0;
}
Arrival read_arrival(const rte_mbuf* packet) {
  Arrival arrival;
  arrival.interface = packet->port;
  arrival.vni = packet->hash.fdir.lo;
  if (arrival.vni != 0 && arrival.vni != kNeighbourMessage)
    arrival.geneve_source = packet::IpAddress::v4(packet->hash.fdir.hi);
  return arrival;
}

// Of an error message: of the packet that it is about, so that it reaches that flow's owner.
packet::Tuple flow_of(const Parsed& packet) {
  ip::EmbeddedPacket embedded;
  if (ip::is_icmp_error(packet) && !ip::parse_icmp_error(packet, embedded)) return embedded.tuple;
  return packet.tuple;
}

rte_ring* make_task_ring() {
  const auto size = static_cast<size_t>(rte_ring_get_memsize(kTaskRing));
  auto* ring = static_cast<rte_ring*>(std::aligned_alloc(64, (size + 63) & ~size_t{63}));
  if (ring == nullptr || rte_ring_init(ring, "tasks", kTaskRing, RING_F_SC_DEQ) != 0) std::abort();
  return ring;
}

}  // namespace

Worker::Worker(const WorkerConfig& config, const WorkerParts& parts, const Plan* plan,
               timer::Instant now)
    : pools_(parts.pools),
      random_(config.random),
      flows_(config.index, config.workers, config.flows),
      quotas_(config.quotas, config.secrets.table),
      handoff_(parts.handoff),
      edge_(parts.io, pools_, reasons_, config.secrets.table, *plan, now),
      tcp_(config.tcp, pools_, edge_, reasons_, config.secrets, now),
      hbone_(config.hbone, {parts.executor, parts.records, pools_, reasons_}, now),
      pool_(hbone_, config.pool, *this),
      nat_(config.nat, now),
      context_{.now = now,
               .plan = plan,
               .index = config.index,
               .workers = config.workers,
               .pools = pools_,
               .reasons = reasons_,
               .flows = flows_,
               .quotas = quotas_,
               .random = random_,
               .tcp = tcp_,
               .nat = nat_,
               .owners = packet::IndirectionTable(config.workers)},
      ports_(context_),
      outbound_(config.outbound, context_, pool_),
      inbound_(config.inbound_streams, context_, hbone_, ports_),
      plain_(context_, edge_),
      review_(hbone_, outbound_, inbound_, plain_),
      tasks_(make_task_ring(), [](rte_ring* ring) { std::free(ring); }),
      published_(plan),
      in_use_(plan) {
  hbone_.set_trust(plan->trust.get());
}

Worker::~Worker() = default;

unsigned Worker::poll(timer::Instant now, tls::WallTime wall) {
  context_.now = now;
  context_.wall = wall;
  edge_.set_now(now);
  take_plan();
  unsigned work = run_tasks();
  work += receive();
  work += take_over();

  tcp_.advance(now);
  hbone_.advance(now, wall);
  plain_.advance();
  edge_.advance();
  work += review_.run();
  // Received bytes go up into HBONE; tunnels and their observers answer; what they sent goes out.
  tcp_.flush(now);
  hbone_.flush(now);
  if (quotas_.resume()) ++work;
  tcp_.flush(now);
  work += edge_.flush();

  ++counters_.polls;
  if (work != 0) ++counters_.busy_polls;
  return work;
}

timer::Instant Worker::next_deadline() const {
  return std::min(
      {tcp_.next_deadline(), hbone_.next_deadline(), nat_.next_deadline(), edge_.next_deadline()});
}

bool Worker::has_pending() const {
  return handoff_.pending(context_.index) || rte_ring_empty(tasks_.get()) == 0 ||
         published_.load(std::memory_order_acquire) != context_.plan;
}

bool Worker::post(Task* task) {
  return rte_ring_enqueue(tasks_.get(), task) == 0;
}

void Worker::take_plan() {
  const Plan* plan = published_.load(std::memory_order_acquire);
  if (plan == context_.plan) return;
  const Plan& before = *context_.plan;
  context_.plan = plan;
  edge_.set_plan(*plan);
  hbone_.set_trust(plan->trust.get());
  review_.start(before, *plan);
  in_use_.store(plan, std::memory_order_release);
}

unsigned Worker::run_tasks() {
  constexpr unsigned kPerTurn = 4;
  unsigned ran = 0;
  void* task = nullptr;
  while (ran < kPerTurn && rte_ring_dequeue(tasks_.get(), &task) == 0) {
    static_cast<Task*>(task)->run(*this);
    ++ran;
  }
  return ran;
}

void Worker::drop(rte_mbuf* packet, Reason reason) {
  reasons_.count(reason);
  rte_pktmbuf_free(packet);
}

unsigned Worker::receive() {
  rte_mbuf* frames[kBurst];
  const uint16_t count = edge_.io().receive(frames, kBurst);
  for (uint16_t i = 0; i < count; ++i) {
    if (i + 1 < count) rte_prefetch0(rte_pktmbuf_mtod(frames[i + 1], void*));
    classify_frame(frames[i]);
  }
  take_segments();
  counters_.frames_received += count;
  return count;
}

unsigned Worker::take_over() {
  rte_mbuf* packets[kBurst];
  const uint16_t count = handoff_.pop(context_.index, packets, kBurst);
  for (uint16_t i = 0; i < count; ++i) {
    const Arrival arrival = read_arrival(packets[i]);
    if (arrival.vni == kNeighbourMessage) {
      edge_.neighbour_message(packets[i], arrival.interface);
      continue;
    }
    Parsed parsed;
    // Verified where it was received; only its view has to be made anew.
    if (const auto reason = packet::parse(packets[i], parsed)) {
      drop(packets[i], *reason);
      continue;
    }
    process(parsed, arrival);
  }
  take_segments();
  counters_.taken_over += count;
  return count;
}

void Worker::classify_frame(rte_mbuf* frame) {
  packet::FrameView view;
  if (const auto reason = packet::parse_ethernet(frame, view)) return drop(frame, *reason);
  const uint16_t interface = frame->port;
  const auto& in = context_.plan->interfaces[interface];
  if (in.role == capture::PortRole::pod && view.source != in.pod_mac &&
      in.pod_mac != packet::MacAddress{}) {
    return drop(frame, Reason::gateway_spoofed);
  }
  switch (view.type) {
    case packet::Ethernet::kArp:
      packet::strip_ethernet(frame, view);
      return neighbour_message(frame, interface);
    case packet::Ethernet::kIpv4:
    case packet::Ethernet::kIpv6:
      if (view.destination != in.mac && !view.destination.is_multicast()) {
        return drop(frame, Reason::packet_other_host);
      }
      packet::strip_ethernet(frame, view);
      return packet_in(frame, {.interface = interface});
    default:
      return drop(frame, Reason::packet_unknown_ethertype);
  }
}

void Worker::packet_in(rte_mbuf* packet, const Arrival& arrival) {
  Parsed parsed;
  if (const auto reason = packet::parse(packet, parsed)) return drop(packet, *reason);
  const auto& in = context_.plan->interfaces[arrival.interface];
  if (in.role == capture::PortRole::pod && parsed.tuple.source.address != in.pod_address &&
      !ip::is_neighbour_message(parsed)) {  // those speak for link-local addresses, too
    return drop(packet, Reason::gateway_spoofed);
  }
  const bool ours = edge_.is_own_address(parsed.tuple.destination.address);
  if (arrival.vni == 0 && ours && geneve::is_geneve(parsed)) {
    if (in.role != capture::PortRole::node) return drop(packet, Reason::capture_geneve_not_here);
    return tunnelled_in(parsed, arrival);
  }
  if (ip::is_neighbour_message(parsed)) return neighbour_message(packet, arrival.interface);
  const unsigned owner = context_.owners.owner(flow_of(parsed));
  if (owner != context_.index) {
    write_arrival(packet, arrival);
    if (!handoff_.push(context_.index, owner, packet)) {
      return drop(packet, Reason::gateway_handoff_full);
    }
    ++counters_.handed_over;
    return;
  }
  process(parsed, arrival);
}

// The answer to a question of another worker may come to this one, so every worker hears it.
void Worker::neighbour_message(rte_mbuf* message, uint16_t interface) {
  for (unsigned to = 0; to < context_.workers; ++to) {
    if (to == context_.index) continue;
    rte_mbuf* copy = rte_pktmbuf_copy(message, context_.pools.small, 0, UINT32_MAX);
    if (copy == nullptr) {
      reasons_.count(Reason::packet_no_buffer);
      continue;
    }
    write_arrival(copy, {.interface = interface, .vni = kNeighbourMessage, .geneve_source = {}});
    if (handoff_.push(context_.index, to, copy)) {
      ++counters_.handed_over;
    } else {
      drop(copy, Reason::gateway_handoff_full);
    }
  }
  edge_.neighbour_message(message, interface);
}

void Worker::tunnelled_in(Parsed& datagram, const Arrival& arrival) {
  rte_mbuf* packet = datagram.mbuf;
  const geneve::TunnelEndpoints& tunnels = context_.plan->tunnels;
  geneve::Tunnelled tunnelled;
  geneve::Direction direction;
  if (const auto reason = geneve::parse(datagram, tunnelled)) return drop(packet, *reason);
  if (const auto reason = tunnels.accept(tunnelled, direction)) return drop(packet, *reason);
  geneve::strip(packet, tunnelled);
  switch (tunnelled.inner.type) {
    case packet::Ethernet::kArp: {
      rte_mbuf* reply = nullptr;
      if (const auto reason =
              tunnels.answer_arp(packet, tunnelled, direction, context_.pools.small, reply)) {
        return drop(packet, *reason);
      }
      rte_pktmbuf_free(packet);
      return edge_.send(reply);
    }
    case packet::Ethernet::kIpv4:
    case packet::Ethernet::kIpv6:
      return packet_in(packet, {arrival.interface, tunnelled.vni, tunnelled.outer.source.address});
    default:
      return drop(packet, Reason::packet_unknown_ethertype);
  }
}

// TCP waits for the end of the burst, so that its connections can be fetched together.
void Worker::process(Parsed& packet, const Arrival& arrival) {
  if (packet.protocol != packet::kProtoTcp || packet.is_fragment) return miss(packet, arrival);
  segments_[segment_count_] = packet;
  arrivals_[segment_count_++] = arrival;
}

void Worker::take_segments() {
  const unsigned count = std::exchange(segment_count_, 0);
  tcp::Engine::Burst burst(tcp_, {segments_.data(), count});
  for (unsigned i = 0; i < count; ++i) {
    if (burst.input(i, context_.now)) continue;
    if (plain_.forward(segments_[i])) continue;
    miss(segments_[i], arrivals_[i]);
  }
}

void Worker::miss(Parsed& packet, const Arrival& arrival) {
  const bool ours = edge_.is_own_address(packet.tuple.destination.address);
  if (packet.protocol == packet::kProtoIcmp || packet.protocol == packet::kProtoIcmpv6) {
    return icmp(packet, ours);
  }
  if (packet.protocol == packet::kProtoTcp && !packet.is_fragment) {
    if (!ours && opens(packet)) return open_flow(packet, arrival);
    if (!ours && open_by_cookie(packet, arrival)) return;
    // Mid-flow, of a flow that is not known (any more): the sender is told at once.
    if (ours || !forwards_unknown(packet, arrival)) {
      reasons_.count(ours ? Reason::gateway_not_ours : Reason::gateway_no_flow);
      tcp_.send_reset(packet, 0, context_.now);
      return rte_pktmbuf_free(packet.mbuf);
    }
  }
  if (ours) return drop(packet.mbuf, Reason::gateway_not_ours);
  // A captured flow must not pass in pieces beside its capture and its policy.
  if (packet.protocol == packet::kProtoTcp && packet.is_fragment &&
      !forwards_unknown(packet, arrival)) {
    return drop(packet.mbuf, Reason::packet_fragment);
  }
  edge_.forward(packet);
}

// Segments without a flow whose SYN would have been bypassed are none of our business.
bool Worker::forwards_unknown(const Parsed& packet, const Arrival& arrival) const {
  return classify(packet, arrival).class_ == capture::Class::bypass;
}

capture::Verdict Worker::classify(const Parsed& packet, const Arrival& arrival) const {
  const Plan& plan = *context_.plan;
  const auto& in = plan.interfaces[arrival.interface];
  capture::Packet asked;
  asked.role = in.role;
  if (arrival.vni != 0) asked.vni = arrival.vni;
  asked.tuple = packet.tuple;
  asked.protocol = packet.protocol;
  asked.pod = in.pod_address;
  return capture::classify({plan.mesh.get(), plan.rules.get(), plan.hosts}, asked);
}

void Worker::icmp(Parsed& packet, bool ours) {
  ip::EmbeddedPacket embedded;
  if (ip::is_icmp_error(packet) && !ip::parse_icmp_error(packet, embedded) &&
      embedded.protocol == packet::kProtoTcp) {
    const auto* header = packet.l4<packet::Icmp>();
    if (tcp_.icmp_error(
            {embedded.tuple, header->type, header->code, embedded.mtu, embedded.sequence},
            context_.now)) {
      return rte_pktmbuf_free(packet.mbuf);
    }
    if (plain_.forward_error(embedded.tuple, packet)) return;
  }
  if (!ours) return edge_.forward(packet);
  if (!ip::make_echo_reply(packet)) return drop(packet.mbuf, Reason::gateway_not_ours);
  packet::prepare_forward(packet);
  edge_.send(packet.mbuf);
}

void Worker::refuse(Parsed& syn, const Arrival& arrival, capture::Class capture_class,
                    Reason reason, mesh::NameId policy) {
  reasons_.count(reason);
  if (flow::Record* record =
          open_record(context_, flow::Kind::refused, capture_class, syn.tuple, arrival)) {
    record->policy = policy;
    record->at.mark(flow::kDecided, context_.now);
    close_record(context_, record, reason);
  }
  tcp_.send_reset(syn, 0, context_.now);
  rte_pktmbuf_free(syn.mbuf);
}

void Worker::open_flow(Parsed& syn, const Arrival& arrival) {
  const capture::Verdict verdict = classify(syn, arrival);
  if (draining_ && verdict.class_ != capture::Class::bypass) {
    return refuse(syn, arrival, verdict.class_, Reason::gateway_stopped, mesh::kNoName);
  }
  switch (verdict.class_) {
    case capture::Class::outbound_15001:
      return open_outbound(syn, arrival);
    case capture::Class::inbound_hbone_15008:
      if (inbound_.answer_by_cookie(syn)) return;
      inbound_.open(syn, arrival);
      return settle(syn);
    case capture::Class::inbound_plaintext_15006:
      return open_inbound_plaintext(syn, arrival);
    case capture::Class::bypass:
      // What came by Geneve cannot leave with the ports that it has (plain.h).
      if (arrival.vni == 0) return edge_.forward(syn);
      return open_plain(syn, arrival,
                        {flow::Kind::passthrough, verdict.class_, syn.tuple.source.address,
                         syn.tuple.destination});
    case capture::Class::drop:
      return refuse(syn, arrival, verdict.class_, capture::reason(verdict.why), mesh::kNoName);
  }
}

flow::Record* Worker::open_admitted(const Parsed& syn, const Arrival& arrival, flow::Kind kind,
                                    capture::Class capture_class) {
  flow::Record* record = open_record(context_, kind, capture_class, syn.tuple, arrival);
  if (record == nullptr) {
    reasons_.count(Reason::gateway_flows_full);
  } else if (const auto refused = quotas_.admit(*record)) {
    record->kind = flow::Kind::refused;
    fail_record(context_, std::exchange(record, nullptr), *refused);
  }
  if (record == nullptr) tcp_.send_reset(syn, 0, context_.now);
  return record;
}

void Worker::open_plain(Parsed& syn, const Arrival& arrival, const PlainLeg& leg) {
  flow::Record* record = open_admitted(syn, arrival, leg.kind, leg.capture_class);
  if (record == nullptr) return rte_pktmbuf_free(syn.mbuf);
  record->at.mark(flow::kDecided, context_.now);
  record->endpoint = leg.upstream;
  record->source_identity = leg.source_identity;
  record->destination_identity = leg.destination_identity;
  plain_.open(syn, *record, leg.source, leg.upstream);
}

void Worker::open_outbound(Parsed& syn, const Arrival& arrival) {
  constexpr auto kClass = capture::Class::outbound_15001;
  const auto decision =
      proxy::decide_outbound(*context_.plan->mesh, context_.settings(),
                             {syn.tuple.source, syn.tuple.destination, random_.next(), {}});
  if (decision.kind != proxy::OutboundKind::refuse && decision.kind != proxy::OutboundKind::hbone &&
      !opens(syn)) {
    return refuse(syn, arrival, kClass, Reason::gateway_plan_changed, mesh::kNoName);
  }
  PlainLeg leg{flow::Kind::passthrough, kClass, syn.tuple.source.address, decision.upstream,
               decision.source_identity};
  if (decision.destination != nullptr) leg.destination_identity = decision.destination->identity;
  switch (decision.kind) {
    case proxy::OutboundKind::refuse:
      return refuse(syn, arrival, kClass, decision.reason, decision.rbac.policy);
    case proxy::OutboundKind::passthrough:
      return open_plain(syn, arrival, leg);
    case proxy::OutboundKind::direct:
      leg.kind = flow::Kind::direct;
      return open_plain(syn, arrival, leg);
    case proxy::OutboundKind::local:
      leg.kind = flow::Kind::local;
      if (decision.own_source) leg.source = context_.own_address_to(decision.upstream.address);
      return open_plain(syn, arrival, leg);
    case proxy::OutboundKind::hbone:
      break;
  }
  if (outbound_.answer_by_cookie(syn)) return;
  flow::Record* record = open_admitted(syn, arrival, flow::Kind::outbound_hbone, kClass);
  if (record != nullptr) outbound_.open(syn, *record, decision);
  settle(syn);
}

// The ACK of a SYN that was answered by a cookie is decided as the SYN would be now.
bool Worker::open_by_cookie(Parsed& ack, const Arrival& arrival) {
  const auto tag = tcp_.cookie_tag(ack, context_.now);
  if (!tag) return false;
  const bool outbound = *tag == kOutboundCookie;
  if (draining_) {
    refuse(ack, arrival,
           outbound ? capture::Class::outbound_15001 : capture::Class::inbound_hbone_15008,
           Reason::gateway_stopped, mesh::kNoName);
  } else if (outbound) {
    open_outbound(ack, arrival);
  } else {
    inbound_.open(ack, arrival);
    settle(ack);
  }
  return true;
}

// A SYN has said what it had to; the ACK of a cookie goes on into the connection that it opened.
void Worker::settle(Parsed& opener) {
  if (opens(opener) || !tcp_.input(opener, context_.now)) rte_pktmbuf_free(opener.mbuf);
}

void Worker::open_inbound_plaintext(Parsed& syn, const Arrival& arrival) {
  constexpr auto kClass = capture::Class::inbound_plaintext_15006;
  const auto decision =
      proxy::decide_inbound_plaintext(*context_.plan->mesh, context_.settings(), syn.tuple);
  if (decision.status != 200) {
    return refuse(syn, arrival, kClass, decision.reason, decision.rbac.policy);
  }
  open_plain(syn, arrival,
             {flow::Kind::inbound_plain, kClass,
              context_.source_to(decision.spoofed_source, decision.upstream), decision.upstream,
              mesh::kNoIdentity, decision.destination_identity});
}

hbone::Dialled Worker::dial(const hbone::PoolKey& key, tcp::Handler& handler,
                            timer::Duration connect_timeout, timer::Instant now) {
  const uint16_t port = ports_.choose(key.source_address, key.destination);
  if (port == 0) return {};
  uint32_t account = 0;
  if (const auto refused = quotas_.begin_dial(key.source_address, account)) {
    return {.why = *refused};
  }
  tcp::Options options;
  options.mtu = context_.mtu_to(key.destination.address);
  options.handshake_timeout = connect_timeout;
  tcp::Connection* connection =
      tcp_.connect({key.source_address, port}, key.destination, &handler, options, now);
  if (connection == nullptr) quotas_.end_dial(account);
  return {.connection = connection, .cookie = account};
}

void Worker::drain() {
  draining_ = true;
  hbone_.drain(context_.now);
}

void Worker::close_all() {
  outbound_.close_all(Reason::gateway_stopped);
  inbound_.close_all(Reason::gateway_stopped);
  plain_.close_all(Reason::gateway_stopped);
}

void Worker::refresh_records() {
  outbound_.refresh();
  inbound_.refresh();
  plain_.refresh();
}

}  // namespace isthmus::gateway
