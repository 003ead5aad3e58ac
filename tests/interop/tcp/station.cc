// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "station.h"

#include <algorithm>
#include <fmt/format.h>
#include <random>

#include "drivers/vtap/vtap.h"
#include "packet/ethernet.h"
#include "packet/offload.h"

namespace isthmus::interop {
namespace {

constexpr uint16_t kBurst = 32;

tcp::Secrets secrets_of(uint64_t seed) {
  std::mt19937_64 random(seed);
  tcp::Secrets secrets;
  for (auto* key : {&secrets.table, &secrets.sequence, &secrets.timestamp, &secrets.random}) {
    *key = {random(), random()};
  }
  return secrets;
}

}  // namespace

std::unique_ptr<Station> Station::open(const StationConfig& config, std::string& error) {
  std::unique_ptr<Station> station(new Station);
  station->config_ = config;
  station->pools_ = drivers::WorkerPools::create("tcp", {16383, 4095, 65535}, SOCKET_ID_ANY, error);
  if (station->pools_ == nullptr) return nullptr;
  drivers::PortConfig port;
  port.device = fmt::format("net_vtap0,iface={},mac={},peer_mac={}", config.interface,
                            kOurMac.to_string(), kKernelMac.to_string());
  port.pools = {station->pools_->pools()};
  port.offload = config.offload;
  if (!config.offload) port.device += ",offload=0";
  station->port_ = drivers::Port::open(port, error);
  if (station->port_ == nullptr || !station->port_->start(error)) return nullptr;

  station->scheduler_ = std::make_unique<sim::Scheduler>(station->now());
  station->link_ = std::make_unique<sim::Link>(*station->scheduler_, station->pools_->pools(),
                                               config.seed, nullptr);
  Station* self = station.get();
  self->link_->attach(kOurs, [self](rte_mbuf* packet) { self->input(packet); });
  self->link_->attach(kKernels, [self](rte_mbuf* packet) { self->send(packet); });
  self->engine_ = std::make_unique<tcp::Engine>(config.tcp, station->pools_->pools(), *self,
                                                self->drops_, secrets_of(config.seed), self->now());
  return station;
}

Station::~Station() {
  engine_.reset();
  port_.reset();
}

timer::Instant Station::now() const {
  return timer::Instant(std::chrono::duration_cast<timer::Duration>(
      std::chrono::steady_clock::now().time_since_epoch()));
}

void Station::impair(const sim::LinkModel& ours, const sim::LinkModel& kernels) {
  link_->model(kOurs) = ours;
  link_->model(kKernels) = kernels;
  impaired_ = true;
}

bool Station::poll() {
  rte_mbuf* frames[kBurst];
  const bool more = run_link();
  const uint16_t count = port_->rx_burst(0, frames, kBurst);
  for (uint16_t i = 0; i < count; ++i) receive(frames[i]);
  engine_->advance(now());
  engine_->flush(now());
  return more || count != 0;
}

// The link's virtual time follows the real one. No more is delivered at once than a device would.
bool Station::run_link() {
  const timer::Instant time = now();
  if (scheduler_->next() > time) scheduler_->at(time, [] {});
  for (unsigned i = 0; i < kBurst && scheduler_->next() <= time; ++i) scheduler_->step();
  return scheduler_->next() <= time;
}

timer::Instant Station::next_deadline() const {
  return std::min(engine_->next_deadline(), scheduler_->next());
}

int Station::descriptor() const {
  return drivers::vtap::rx_fd(port_->id(), 0);
}

void Station::receive(rte_mbuf* frame) {
  packet::FrameView view;
  packet::Parsed parsed;
  auto reason = packet::parse_ethernet(frame, view);
  const bool ip = view.type == packet::Ethernet::kIpv4 || view.type == packet::Ethernet::kIpv6;
  if (cut_ || reason || !ip) {
    rte_pktmbuf_free(frame);
    return;
  }
  packet::strip_ethernet(frame, view);
  if (!impaired_) return input(frame);
  // As a router would send it on: what was coalesced is cut again.
  if ((reason = packet::parse(frame, parsed)).has_value()) {
    drops_.count(*reason);
    rte_pktmbuf_free(frame);
    return;
  }
  packet::prepare_forward(parsed);
  link_->send(kKernels, frame);
}

void Station::input(rte_mbuf* packet) {
  packet::Parsed parsed;
  if (const auto reason = packet::parse(packet, parsed)) {
    drops_.count(*reason);
  } else if (parsed.protocol == packet::kProtoTcp && !parsed.is_fragment) {
    if (engine_->input(parsed, now())) return;
    const bool opens = (parsed.tcp()->flags & packet::Tcp::kSyn) != 0 &&
                       (parsed.tcp()->flags & packet::Tcp::kAck) == 0;
    if (!opens || !listener_ || !listener_(parsed)) engine_->send_reset(parsed, 0, now());
  }
  rte_pktmbuf_free(packet);
}

void Station::transmit(rte_mbuf* packet, uint32_t /*path*/) {
  if (impaired_ && !cut_) {
    link_->send(kOurs, packet);
    return;
  }
  const bool cuts = port_->info().tx_tso;
  if ((packet->ol_flags & RTE_MBUF_F_TX_TCP_SEG) == 0 || cuts) return send(packet);
  packet::Segmenter segmenter(packet, pools_->pools());
  while (rte_mbuf* segment = segmenter.next()) send(segment);
}

void Station::send(rte_mbuf* packet) {
  if (cut_) {
    rte_pktmbuf_free(packet);
    return;
  }
  const bool v4 = rte_pktmbuf_mtod(packet, const packet::Ipv4*)->version() == 4;
  rte_mbuf* frame = packet::push_ethernet(packet, kKernelMac, kOurMac,
                                          v4 ? packet::Ethernet::kIpv4 : packet::Ethernet::kIpv6,
                                          pools_->pools().small);
  if (frame == nullptr) return;
  if (!port_->info().tx_tcp_checksum) packet::complete_checksums(frame);
  if (port_->tx_burst(0, &frame, 1) == 1) return;
  ++not_taken_;
  rte_pktmbuf_free(frame);
}

std::string Station::drops() const {
  std::string text;
  for (unsigned i = 0; i < stats::kReasonCount; ++i) {
    const auto reason = static_cast<stats::Reason>(i);
    const auto& info = stats::info(reason);
    if (drops_.get(reason) == 0) continue;
    text += fmt::format("{}{}.{} {}", text.empty() ? "" : ", ", info.room, info.name,
                        drops_.get(reason));
  }
  return text;
}

}  // namespace isthmus::interop
