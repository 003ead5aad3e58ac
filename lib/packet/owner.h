// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// Which worker owns a flow. The owner is what a NIC would choose that spreads by Toeplitz with the
// symmetric key 6d5a 6d5a ... (Woo and Park, 2012): that key repeats every 16 bits, so the hash
// depends only on the exclusive-or of the addresses' and ports' 16-bit words. Both directions of a
// flow have the same owner, RSS and software agree, and the port that brings an originated leg home
// is found by arithmetic.
#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "packet/address.h"

namespace isthmus::packet {

inline constexpr unsigned kOwnerBuckets = 128;  // entries of an indirection table

// The exclusive-or of all 16-bit words of an address as its packets carry it (4 or 16 bytes).
uint16_t fold(const IpAddress& address);
// Toeplitz hash's low bits of an input that folds to this: a bucket, 0..127.
unsigned owner_bucket(uint16_t folded);
// The bucket of a tuple; of fragments and other protocols, with their ports zero, as a NIC does it.
unsigned owner_index(const Tuple& tuple);

// Buckets to workers; the same table is written to the NICs (RETA) and read by software.
class IndirectionTable {
 public:
  // Deals the buckets out to workers 0..workers-1 in turn; 1 <= workers <= 128.
  explicit IndirectionTable(unsigned workers = 1) {
    for (unsigned i = 0; i < kOwnerBuckets; ++i) worker_[i] = static_cast<uint8_t>(i % workers);
  }
  uint8_t owner(const Tuple& tuple) const { return worker_[owner_index(tuple)]; }
  uint8_t worker(unsigned bucket) const { return worker_[bucket]; }
  void set(unsigned bucket, uint8_t worker) { worker_[bucket] = worker; }

 private:
  std::array<uint8_t, kOwnerBuckets> worker_;
};

struct PortRange {
  uint16_t low = 1024;
  uint16_t high = 65535;  // both inclusive

  unsigned size() const { return high < low ? 0 : static_cast<unsigned>(high - low) + 1; }
};

// The first local port in the range, from `start` on and around, with which the flow
// local:port <-> remote belongs to the worker. `start` may be any number (a random one, or the last
// port plus one). Empty when no port of the range does.
std::optional<uint16_t> choose_port(const IpAddress& local, const Endpoint& remote,
                                    const IndirectionTable& table, uint8_t worker,
                                    const PortRange& range, uint32_t start);

}  // namespace isthmus::packet
