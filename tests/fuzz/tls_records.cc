// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// A session fed with what a hostile peer that knows the keys could send, and with plain garbage.
//
// Input: one byte of settings (bit 0: we are the server, bit 1: AES-128, bits 2-7: sizes of
// segments), then commands: a kind, a length, and the bytes.
//   kind 0..127:  a well-formed record of content type kind, padded by the high bits of length
//   kind 128..:   the bytes go to the wire as they are
// Oracle: the plaintext is a prefix of the application data that was sealed.
#include <algorithm>
#include <cstdlib>
#include <vector>

#include <rte_mbuf.h>

#include "eal.h"
#include "packet/endian.h"
#include "support/pools.h"
#include "tls/gcm.h"
#include "tls/key_schedule.h"
#include "tls/session.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#include <sanitizer/asan_interface.h>
#define ISTHMUS_ASAN 1
#endif
#endif
#ifndef ISTHMUS_ASAN
#define ASAN_POISON_MEMORY_REGION(address, size) ((void)(address), (void)(size))
#define ASAN_UNPOISON_MEMORY_REGION(address, size) ((void)(address), (void)(size))
#endif

namespace {

using namespace isthmus;
using namespace isthmus::tls;
using Bytes = std::vector<uint8_t>;

// Buffers that only the wire uses, so that what lies behind their data can be poisoned.
rte_mempool* wire_pool = nullptr;

struct Worker {
  Worker() : layer(KeyMemory(memory), isthmus::test::pools()), forging(*layer.keys().take()) {}

  alignas(64) uint8_t memory[KeyStore::bytes_for(2)] = {};
  RecordLayer layer;
  DirectionKeys& forging;
  uint64_t sequence = 0;

  // Appends a record with the peer's next key and number.
  void seal(Bytes& wire, const Bytes& inner) {
    const size_t at = wire.size();
    wire.resize(at + kRecordHeader + inner.size() + kTagSize);
    uint8_t* record = wire.data() + at;
    record[0] = 23;
    record[1] = record[2] = 3;
    packet::store_be<uint16_t>(record + 3, static_cast<uint16_t>(inner.size() + kTagSize));
    gcm_whole<Direction::seal>(layer.mgr(), forging, Nonce(forging.iv, sequence++), record,
                               kRecordHeader, inner.data(), record + kRecordHeader, inner.size(),
                               record + kRecordHeader + inner.size());
  }
};

struct Script {
  Bytes wire;
  Bytes data;  // application data in it
};

Script make_script(Worker& worker, const uint8_t* at, size_t size) {
  Script script;
  while (size >= 3) {
    const uint8_t kind = at[0];
    const unsigned raw = packet::load_be<uint16_t>(at + 1);
    at += 3;
    size -= 3;
    const size_t length = std::min<size_t>(raw % 1024, size);
    const Bytes content(at, at + length);
    at += length;
    size -= length;
    if (kind >= 128) {
      script.wire.insert(script.wire.end(), content.begin(), content.end());
      continue;
    }
    Bytes inner = content;
    inner.push_back(kind);
    inner.resize(inner.size() + (raw >> 10) * 262);  // up to 16.5 KB
    worker.seal(script.wire, inner);
    // A kind of 0 is padding too: then the content's last byte that is not 0 says the type.
    size_t type_at = inner.size();
    while (type_at > 0 && inner[type_at - 1] == 0) --type_at;
    if (type_at > 0 && inner[type_at - 1] == 23) {
      script.data.insert(script.data.end(), inner.begin(),
                         inner.begin() + static_cast<ptrdiff_t>(type_at) - 1);
    }
    if (kind == 22 && content.size() == 5 && content[0] == 24) {
      advance_keys(worker.layer.mgr(), worker.forging);
      worker.sequence = 0;
    }
  }
  return script;
}

packet::Chain to_segments(const uint8_t* bytes, size_t size, size_t segment) {
  packet::Chain chain;
  while (size > 0) {
    const size_t piece = std::min(size, segment);
    rte_mbuf* mbuf = rte_pktmbuf_alloc(wire_pool);
    if (mbuf == nullptr) abort();
    char* to = rte_pktmbuf_append(mbuf, static_cast<uint16_t>(piece));
    ASAN_UNPOISON_MEMORY_REGION(mbuf->buf_addr, mbuf->buf_len);
    std::copy_n(bytes, piece, to);
    ASAN_POISON_MEMORY_REGION(to + piece, rte_pktmbuf_tailroom(mbuf));
    chain.append(mbuf);
    bytes += piece;
    size -= piece;
  }
  return chain;
}

}  // namespace

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  fuzz::start_eal();
  wire_pool = rte_pktmbuf_pool_create("wire", 4095, 0, 0, packet::kSmallRoom + packet::kHeadroom,
                                      SOCKET_ID_ANY);
  if (wire_pool == nullptr) abort();
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* input, size_t size) {
  if (size < 1 || size > 8192) return 0;
  static Worker* worker = new Worker();
  const uint8_t settings = *input;
  SessionSecrets secrets;
  secrets.role = (settings & 1) != 0 ? Role::server : Role::client;
  secrets.cipher = (settings & 2) != 0 ? Cipher::aes_128_gcm_sha256 : Cipher::aes_256_gcm_sha384;
  derive_keys(worker->layer.mgr(), secrets.cipher, secrets.server, worker->forging);
  worker->sequence = 0;
  const Script script = make_script(*worker, input + 1, size - 1);
  const size_t segment = 1 + static_cast<size_t>(settings >> 2) * 31;
  if (script.wire.size() / segment > 2000) return 0;

  Session session;
  if (!session.start(worker->layer, secrets)) abort();
  packet::Chain plain;
  packet::Chain out;
  const size_t half = script.wire.size() / 2;
  for (const auto& [from, length] :
       {std::pair<size_t, size_t>{0, half}, {half, script.wire.size() - half}}) {
    const OpenStatus status =
        session.open(to_segments(script.wire.data() + from, length, segment), plain);
    if (status == OpenStatus::no_buffer) abort();
    if (status == OpenStatus::error && session.failure().failure == Failure::none) abort();
    if (session.wants_flush()) session.flush(out);
  }
  Bytes got(plain.size());
  plain.copy_out(0, got);
  if (got.size() > script.data.size() || !std::equal(got.begin(), got.end(), script.data.begin())) {
    abort();
  }
  return 0;
}
