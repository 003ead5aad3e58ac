// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "packet/owner.h"

#include <bit>

#include "packet/endian.h"

namespace isthmus::packet {
namespace {

constexpr uint16_t kToeplitzKey = 0x6d5a;

// Hash contributions of one byte of the folded input. The key window that an input bit selects
// starts at that bit; of a key with period 16 it is the key rotated.
using ByteTable = std::array<uint8_t, 256>;
constexpr ByteTable make_table(unsigned first_bit) {
  ByteTable table{};
  for (unsigned byte = 0; byte < 256; ++byte) {
    uint16_t hash = 0;
    for (unsigned bit = 0; bit < 8; ++bit) {
      if ((byte >> (7 - bit) & 1) == 0) continue;
      hash ^= std::rotl(kToeplitzKey, static_cast<int>(first_bit + bit));
    }
    table[byte] = hash % kOwnerBuckets;
  }
  return table;
}
constexpr ByteTable kHigh = make_table(0);
constexpr ByteTable kLow = make_table(8);

}  // namespace

uint16_t fold(const IpAddress& address) {
  const uint8_t* bytes = address.bytes().data();
  uint16_t folded = 0;
  for (unsigned at = address.is_v4() ? 12 : 0; at < 16; at += 2) {
    folded ^= load_be<uint16_t>(bytes + at);
  }
  return folded;
}

unsigned owner_bucket(uint16_t folded) {
  return kHigh[folded >> 8] ^ kLow[folded & 0xff];
}

unsigned owner_index(const Tuple& tuple) {
  return owner_bucket(fold(tuple.source.address) ^ fold(tuple.destination.address) ^
                      tuple.source.port ^ tuple.destination.port);
}

std::optional<uint16_t> choose_port(const IpAddress& local, const Endpoint& remote,
                                    const IndirectionTable& table, uint8_t worker,
                                    const PortRange& range, uint32_t start) {
  const unsigned size = range.size();
  const uint16_t rest = fold(local) ^ fold(remote.address) ^ remote.port;
  for (unsigned i = 0; i < size; ++i) {
    const auto port = static_cast<uint16_t>(range.low + (start % size + i) % size);
    if (table.worker(owner_bucket(rest ^ port)) == worker) return port;
  }
  return std::nullopt;
}

}  // namespace isthmus::packet
