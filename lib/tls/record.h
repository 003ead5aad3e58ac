// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// The record protocol of TLS 1.3 on the wire (RFC 8446 section 5), and what the record layers of
// one worker share.
#pragma once

#include <cstdint>
#include <memory>

#include "packet/pools.h"
#include "tls/failure.h"
#include "tls/key_memory.h"
#include "tls/secrets.h"

struct IMB_MGR;

namespace isthmus::tls {

enum class ContentType : uint8_t {
  invalid = 0,
  change_cipher_spec = 20,
  alert = 21,
  handshake = 22,
  application_data = 23,
};

inline constexpr unsigned kRecordHeader = 5;
inline constexpr unsigned kMaxPlaintext = 16384;
inline constexpr unsigned kMaxCiphertext = kMaxPlaintext + 256;
// What a record adds to its plaintext: header, content type, tag.
inline constexpr unsigned kRecordOverhead = kRecordHeader + 1 + kTagSize;
static_assert(kRecordHeader + kMaxCiphertext <= packet::kLargeRoom);

// Limits of one connection. The key limits count records under one key (RFC 8446 section 5.5).
struct RecordLimits {
  uint64_t update_after = 11'863'283;  // 2^23.5: a KeyUpdate is sent, or asked for
  uint64_t stop_after = 23'726'566;    // 2^24.5: nothing more is sent
  unsigned records_without_data = 32;  // received in a row: empty records, KeyUpdates, tickets
  unsigned ticket_bytes = 65536;       // one post-handshake message
};

struct RecordCounters {
  uint64_t records_sealed = 0;
  uint64_t records_opened = 0;
  uint64_t bytes_sealed = 0;    // plaintext
  uint64_t bytes_opened = 0;    // plaintext
  uint64_t records_copied = 0;  // opened out of place, their buffers being shared
  uint64_t key_updates_sent = 0;
  uint64_t key_updates_received = 0;
  uint64_t tickets_ignored = 0;
};

// Shared by all sessions of one worker: the cipher's kernels, key slots, buffers and limits. Made
// on the control side; allocates at construction only.
class RecordLayer {
 public:
  RecordLayer(KeyMemory keys, const packet::Pools& pools, const RecordLimits& limits = {});
  ~RecordLayer();
  RecordLayer(const RecordLayer&) = delete;
  RecordLayer& operator=(const RecordLayer&) = delete;

  // False when the cipher library did not start on this machine; then nothing else may be used.
  bool usable() const { return mgr_ != nullptr; }
  IMB_MGR* mgr() const { return mgr_; }
  KeyStore& keys() { return keys_; }
  const packet::Pools& pools() const { return pools_; }
  const RecordLimits& limits() const { return limits_; }
  RecordCounters& counters() { return counters_; }
  const RecordCounters& counters() const { return counters_; }

 private:
  IMB_MGR* mgr_;
  KeyStore keys_;
  packet::Pools pools_;
  RecordLimits limits_;
  RecordCounters counters_;
};

}  // namespace isthmus::tls
