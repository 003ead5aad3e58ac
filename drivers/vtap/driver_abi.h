// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// What an ethdev driver outside DPDK's tree has to know of DPDK 22.11. The distribution's
// libdpdk-dev exports the driver functions (symbol version INTERNAL) but installs no driver
// headers, so the few structures that net_vtap touches are stated here: layouts only, and only as
// far as they are used. Offsets are those of the 22.11 LTS on a 64-bit machine and are asserted;
// probe() also refuses to run on any other release (check_release), and compares what
// rte_eth_dev_allocate() wrote with where this file says it is.
#pragma once

#include <cstddef>
#include <cstdint>

#include <rte_config.h>
#include <rte_dev.h>
#include <rte_devargs.h>
#include <rte_ethdev.h>

namespace isthmus::drivers::vtap::abi {

struct EthDev;

// DPDK's struct rte_device.
struct Device {
  Device* next;
  Device** prev;
  const char* name;
  const char* bus_info;
  const void* driver;
  const void* bus;
  int numa_node;
  rte_devargs* devargs;
};
static_assert(offsetof(Device, name) == 16 && offsetof(Device, devargs) == 56);

// struct rte_vdev_device.
struct VdevDevice {
  VdevDevice* next;
  VdevDevice** prev;
  Device device;
};
static_assert(offsetof(VdevDevice, device) == 16);

// struct rte_vdev_driver, with its struct rte_driver laid out in place.
struct VdevDriver {
  VdevDriver* next;
  VdevDriver** prev;
  struct {
    void* next;
    void** prev;
    const char* name;
    const char* alias;
  } driver;
  int (*probe)(VdevDevice*);
  int (*remove)(VdevDevice*);
  void* dma_map;
  void* dma_unmap;
  uint32_t drv_flags;
};
static_assert(offsetof(VdevDriver, driver) == 16 && offsetof(VdevDriver, probe) == 48);
static_assert(offsetof(VdevDriver, drv_flags) == 80 && sizeof(VdevDriver) == 88);

// The first part of struct rte_eth_dev_data.
struct EthDevData {
  char name[RTE_ETH_NAME_MAX_LEN];
  void** rx_queues;
  void** tx_queues;
  uint16_t nb_rx_queues;
  uint16_t nb_tx_queues;
  struct {
    uint8_t active;
    uint8_t nb_q_per_pool;
    uint16_t def_vmdq_idx;
    uint16_t def_pool_q_idx;
  } sriov;
  void* dev_private;
  rte_eth_link dev_link;
  rte_eth_conf dev_conf;
  uint16_t mtu;
  uint32_t min_rx_buf_size;
  uint64_t rx_mbuf_alloc_failed;
  rte_ether_addr* mac_addrs;
  uint64_t mac_pool_sel[RTE_ETH_NUM_RECEIVE_MAC_ADDR];
  rte_ether_addr* hash_mac_addrs;
  uint16_t port_id;
  uint8_t promiscuous : 1, scattered_rx : 1, all_multicast : 1, dev_started : 1, lro : 1,
      dev_configured : 1, flow_configured : 1;
  uint8_t rx_queue_state[RTE_MAX_QUEUES_PER_PORT];
  uint8_t tx_queue_state[RTE_MAX_QUEUES_PER_PORT];
  uint32_t dev_flags;
  int numa_node;
};
static_assert(offsetof(EthDevData, dev_private) == 96 && offsetof(EthDevData, dev_link) == 104);
static_assert(offsetof(EthDevData, mtu) == 2384 && offsetof(EthDevData, mac_addrs) == 2400);
static_assert(offsetof(EthDevData, port_id) == 3440 && offsetof(EthDevData, dev_flags) == 5492);

// struct eth_dev_ops: 113 slots, of which those that net_vtap fills are named.
struct EthDevOps {
  int (*dev_configure)(EthDev*);
  int (*dev_start)(EthDev*);
  int (*dev_stop)(EthDev*);
  int (*dev_set_link_up)(EthDev*);
  int (*dev_set_link_down)(EthDev*);
  int (*dev_close)(EthDev*);
  void* dev_reset;
  int (*link_update)(EthDev*, int wait_to_complete);
  void* is_removed;
  int (*promiscuous_enable)(EthDev*);
  int (*promiscuous_disable)(EthDev*);
  int (*allmulticast_enable)(EthDev*);
  int (*allmulticast_disable)(EthDev*);
  void* mac_addr_remove;
  void* mac_addr_add;
  int (*mac_addr_set)(EthDev*, rte_ether_addr*);
  void* set_mc_addr_list;
  int (*mtu_set)(EthDev*, uint16_t);
  int (*stats_get)(EthDev*, rte_eth_stats*);
  int (*stats_reset)(EthDev*);
  void* unused_20_to_23[4];
  int (*dev_infos_get)(EthDev*, rte_eth_dev_info*);
  void* unused_25_to_40[16];
  int (*rx_queue_setup)(EthDev*, uint16_t queue, uint16_t descriptors, unsigned socket,
                        const rte_eth_rxconf*, rte_mempool*);
  void (*rx_queue_release)(EthDev*, uint16_t queue);
  void* rx_queue_intr_enable;
  void* rx_queue_intr_disable;
  int (*tx_queue_setup)(EthDev*, uint16_t queue, uint16_t descriptors, unsigned socket,
                        const rte_eth_txconf*);
  void (*tx_queue_release)(EthDev*, uint16_t queue);
  void* unused_47_to_112[66];
};
static_assert(sizeof(EthDevOps) == 113 * sizeof(void*));
static_assert(offsetof(EthDevOps, mtu_set) == 17 * sizeof(void*));
static_assert(offsetof(EthDevOps, dev_infos_get) == 24 * sizeof(void*));
static_assert(offsetof(EthDevOps, rx_queue_setup) == 41 * sizeof(void*));
static_assert(offsetof(EthDevOps, tx_queue_release) == 46 * sizeof(void*));

// The first part of struct rte_eth_dev.
struct EthDev {
  eth_rx_burst_t rx_pkt_burst;
  eth_tx_burst_t tx_pkt_burst;
  eth_tx_prep_t tx_pkt_prepare;
  eth_rx_queue_count_t rx_queue_count;
  eth_rx_descriptor_status_t rx_descriptor_status;
  eth_tx_descriptor_status_t tx_descriptor_status;
  EthDevData* data;
  void* process_private;
  const EthDevOps* dev_ops;
  Device* device;
};
static_assert(offsetof(EthDev, data) == 48 && offsetof(EthDev, device) == 72);

extern "C" {
EthDev* rte_eth_dev_allocate(const char* name);
EthDev* rte_eth_dev_allocated(const char* name);
int rte_eth_dev_release_port(EthDev* dev);
void rte_eth_dev_probing_finish(EthDev* dev);
void rte_vdev_register(VdevDriver* driver);
}

}  // namespace isthmus::drivers::vtap::abi
