// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "tls/sealer.h"

#include <algorithm>
#include <cassert>
#include <cstring>

#include <rte_mbuf.h>

#include "packet/endian.h"
#include "tls/gcm.h"
#include "tls/key_schedule.h"

namespace isthmus::tls {
namespace {

// Up to here a record is gathered in its destination and encrypted there by one call: that costs
// less than the calls for each piece.
constexpr uint32_t kGatherSize = 512;

rte_mbuf* allocate(const packet::Pools& pools, uint32_t size) {
  rte_mbuf* mbuf = nullptr;
  if (size <= packet::kSmallRoom) mbuf = rte_pktmbuf_alloc(pools.small);
  if (mbuf == nullptr) mbuf = rte_pktmbuf_alloc(pools.large);
  return mbuf;
}

// Calls use(bytes, size) for each piece of the chain's first length bytes.
template <typename Use>
void for_each_piece(const packet::Chain& chain, uint32_t length, Use use) {
  for (const rte_mbuf* segment = chain.head(); length > 0; segment = segment->next) {
    const uint32_t size = std::min<uint32_t>(length, segment->data_len);
    use(rte_pktmbuf_mtod(segment, const uint8_t*), size);
    length -= size;
  }
}

}  // namespace

SealStatus Sealer::seal(ContentType type, std::span<const uint8_t> header, packet::Chain& payload,
                        uint32_t length, packet::Chain& out) {
  assert(header.size() + length <= max_plaintext_ && length <= payload.size());
  if (sequence_ >= layer_->limits().stop_after) return SealStatus::key_exhausted;
  const uint32_t plaintext = static_cast<uint32_t>(header.size()) + length;
  const uint32_t size = plaintext + kRecordOverhead;
  rte_mbuf* mbuf = allocate(layer_->pools(), size);
  if (mbuf == nullptr) return SealStatus::no_buffer;
  assert(rte_pktmbuf_tailroom(mbuf) >= size);
  mbuf->data_len = static_cast<uint16_t>(size);
  mbuf->pkt_len = size;
  encrypt(rte_pktmbuf_mtod(mbuf, uint8_t*), type, header, payload, length);
  ++sequence_;
  out.append(mbuf);
  payload.drop_front(length);
  ++layer_->counters().records_sealed;
  layer_->counters().bytes_sealed += plaintext;
  return SealStatus::ok;
}

void Sealer::encrypt(uint8_t* record, ContentType type, std::span<const uint8_t> header,
                     const packet::Chain& payload, uint32_t length) const {
  const uint32_t inner = static_cast<uint32_t>(header.size()) + length + 1;
  const auto type_byte = static_cast<uint8_t>(type);
  record[0] = static_cast<uint8_t>(ContentType::application_data);
  packet::store_be<uint16_t>(record + 1, 0x0303);
  packet::store_be<uint16_t>(record + 3, static_cast<uint16_t>(inner + kTagSize));
  uint8_t* to = record + kRecordHeader;
  const Nonce nonce(keys_->iv, sequence_);

  if (inner <= kGatherSize) {
    uint8_t* at = to;
    if (!header.empty()) std::memcpy(at, header.data(), header.size());
    at += header.size();
    for_each_piece(payload, length, [&at](const uint8_t* bytes, uint32_t size) {
      std::memcpy(at, bytes, size);
      at += size;
    });
    *at = type_byte;
    gcm_whole<Direction::seal>(layer_->mgr(), *keys_, nonce, record, kRecordHeader, to, to, inner,
                               to + inner);
    return;
  }
  GcmPieces<Direction::seal> gcm(layer_->mgr(), *keys_, nonce, record, kRecordHeader);
  if (!header.empty()) gcm.update(header.data(), to, header.size());
  to += header.size();
  for_each_piece(payload, length, [&](const uint8_t* bytes, uint32_t size) {
    gcm.update(bytes, to, size);
    to += size;
  });
  gcm.update(&type_byte, to, 1);
  gcm.finish(to + 1);
}

SealStatus Sealer::update_key(bool request_peer, packet::Chain& out) {
  const uint8_t message[] = {24, 0, 0, 1, static_cast<uint8_t>(request_peer ? 1 : 0)};
  packet::Chain none;
  const SealStatus status = seal(ContentType::handshake, message, none, 0, out);
  if (status != SealStatus::ok) return status;
  advance_keys(layer_->mgr(), *keys_);
  sequence_ = 0;
  ++layer_->counters().key_updates_sent;
  return SealStatus::ok;
}

}  // namespace isthmus::tls
