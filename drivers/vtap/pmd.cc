// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// net_vtap as DPDK sees it: a vdev driver and its ethdev operations.
#include <cerrno>
#include <cstring>
#include <memory>

#include <rte_common.h>
#include <rte_log.h>
#include <rte_version.h>

#include "drivers/vtap/device.h"
#include "drivers/vtap/driver_abi.h"

namespace isthmus::drivers::vtap {
namespace {

RTE_LOG_REGISTER(log_type, pmd.net.vtap, NOTICE)

void log_error(const char* device, const std::string& what) {
  rte_log(RTE_LOG_ERR, static_cast<uint32_t>(log_type), "%s: %s\n", device, what.c_str());
}

Device& device_of(const abi::EthDev* dev) {
  return *static_cast<Device*>(dev->data->dev_private);
}

uint16_t rx_burst(void* queue, rte_mbuf** frames, uint16_t n) {
  return static_cast<RxQueue*>(queue)->receive(frames, n);
}

uint16_t tx_burst(void* queue, rte_mbuf** frames, uint16_t n) {
  return static_cast<TxQueue*>(queue)->send(frames, n);
}

// ethdev configures 1,500 when nothing else is asked for; then the interface's own MTU stands.
int configure(abi::EthDev* dev) {
  Device& device = device_of(dev);
  std::string error;
  const uint16_t asked = dev->data->mtu;
  if (asked != RTE_ETHER_MTU && !device.set_mtu(asked, error)) {
    log_error(dev->data->name, error);
    return -EINVAL;
  }
  if (const uint16_t actual = device.mtu(); actual != 0) dev->data->mtu = actual;
  return 0;
}

int link_update(abi::EthDev* dev, int /*wait_to_complete*/) {
  rte_eth_link link = {};
  link.link_speed = RTE_ETH_SPEED_NUM_10G;
  link.link_duplex = RTE_ETH_LINK_FULL_DUPLEX;
  link.link_autoneg = RTE_ETH_LINK_FIXED;
  link.link_status =
      dev->data->dev_started != 0 && device_of(dev).link_up() ? RTE_ETH_LINK_UP : RTE_ETH_LINK_DOWN;
  uint64_t raw = 0;
  static_assert(sizeof(raw) == sizeof(link));
  memcpy(&raw, &link, sizeof(raw));
  const uint64_t old =
      __atomic_exchange_n(reinterpret_cast<uint64_t*>(&dev->data->dev_link), raw, __ATOMIC_SEQ_CST);
  return old == raw ? -1 : 0;
}

int start(abi::EthDev* dev) {
  std::string error;
  if (!device_of(dev).open_queues(dev->data->nb_rx_queues, error)) {
    log_error(dev->data->name, error);
    device_of(dev).close_queues();
    return -EIO;
  }
  memset(dev->data->rx_queue_state, RTE_ETH_QUEUE_STATE_STARTED, dev->data->nb_rx_queues);
  memset(dev->data->tx_queue_state, RTE_ETH_QUEUE_STATE_STARTED, dev->data->nb_tx_queues);
  return 0;
}

int stop(abi::EthDev* dev) {
  device_of(dev).close_queues();
  memset(dev->data->rx_queue_state, RTE_ETH_QUEUE_STATE_STOPPED, dev->data->nb_rx_queues);
  memset(dev->data->tx_queue_state, RTE_ETH_QUEUE_STATE_STOPPED, dev->data->nb_tx_queues);
  return 0;
}

int close_device(abi::EthDev* dev) {
  delete static_cast<Device*>(dev->data->dev_private);
  // Both were the device's: ethdev must not give them to rte_free.
  dev->data->dev_private = nullptr;
  dev->data->mac_addrs = nullptr;
  return 0;
}

int set_link(abi::EthDev* dev, bool up) {
  std::string error;
  if (device_of(dev).set_link(up, error)) return 0;
  log_error(dev->data->name, error);
  return -EIO;
}
int set_link_up(abi::EthDev* dev) {
  return set_link(dev, true);
}
int set_link_down(abi::EthDev* dev) {
  return set_link(dev, false);
}

// A TAP delivers everything that the kernel sends; there is no filter to open.
int receive_all(abi::EthDev* /*dev*/) {
  return 0;
}

int set_mac(abi::EthDev* /*dev*/, rte_ether_addr* /*mac*/) {
  return 0;
}

int set_mtu(abi::EthDev* dev, uint16_t mtu) {
  std::string error;
  if (device_of(dev).set_mtu(mtu, error)) return 0;
  log_error(dev->data->name, error);
  return -EINVAL;
}

int stats_get(abi::EthDev* dev, rte_eth_stats* out) {
  Device& device = device_of(dev);
  const uint16_t queues = std::max(dev->data->nb_rx_queues, dev->data->nb_tx_queues);
  for (uint16_t queue = 0; queue < queues; ++queue) {
    const QueueStats now = device.totals(queue);
    const QueueStats& base = device.baseline()[queue];
    out->ipackets += now.rx_packets - base.rx_packets;
    out->ibytes += now.rx_bytes - base.rx_bytes;
    out->ierrors += now.rx_errors - base.rx_errors;
    out->rx_nombuf += now.rx_nombuf - base.rx_nombuf;
    out->imissed += now.rx_missed - base.rx_missed;
    out->opackets += now.tx_packets - base.tx_packets;
    out->obytes += now.tx_bytes - base.tx_bytes;
    out->oerrors += now.tx_errors - base.tx_errors;
    if (queue >= RTE_ETHDEV_QUEUE_STAT_CNTRS) continue;
    out->q_ipackets[queue] = now.rx_packets - base.rx_packets;
    out->q_ibytes[queue] = now.rx_bytes - base.rx_bytes;
    out->q_opackets[queue] = now.tx_packets - base.tx_packets;
    out->q_obytes[queue] = now.tx_bytes - base.tx_bytes;
    out->q_errors[queue] = now.rx_errors - base.rx_errors;
  }
  return 0;
}

int stats_reset(abi::EthDev* dev) {
  Device& device = device_of(dev);
  for (uint16_t queue = 0; queue < kMaxQueues; ++queue) {
    device.baseline()[queue] = device.totals(queue);
  }
  dev->data->rx_mbuf_alloc_failed = 0;
  return 0;
}

int infos_get(abi::EthDev* dev, rte_eth_dev_info* out) {
  const Device& device = device_of(dev);
  out->min_mtu = kMinMtu;
  out->max_mtu = kMaxMtu;
  out->max_rx_pktlen = kMaxMtu + RTE_ETHER_HDR_LEN + RTE_ETHER_CRC_LEN;
  out->max_lro_pkt_size = kMaxFrame;
  out->min_rx_bufsize = kMinRxRoom;
  out->max_rx_queues = device.queues();
  out->max_tx_queues = device.max_tx_queues();
  out->max_rx_mempools = 2;
  out->max_mac_addrs = 1;
  out->if_index = 0;
  out->rx_offload_capa = RTE_ETH_RX_OFFLOAD_SCATTER;
  out->tx_offload_capa = RTE_ETH_TX_OFFLOAD_MULTI_SEGS | RTE_ETH_TX_OFFLOAD_MT_LOCKFREE;
  if (device.config().tap.offload) {
    out->rx_offload_capa |=
        RTE_ETH_RX_OFFLOAD_TCP_CKSUM | RTE_ETH_RX_OFFLOAD_UDP_CKSUM | RTE_ETH_RX_OFFLOAD_TCP_LRO;
    out->tx_offload_capa |= RTE_ETH_TX_OFFLOAD_IPV4_CKSUM | RTE_ETH_TX_OFFLOAD_TCP_CKSUM |
                            RTE_ETH_TX_OFFLOAD_UDP_CKSUM | RTE_ETH_TX_OFFLOAD_TCP_TSO;
  }
  out->tx_queue_offload_capa = 0;
  out->default_rxportconf = {.burst_size = 32, .ring_size = 0, .nb_queues = 1};
  out->default_txportconf = {.burst_size = 32, .ring_size = 0, .nb_queues = 1};
  return 0;
}

int rx_queue_setup(abi::EthDev* dev, uint16_t queue, uint16_t /*descriptors*/, unsigned /*socket*/,
                   const rte_eth_rxconf* conf, rte_mempool* pool) {
  Device& device = device_of(dev);
  rte_mempool* first = pool != nullptr ? pool : conf->rx_mempools[0];
  rte_mempool* rest = pool != nullptr ? pool : conf->rx_mempools[conf->rx_nmempool - 1];
  device.rx(queue).setup(&device.endpoint(queue), device.port(), first, rest);
  dev->data->rx_queues[queue] = &device.rx(queue);
  return 0;
}

void rx_queue_release(abi::EthDev* dev, uint16_t queue) {
  device_of(dev).rx(queue).close();
}

int tx_queue_setup(abi::EthDev* dev, uint16_t queue, uint16_t /*descriptors*/, unsigned /*socket*/,
                   const rte_eth_txconf* /*conf*/) {
  dev->data->tx_queues[queue] = &device_of(dev).make_tx(queue, dev->data->nb_rx_queues);
  return 0;
}

void tx_queue_release(abi::EthDev* /*dev*/, uint16_t /*queue*/) {}

constexpr abi::EthDevOps make_ops() {
  abi::EthDevOps ops = {};
  ops.dev_configure = configure;
  ops.dev_start = start;
  ops.dev_stop = stop;
  ops.dev_close = close_device;
  ops.dev_set_link_up = set_link_up;
  ops.dev_set_link_down = set_link_down;
  ops.link_update = link_update;
  ops.promiscuous_enable = receive_all;
  ops.promiscuous_disable = receive_all;
  ops.allmulticast_enable = receive_all;
  ops.allmulticast_disable = receive_all;
  ops.mac_addr_set = set_mac;
  ops.mtu_set = set_mtu;
  ops.stats_get = stats_get;
  ops.stats_reset = stats_reset;
  ops.dev_infos_get = infos_get;
  ops.rx_queue_setup = rx_queue_setup;
  ops.rx_queue_release = rx_queue_release;
  ops.tx_queue_setup = tx_queue_setup;
  ops.tx_queue_release = tx_queue_release;
  return ops;
}

constexpr abi::EthDevOps kOps = make_ops();

// The structures of driver_abi.h are those of this release and no other.
bool check_release(const abi::EthDev& dev, const char* name) {
  return rte_version_year() == 22 && rte_version_month() == 11 &&
         strcmp(dev.data->name, name) == 0 && dev.data->mtu == RTE_ETHER_MTU &&
         dev.data->port_id < RTE_MAX_ETHPORTS;
}

int probe(abi::VdevDevice* vdev) {
  const char* name = vdev->device.name;
  const char* arguments = vdev->device.devargs != nullptr ? vdev->device.devargs->args : "";
  DeviceConfig config;
  std::string error;
  if (!parse_arguments(arguments, config, error)) {
    log_error(name, error);
    return -EINVAL;
  }
  abi::EthDev* dev = abi::rte_eth_dev_allocate(name);
  if (dev == nullptr) return -ENOMEM;
  if (!check_release(*dev, name)) {
    log_error(name, std::string("net_vtap is built for DPDK 22.11, this is ") + rte_version());
    return -ENOTSUP;
  }
  auto device = std::make_unique<Device>(dev->data->port_id, config);
  if (!device->open_interface(error)) {
    log_error(name, error);
    abi::rte_eth_dev_release_port(dev);
    return -ENODEV;
  }
  dev->data->mac_addrs = &device->mac();
  dev->data->dev_flags = RTE_ETH_DEV_AUTOFILL_QUEUE_XSTATS;
  dev->data->promiscuous = 1;
  dev->data->all_multicast = 1;
  dev->data->numa_node = vdev->device.numa_node;
  dev->data->dev_private = device.release();
  dev->device = &vdev->device;
  dev->dev_ops = &kOps;
  dev->rx_pkt_burst = rx_burst;
  dev->tx_pkt_burst = tx_burst;
  abi::rte_eth_dev_probing_finish(dev);
  return 0;
}

int remove(abi::VdevDevice* vdev) {
  abi::EthDev* dev = abi::rte_eth_dev_allocated(vdev->device.name);
  if (dev == nullptr) return 0;  // closed before
  close_device(dev);
  return abi::rte_eth_dev_release_port(dev);
}

abi::VdevDriver driver = {.driver = {.name = "net_vtap"}, .probe = probe, .remove = remove};

RTE_INIT(register_net_vtap) {
  abi::rte_vdev_register(&driver);
}

}  // namespace
}  // namespace isthmus::drivers::vtap
