// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// Our half of vhost_smoke.sh: opens virtio-user ports to SOCKET0, SOCKET1, ..., sends frames on
// each and takes back what testpmd's macswap returns.
//   vhost_peer [EAL arguments] -- SOCKET_PREFIX PORTS FRAMES
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <unistd.h>
#include <vector>

#include <rte_eal.h>
#include <rte_ether.h>

#include "drivers/pools.h"
#include "drivers/virtio_user.h"

namespace isthmus {
namespace {

constexpr uint16_t kFrame = 600;
constexpr uint16_t kBurst = 16;
constexpr unsigned kPatience = 5000;  // milliseconds without a frame
constexpr rte_ether_addr kTo = {{0x02, 0, 0, 0, 0, 0x0a}};
constexpr rte_ether_addr kFrom = {{0x02, 0, 0, 0, 0, 0x0b}};
constexpr uint16_t kEtherType = 0x88b5;  // IEEE 802 local experimental

rte_mbuf* make_frame(uint32_t number, rte_mempool* pool) {
  rte_mbuf* frame = rte_pktmbuf_alloc(pool);
  if (frame == nullptr) return nullptr;
  auto* bytes = reinterpret_cast<uint8_t*>(rte_pktmbuf_append(frame, kFrame));
  memset(bytes, static_cast<int>(number & 0xff), kFrame);
  auto* ethernet = reinterpret_cast<rte_ether_hdr*>(bytes);
  ethernet->dst_addr = kTo;
  ethernet->src_addr = kFrom;
  ethernet->ether_type = rte_cpu_to_be_16(kEtherType);
  memcpy(ethernet + 1, &number, sizeof(number));
  return frame;
}

// Addresses exchanged, number as expected, the rest as sent.
bool is_echo(const rte_mbuf& frame, uint32_t number) {
  const auto* ethernet = rte_pktmbuf_mtod(&frame, const rte_ether_hdr*);
  uint32_t got = 0;
  memcpy(&got, ethernet + 1, sizeof(got));
  const auto* last = rte_pktmbuf_mtod_offset(&frame, const uint8_t*, kFrame - 1);
  return frame.pkt_len == kFrame && rte_is_same_ether_addr(&ethernet->dst_addr, &kFrom) != 0 &&
         rte_is_same_ether_addr(&ethernet->src_addr, &kTo) != 0 && got == number &&
         *last == (number & 0xff);
}

bool exchange(const drivers::Port& port, uint32_t count, rte_mempool* pool) {
  uint32_t sent = 0;
  uint32_t received = 0;
  unsigned waited = 0;
  while (received < count && waited < kPatience) {
    if (sent < count && sent - received < kBurst) {
      rte_mbuf* frame = make_frame(sent, pool);
      if (frame == nullptr) return false;
      if (port.tx_burst(0, &frame, 1) == 1) {
        ++sent;
      } else {
        rte_pktmbuf_free(frame);
      }
    }
    rte_mbuf* frames[kBurst];
    const uint16_t got = port.rx_burst(0, frames, kBurst);
    for (uint16_t i = 0; i < got; ++i) {
      const bool right = is_echo(*frames[i], received++);
      rte_pktmbuf_free(frames[i]);
      if (!right) return false;
    }
    if (got == 0) usleep(1000);
    waited = got == 0 ? waited + 1 : 0;
  }
  return received == count;
}

int run(const std::string& prefix, unsigned count, uint32_t frames) {
  std::string error;
  const auto pools = drivers::WorkerPools::create("peer", {8191, 2047, 255}, SOCKET_ID_ANY, error);
  std::vector<std::unique_ptr<drivers::Port>> ports;
  for (unsigned i = 0; i < count && pools != nullptr; ++i) {
    drivers::PortConfig config;
    config.pools = {pools->pools()};
    auto port = drivers::open_virtio_user({.socket = prefix + std::to_string(i), .ring = 64},
                                          config, error);
    if (port == nullptr || !port->start(error)) break;
    ports.push_back(std::move(port));
  }
  if (ports.size() != count) {
    printf("FAIL %s\n", error.c_str());
    return 1;
  }
  for (const auto& port : ports) {
    if (!exchange(*port, frames, pools->pools().small)) {
      printf("FAIL %s: %s\n", port->info().name.c_str(), port->show_stats(0).c_str());
      return 1;
    }
  }
  unsigned coalescing = 0;
  for (const auto& port : ports) coalescing += port->info().rx_lro ? 1 : 0;
  printf("echoed %u frames on each of %u ports, %u of them coalesce\n", frames, count, coalescing);
  drivers::PortConfig config;
  config.pools = {pools->pools()};
  if (count == drivers::kMaxVirtioUserPorts) {
    const bool refused =
        drivers::open_virtio_user({.socket = prefix + "0"}, config, error) == nullptr;
    printf("one more: %s\n", refused ? error.c_str() : "FAIL, it was opened");
    if (!refused || error.find("at most 24") == std::string::npos) return 1;
  }
  return 0;
}

}  // namespace
}  // namespace isthmus

int main(int argc, char** argv) {
  const int eaten = rte_eal_init(argc, argv);
  if (eaten < 0 || argc - eaten != 4) return 2;
  argv += eaten;
  const int result = isthmus::run(argv[1], static_cast<unsigned>(atoi(argv[2])),
                                  static_cast<uint32_t>(atoi(argv[3])));
  rte_eal_cleanup();
  return result;
}
