// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// An established TLS 1.3 connection on a worker: ciphertext chains in, plaintext chains out, and
// back. Sans-IO, no allocation, no clock. Sends KeyUpdates by itself, ahead of data.
#pragma once

#include <cstdint>
#include <span>

#include "packet/chain.h"
#include "tls/opener.h"
#include "tls/sealer.h"

namespace isthmus::tls {

class Session {
 public:
  Session() = default;
  Session(Session&& other) noexcept;
  Session& operator=(Session&& other) noexcept;
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;
  ~Session() { stop(); }

  // Takes two key slots and derives the keys; the caller wipes the secrets. False when slots have
  // run out. Sequence numbers start at 0: the handshake sent and took nothing under these keys.
  bool start(RecordLayer& layer, const SessionSecrets& secrets);
  bool started() const { return layer_ != nullptr; }
  // Wipes and frees the keys, drops held ciphertext.
  void stop();

  // Seals header and the first length bytes of payload as one application data record
  // (header.size() + length <= max_plaintext()) and appends it to out, behind a KeyUpdate where one
  // is due. The sealed bytes are dropped from payload.
  SealStatus seal(std::span<const uint8_t> header, packet::Chain& payload, uint32_t length,
                  packet::Chain& out);
  SealStatus seal(std::span<const uint8_t> bytes, packet::Chain& out);
  // Takes what TCP received and appends plaintext. After need_more or closed call flush() when
  // wants_flush(); after error call send_alert(failure().alert) unless failure is peer_alert.
  OpenStatus open(packet::Chain&& ciphertext, packet::Chain& plaintext) {
    return opener_.open(std::move(ciphertext), plaintext);
  }

  // A KeyUpdate waits to be sent although there is no data. flush() sends it.
  bool wants_flush() const;
  SealStatus flush(packet::Chain& out);
  // Ends our direction: close_notify, before TCP's FIN. The peer may go on sending.
  SealStatus send_close_notify(packet::Chain& out) { return send_alert(Alert::close_notify, out); }
  // Sends an alert; our direction has ended. Sent once: later calls return closed.
  SealStatus send_alert(Alert alert, packet::Chain& out);
  // Moves our sending direction to its next key, and asks the peer to do so too if request_peer.
  SealStatus update_key(bool request_peer, packet::Chain& out);

  // The peer said close_notify. A TCP FIN without it is a truncation and is passed on as a reset.
  bool closed_cleanly() const { return opener_.closed_cleanly(); }
  bool send_closed() const { return send_closed_; }
  const FailureInfo& failure() const { return opener_.failure(); }
  // Bytes of an incomplete record that the session holds.
  uint32_t pending() const { return opener_.pending(); }
  uint16_t max_plaintext() const { return sealer_.max_plaintext(); }
  uint64_t send_sequence() const { return sealer_.sequence(); }
  uint64_t receive_sequence() const { return opener_.sequence(); }

 private:
  SealStatus prepare(packet::Chain& out);
  bool waits_for_update() const {
    return update_asked_ && asked_generation_ == opener_.key_generation();
  }

  RecordLayer* layer_ = nullptr;
  DirectionKeys* send_keys_ = nullptr;
  DirectionKeys* receive_keys_ = nullptr;
  Sealer sealer_;
  Opener opener_;
  uint32_t asked_generation_ = 0;  // the peer's key when we sent update_requested
  bool update_asked_ = false;
  bool send_closed_ = false;
};

}  // namespace isthmus::tls
