// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "sim/gateway_station.h"

#include "packet/parse.h"
#include "support/pools.h"

namespace isthmus::sim {
namespace {

tcp::Config station_config() {
  tcp::Config config;
  config.max_connections = 256;
  config.max_time_wait = 256;
  config.max_sent_records = 4096;
  config.max_gaps = 2048;
  config.receive_buffer = config.send_buffer = 64 << 10;
  config.max_receive_buffer = config.max_send_buffer = 128 << 10;
  return config;
}

}  // namespace

Station::Station(Scheduler& scheduler, const packet::IpAddress& address,
                 const tcp::Secrets& secrets, Send send)
    : scheduler_(scheduler),
      address_(address),
      send_(std::move(send)),
      engine_(new tcp::Engine(station_config(), test::pools(), *this, drops_, secrets,
                              scheduler.now())),
      waker_(scheduler, [this] { poll(); }) {}

void Station::transmit(rte_mbuf* packet, uint32_t /*path*/) {
  send_(carry(packet));
}

void Station::receive(const Carried& carried) {
  rte_mbuf* packet = to_received(carried);
  if (packet == nullptr) return;
  packet::Parsed parsed;
  if (const auto reason = packet::parse(packet, parsed)) {
    drops_.count(*reason);
    rte_pktmbuf_free(packet);
    return;
  }
  if (parsed.protocol != packet::kProtoTcp || parsed.tuple.destination.address != address_) {
    rte_pktmbuf_free(packet);
  } else if (!engine_->input(parsed, scheduler_.now())) {
    constexpr uint8_t kOpening = packet::Tcp::kSyn | packet::Tcp::kAck | packet::Tcp::kRst;
    const bool opens = (parsed.tcp()->flags & kOpening) == packet::Tcp::kSyn;
    const bool answer = !ignored_.contains(parsed.tuple.destination.port);
    if (answer && (!opens || !listener_ || listener_(parsed) == nullptr)) {
      engine_->send_reset(parsed, 0, scheduler_.now());
    }
    rte_pktmbuf_free(packet);
  }
  poll();
}

void Station::poll() {
  engine_->advance(scheduler_.now());
  engine_->flush(scheduler_.now());
  waker_.set(engine_->next_deadline());
}

}  // namespace isthmus::sim
