// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// Two net_vtap ports joined back to back by one worker: what the driver alone costs.
//   vtap_shuttle [EAL arguments] -- PORT PORT      (port names as given to --vdev)
// Frames keep their offloads: a partial checksum stays partial, a 64 KB packet stays one. Sleeps
// when there is nothing to do. Ends on SIGINT or SIGTERM and prints the ports' counters and the
// CPU time spent.
#include <array>
#include <csignal>
#include <cstdio>
#include <memory>
#include <string>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <unistd.h>
#include <vector>

#include <rte_eal.h>
#include <rte_ether.h>
#include <rte_ip.h>
#include <rte_tcp.h>

#include "drivers/pools.h"
#include "drivers/port.h"
#include "drivers/vtap/vtap.h"

namespace isthmus {
namespace {

volatile std::sig_atomic_t stop = 0;

constexpr uint16_t kBurst = 32;
constexpr unsigned kIdleRounds = 64;

// What the receiver reported becomes what the transmitter is asked for.
void carry_offloads(rte_mbuf& frame) {
  const uint64_t received = frame.ol_flags;
  frame.ol_flags = 0;
  if ((received & RTE_MBUF_F_RX_L4_CKSUM_MASK) != RTE_MBUF_F_RX_L4_CKSUM_NONE) return;
  auto* ethernet = rte_pktmbuf_mtod(&frame, rte_ether_hdr*);
  if (ethernet->ether_type != rte_cpu_to_be_16(RTE_ETHER_TYPE_IPV4)) return;
  auto* ip = reinterpret_cast<rte_ipv4_hdr*>(ethernet + 1);
  frame.l2_len = sizeof(*ethernet);
  frame.l3_len = rte_ipv4_hdr_len(ip);
  frame.ol_flags = RTE_MBUF_F_TX_IPV4;
  if (ip->next_proto_id == IPPROTO_UDP) {
    frame.ol_flags |= RTE_MBUF_F_TX_UDP_CKSUM;
    return;
  }
  auto* tcp = reinterpret_cast<rte_tcp_hdr*>(reinterpret_cast<uint8_t*>(ip) + frame.l3_len);
  frame.l4_len = static_cast<uint16_t>((tcp->data_off >> 4) * 4);
  frame.ol_flags |= RTE_MBUF_F_TX_TCP_CKSUM;
  if ((received & RTE_MBUF_F_RX_LRO) == 0) return;
  frame.ol_flags |= RTE_MBUF_F_TX_TCP_SEG;
  tcp->cksum = rte_ipv4_phdr_cksum(ip, frame.ol_flags);
}

struct Side {
  std::unique_ptr<drivers::Port> port;
  std::unique_ptr<drivers::vtap::Poller> poller;
};

unsigned forward(const Side& from, const Side& to) {
  unsigned moved = 0;
  for (const uint16_t queue : from.poller->ready()) {
    std::array<rte_mbuf*, kBurst> frames;
    const uint16_t got = from.port->rx_burst(queue, frames.data(), kBurst);
    for (uint16_t i = 0; i < got; ++i) carry_offloads(*frames[i]);
    const uint16_t sent = to.port->tx_burst(0, frames.data(), got);
    for (uint16_t i = sent; i < got; ++i) rte_pktmbuf_free(frames[i]);
    moved += got;
  }
  return moved;
}

void run(const Side& left, const Side& right) {
  const int epoll = epoll_create1(EPOLL_CLOEXEC);
  for (const Side* side : {&left, &right}) {
    epoll_event event = {};
    event.events = EPOLLIN;
    epoll_ctl(epoll, EPOLL_CTL_ADD, side->poller->fd(), &event);
  }
  unsigned idle = 0;
  while (stop == 0) {
    const unsigned moved = forward(left, right) + forward(right, left);
    idle = moved > 0 ? 0 : idle + 1;
    if (idle < kIdleRounds) continue;
    epoll_event event;
    epoll_wait(epoll, &event, 1, 100);
  }
  close(epoll);
}

bool open_side(const std::string& name, const drivers::WorkerPools& pools, Side& out) {
  std::string error;
  drivers::PortConfig config;
  config.device = name;
  config.pools = {pools.pools()};
  out.port = drivers::Port::open(config, error);
  if (out.port != nullptr && out.port->start(error)) {
    out.poller = drivers::vtap::Poller::create(out.port->id(), error);
    if (out.poller != nullptr && out.poller->watch(0, error)) return true;
  }
  fprintf(stderr, "%s\n", error.c_str());
  return false;
}

int main_after_eal(const std::vector<std::string>& ports) {
  if (ports.size() != 2) {
    fprintf(stderr, "usage: vtap_shuttle [EAL arguments] -- PORT PORT\n");
    return 2;
  }
  std::string error;
  const auto pools =
      drivers::WorkerPools::create("shuttle", {4095, 511, 1023}, SOCKET_ID_ANY, error);
  if (pools == nullptr) {
    fprintf(stderr, "%s\n", error.c_str());
    return 1;
  }
  Side left;
  Side right;
  if (!open_side(ports[0], *pools, left) || !open_side(ports[1], *pools, right)) return 1;
  fprintf(stderr, "ready\n");
  run(left, right);
  printf("%s%s", left.port->show_stats(0).c_str(), right.port->show_stats(0).c_str());
  rusage usage = {};
  getrusage(RUSAGE_SELF, &usage);
  const double cpu = static_cast<double>(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
                     static_cast<double>(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
  const drivers::PortStats a = left.port->stats();
  const drivers::PortStats b = right.port->stats();
  const double bytes = static_cast<double>(a.rx_bytes + b.rx_bytes);
  printf("cpu_seconds %.2f gigabytes %.2f cpu_s_per_GB %.3f\n", cpu, bytes / 1e9,
         bytes > 0 ? cpu / (bytes / 1e9) : 0);
  return 0;
}

}  // namespace
}  // namespace isthmus

int main(int argc, char** argv) {
  const int eaten = rte_eal_init(argc, argv);
  if (eaten < 0) return 1;
  struct sigaction action = {};
  action.sa_handler = [](int) { isthmus::stop = 1; };
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
  const int result =
      isthmus::main_after_eal(std::vector<std::string>(argv + eaten + 1, argv + argc));
  rte_eal_cleanup();
  return result;
}
