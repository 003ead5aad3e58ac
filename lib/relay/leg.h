// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// One side of a relayed flow: a byte stream with credits, each direction closed by itself. A TCP
// connection and an HBONE stream are legs; what carries the bytes is not seen from here.
#pragma once

#include <cstdint>

#include "packet/chain.h"

namespace isthmus::relay {

class Leg;

// Why a leg stopped without an orderly end.
enum class Cause : uint8_t {
  none,
  reset,      // the other end reset it: RST, RST_STREAM
  refused,    // it never came up
  timed_out,  // no progress: retransmissions, liveness, connect
  lost,       // what carries it died: the tunnel's connection failed
  no_memory,
  cancelled,  // by its owner: policy, drain, the flow's other leg
};
const char* to_string(Cause cause);

// Told from an engine's flush() or poll step only, never from inside a call of the leg. A call may
// use any method of any leg, except that release() of the reporting leg must be the last.
class Observer {
 public:
  virtual void on_readable(Leg& leg) = 0;  // readable() grew
  virtual void on_writable(Leg& leg) = 0;  // send_room() grew after it had been short
  virtual void on_ended(Leg& leg) = 0;     // no bytes will follow those that are readable now
  virtual void on_closed(Leg& leg) = 0;    // both directions have finished in order; the last event
  virtual void on_aborted(Leg& leg, Cause cause) = 0;  // dead; the last event

 protected:
  ~Observer() = default;
};

class Leg {
 public:
  // Bytes that read() can give now.
  virtual uint32_t readable() const = 0;
  // Takes at most max bytes. Reading is the credit: the window towards the sender opens by what was
  // taken, so take only what the other leg has room for. May give fewer bytes, even none, when
  // buffers for a cut are short; what remains stays readable.
  virtual packet::Chain read(uint32_t max) = 0;
  // The far end has closed its direction and every byte of it was read.
  virtual bool ended() const = 0;
  // Bytes that write() may be given now.
  virtual uint32_t send_room() const = 0;
  // Bytes that were written and have not left yet.
  virtual uint32_t queued() const = 0;
  // At most send_room() bytes.
  virtual void write(packet::Chain&& bytes) = 0;
  // Closes this direction after what was written: FIN, END_STREAM. Once.
  virtual void shutdown() = 0;
  // Ends both directions at once: RST, RST_STREAM(CONNECT_ERROR). Queued bytes are dropped, no
  // event follows. Nothing happens to a leg that is closed or aborted already.
  virtual void abort(Cause cause) = 0;
  // The owner is done: no event follows and the leg must not be used again. A leg that is neither
  // closed nor aborted is aborted.
  virtual void release() = 0;

  void observe(Observer* observer) { observer_ = observer; }

 protected:
  ~Leg() = default;
  Observer* observer_ = nullptr;
};

}  // namespace isthmus::relay
