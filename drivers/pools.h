// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// The mempools of one worker. Made and destroyed by a control thread; freed only after every mbuf
// came back and every port that receives into them is closed.
#pragma once

#include <memory>
#include <string>

#include "packet/pools.h"

namespace isthmus::drivers {

// Mbufs per pool. A small one occupies 2.3 KB, a large one 17.2 KB, a clone 128 bytes.
struct PoolSizes {
  unsigned small = 16383;
  unsigned large = 4095;
  unsigned clones = 32767;
};

class WorkerPools {
 public:
  // name: unique in the process and at most 12 characters. socket: a NUMA node or SOCKET_ID_ANY.
  // Null with a reason when there isn't memory enough.
  static std::unique_ptr<WorkerPools> create(const std::string& name, const PoolSizes& sizes,
                                             int socket, std::string& error);
  ~WorkerPools();
  WorkerPools(const WorkerPools&) = delete;
  WorkerPools& operator=(const WorkerPools&) = delete;

  const packet::Pools& pools() const { return pools_; }
  // Mbufs taken and not given back.
  unsigned in_use() const;

 private:
  WorkerPools() = default;

  packet::Pools pools_;
};

}  // namespace isthmus::drivers
