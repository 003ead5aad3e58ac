// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "drivers/port.h"

#include <algorithm>
#include <cstring>

#include <rte_dev.h>
#include <rte_errno.h>
#include <rte_mbuf.h>
#include <rte_mempool.h>

#include "drivers/copybreak.h"

namespace isthmus::drivers {
namespace {

// The key whose Toeplitz hash is the same in both directions of a flow.
constexpr uint8_t kSymmetricKey[] = {0x6d, 0x5a};
constexpr size_t kMaxRssKey = 64;

constexpr uint64_t kRxWanted = RTE_ETH_RX_OFFLOAD_IPV4_CKSUM | RTE_ETH_RX_OFFLOAD_TCP_CKSUM |
                               RTE_ETH_RX_OFFLOAD_UDP_CKSUM | RTE_ETH_RX_OFFLOAD_TCP_LRO;
// Without these the frames that engines build could not be sent or received at all.
constexpr uint64_t kRxAlways = RTE_ETH_RX_OFFLOAD_SCATTER;
constexpr uint64_t kTxAlways = RTE_ETH_TX_OFFLOAD_MULTI_SEGS | RTE_ETH_TX_OFFLOAD_MT_LOCKFREE;
constexpr uint64_t kTxWanted = RTE_ETH_TX_OFFLOAD_IPV4_CKSUM | RTE_ETH_TX_OFFLOAD_TCP_CKSUM |
                               RTE_ETH_TX_OFFLOAD_UDP_CKSUM | RTE_ETH_TX_OFFLOAD_TCP_TSO;

std::string reason(const std::string& device, const char* what, int result) {
  return "port " + device + ": " + what + ": " + rte_strerror(result < 0 ? -result : result);
}

bool too_many(const char* kind, uint16_t asked, uint16_t most, const std::string& device,
              std::string& error) {
  if (asked >= 1 && asked <= most) return false;
  error = "port " + device + ": " + std::to_string(asked) + " " + kind +
          " queues asked for, it has " + std::to_string(most);
  return true;
}

}  // namespace

std::unique_ptr<Port> Port::open(const PortConfig& config, std::string& error) {
  std::unique_ptr<Port> port(new Port);
  if (config.pools.empty()) {
    error = "port " + config.device + ": no mempools";
    return nullptr;
  }
  if (!port->find_or_probe(config.device, error) || !port->configure(config, error) ||
      !port->set_up_queues(config, error)) {
    return nullptr;
  }
  port->read_info();
  return port;
}

Port::~Port() {
  if (!open_) return;
  if (started_) rte_eth_dev_stop(info_.id);
  rte_eth_dev_close(info_.id);
  if (probed_ && device_.device != nullptr) rte_dev_remove(device_.device);
}

bool Port::find_or_probe(const std::string& device, std::string& error) {
  const std::string name = device.substr(0, device.find(','));
  if (rte_eth_dev_get_port_by_name(name.c_str(), &info_.id) == 0) {
    if (device != name) {
      error = "port " + name + " exists already, its arguments can't be changed";
      return false;
    }
  } else {
    const int result = rte_dev_probe(device.c_str());
    if (result != 0 || rte_eth_dev_get_port_by_name(name.c_str(), &info_.id) != 0) {
      error = reason(name, "no such device, or it refused its arguments", result);
      return false;
    }
    probed_ = true;
  }
  open_ = true;
  info_.name = name;
  const int result = rte_eth_dev_info_get(info_.id, &device_);
  if (result == 0) return true;
  error = reason(name, "device info", result);
  return false;
}

bool Port::configure(const PortConfig& config, std::string& error) {
  if (too_many("receive", config.rx_queues, device_.max_rx_queues, info_.name, error) ||
      too_many("transmit", config.tx_queues, device_.max_tx_queues, info_.name, error)) {
    return false;
  }
  const uint64_t rx = kRxAlways | (config.offload ? kRxWanted : 0);
  const uint64_t tx = kTxAlways | (config.offload ? kTxWanted : 0);
  conf_.rxmode.offloads = rx & device_.rx_offload_capa;
  conf_.txmode.offloads = tx & device_.tx_offload_capa;
  conf_.rxmode.mtu = config.mtu;
  if ((conf_.rxmode.offloads & RTE_ETH_RX_OFFLOAD_TCP_LRO) != 0) {
    conf_.rxmode.max_lro_pkt_size = device_.max_lro_pkt_size;
  }
  uint8_t key[kMaxRssKey];
  if (config.rx_queues > 1 && device_.flow_type_rss_offloads != 0) {
    for (size_t i = 0; i < sizeof(key); ++i) key[i] = kSymmetricKey[i % sizeof(kSymmetricKey)];
    conf_.rxmode.mq_mode = RTE_ETH_MQ_RX_RSS;
    conf_.rx_adv_conf.rss_conf.rss_hf =
        device_.flow_type_rss_offloads & (RTE_ETH_RSS_IP | RTE_ETH_RSS_TCP | RTE_ETH_RSS_UDP);
    if (device_.hash_key_size > 0 && device_.hash_key_size <= sizeof(key)) {
      conf_.rx_adv_conf.rss_conf.rss_key = key;
      conf_.rx_adv_conf.rss_conf.rss_key_len = device_.hash_key_size;
    }
  }
  const int result = rte_eth_dev_configure(info_.id, config.rx_queues, config.tx_queues, &conf_);
  conf_.rx_adv_conf.rss_conf.rss_key = nullptr;
  if (result == 0) return true;
  error = reason(info_.name, "configure", result);
  return false;
}

bool Port::set_up_queues(const PortConfig& config, std::string& error) {
  for (uint16_t queue = 0; queue < config.rx_queues; ++queue) {
    if (!set_up_rx_queue(queue, config, error)) return false;
  }
  rte_eth_txconf tx = device_.default_txconf;
  tx.offloads = conf_.txmode.offloads;
  for (uint16_t queue = 0; queue < config.tx_queues; ++queue) {
    const int result = rte_eth_tx_queue_setup(info_.id, queue, config.descriptors,
                                              static_cast<unsigned>(SOCKET_ID_ANY), &tx);
    if (result != 0) {
      error = reason(info_.name, "transmit queue", result);
      return false;
    }
  }
  return true;
}

// A driver that takes two pools puts short packets into small buffers itself. Elsewhere a port that
// coalesces gets large buffers, and short packets are copied out of them.
bool Port::set_up_rx_queue(uint16_t queue, const PortConfig& config, std::string& error) {
  const packet::Pools& pools = config.pools[queue % config.pools.size()];
  rte_eth_rxconf rx = device_.default_rxconf;
  rx.offloads = conf_.rxmode.offloads;
  uint16_t mtu = config.mtu;
  if (mtu == 0) rte_eth_dev_get_mtu(info_.id, &mtu);
  const bool coalesces = (conf_.rxmode.offloads & RTE_ETH_RX_OFFLOAD_TCP_LRO) != 0;
  const bool large = coalesces || mtu + RTE_ETHER_HDR_LEN + RTE_VLAN_HLEN > packet::kSmallRoom;

  rte_mempool* both[] = {pools.small, pools.large};
  rte_mempool* single = large ? pools.large : pools.small;
  if (device_.max_rx_mempools >= 2) {
    rx.rx_mempools = both;
    rx.rx_nmempool = 2;
    single = nullptr;
  }
  // A ring that can't be filled receives nothing, and nobody would know why.
  if (single != nullptr && rte_mempool_avail_count(single) <= config.descriptors) {
    error = "port " + info_.name + ": mempool " + single->name +
            " has fewer buffers left than its " + std::to_string(config.descriptors) +
            " receive descriptors";
    return false;
  }
  const int result = rte_eth_rx_queue_setup(info_.id, queue, config.descriptors,
                                            static_cast<unsigned>(SOCKET_ID_ANY), &rx, single);
  if (result != 0) {
    error = reason(info_.name, "receive queue", result);
    return false;
  }
  if (single == nullptr || !large || add_copybreak(info_.id, queue, pools.small)) return true;
  error = reason(info_.name, "receive callback", rte_errno);
  return false;
}

void Port::read_info() {
  const auto rx = [this](uint64_t offload) { return (conf_.rxmode.offloads & offload) != 0; };
  const auto tx = [this](uint64_t offload) { return (conf_.txmode.offloads & offload) != 0; };
  info_.driver = device_.driver_name;
  rte_eth_macaddr_get(info_.id, &info_.mac);
  rte_eth_dev_get_mtu(info_.id, &info_.mtu);
  rte_eth_dev_info now = {};
  if (rte_eth_dev_info_get(info_.id, &now) == 0) {
    info_.rx_queues = now.nb_rx_queues;
    info_.tx_queues = now.nb_tx_queues;
  }
  info_.tx_ip_checksum = tx(RTE_ETH_TX_OFFLOAD_IPV4_CKSUM);
  info_.tx_tcp_checksum = tx(RTE_ETH_TX_OFFLOAD_TCP_CKSUM);
  info_.tx_udp_checksum = tx(RTE_ETH_TX_OFFLOAD_UDP_CKSUM);
  info_.tx_tso = tx(RTE_ETH_TX_OFFLOAD_TCP_TSO) && tx(RTE_ETH_TX_OFFLOAD_MULTI_SEGS);
  info_.tx_segments = tx(RTE_ETH_TX_OFFLOAD_MULTI_SEGS);
  info_.tx_lock_free = tx(RTE_ETH_TX_OFFLOAD_MT_LOCKFREE);
  info_.rx_tcp_checksum = rx(RTE_ETH_RX_OFFLOAD_TCP_CKSUM);
  info_.rx_lro = rx(RTE_ETH_RX_OFFLOAD_TCP_LRO);
}

bool Port::start(std::string& error) {
  const int result = rte_eth_dev_start(info_.id);
  if (result != 0) {
    error = reason(info_.name, "start", result);
    return false;
  }
  started_ = true;
  // Neighbour discovery is multicast. A driver without the setting receives it anyway.
  rte_eth_allmulticast_enable(info_.id);
  return true;
}

bool Port::stop(std::string& error) {
  if (!started_) return true;
  const int result = rte_eth_dev_stop(info_.id);
  if (result != 0) {
    error = reason(info_.name, "stop", result);
    return false;
  }
  started_ = false;
  return true;
}

bool Port::set_mtu(uint16_t mtu, std::string& error) {
  const int result = rte_eth_dev_set_mtu(info_.id, mtu);
  if (result != 0) {
    error = reason(info_.name, "MTU", result);
    return false;
  }
  info_.mtu = mtu;
  return true;
}

bool Port::link_up() const {
  rte_eth_link link = {};
  return rte_eth_link_get_nowait(info_.id, &link) == 0 && link.link_status == RTE_ETH_LINK_UP;
}

PortStats Port::stats() const {
  rte_eth_stats raw = {};
  if (rte_eth_stats_get(info_.id, &raw) != 0) return {};
  return {raw.ipackets,  raw.imissed,  raw.ibytes,  raw.ierrors,
          raw.rx_nombuf, raw.opackets, raw.oerrors, raw.obytes};
}

void Port::clear_stats() {
  missed_before_ = missed();
  rte_eth_stats_reset(info_.id);
  shown_ = {};
}

}  // namespace isthmus::drivers
