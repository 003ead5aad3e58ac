// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// Short packets out of large buffers: on a port that has to receive into 16 KB buffers, a 60-byte
// ACK would otherwise hold one for as long as it lives.
#pragma once

#include <cstdint>

struct rte_mempool;

namespace isthmus::drivers {

// From now on rte_eth_rx_burst on that queue copies every single-segment packet that fits a small
// buffer into one (when the pool is empty the packet stays where it is). False on failure with
// rte_errno set.
bool add_copybreak(uint16_t port, uint16_t queue, rte_mempool* small);

}  // namespace isthmus::drivers
