// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// One TCP connection as its user sees it. The engine owns it; a pointer is good until kClosed or
// kFailed has been told, or until abort() or refuse().
#pragma once

#include <cstdint>

#include "packet/address.h"
#include "packet/chain.h"
#include "tcp/types.h"

namespace isthmus::tcp {

class Core;

class Connection {
 public:
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  State state() const;
  bool held() const;  // a late accept that waits for complete_accept() or refuse()
  const packet::Endpoint& local() const;
  const packet::Endpoint& remote() const;
  uint32_t path() const;

  // The user, its own 64 bits, and who is told. A null handler: events are dropped.
  void set_handler(Handler* handler);
  Handler* handler() const;
  void set_cookie(uint64_t cookie);
  uint64_t cookie() const;

  // Bytes in order, not yet taken.
  uint32_t receive_available() const;
  // Takes up to max bytes, which reopens the window (announced by the next flush(), silly windows
  // avoided). The segments are exclusive (refcnt 1, direct) and may be decrypted in place, but for
  // one that max cuts: it is shared with what stays. Empty when there is nothing, or when the cut
  // found no clone (then take it whole).
  packet::Chain receive(uint32_t max = UINT32_MAX);
  // The peer has sent FIN and receive() has given, or will give, every byte before it.
  bool peer_closed() const;

  // Bytes that send() may add now; 0 before the handshake is complete is not implied: data queued
  // early leaves with the end of the handshake.
  uint32_t send_room() const;
  // Queues data; the queue keeps the references until the peer has acknowledged them, and nobody
  // may write them any more. Everything is taken, even beyond send_room(): the caller's bound is
  // one call. Dropped after shutdown() or when the connection is dead.
  void send(packet::Chain&& data);
  // Bytes not yet acknowledged, sent or not.
  uint32_t send_queued() const;
  // FIN after what is queued; receiving goes on (half-close). Idempotent.
  void shutdown();
  // RST and the end: queues are freed, no event follows, the pointer is dead. In SYN-SENT, and for
  // a held accept, nothing is sent.
  void abort();

  // Late accept: SYN-ACK with the next flush(). No effect unless held().
  void complete_accept();
  // Late accept: RST to the SYN; the pointer is dead. No effect unless held().
  void refuse();

  Failure failure() const;
  Info info() const;

 private:
  friend class Core;
  Connection() = default;
  ~Connection() = default;
};

}  // namespace isthmus::tcp
