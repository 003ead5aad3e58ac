// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// How a worker has handshakes done for it. A worker copies bytes in and out and never waits; what
// runs behind is a service thread (service.h) or, in the simulator, the caller itself.
#pragma once

#include <cstdint>
#include <span>

#include "packet/chain.h"
#include "tls/handshake.h"

namespace isthmus::tls {

// Names a handshake of one executor; never used twice within 2^32 handshakes of a slot.
struct HandshakeId {
  uint32_t slot = UINT32_MAX;
  uint32_t generation = 0;

  bool valid() const { return slot != UINT32_MAX; }
  friend bool operator==(const HandshakeId&, const HandshakeId&) = default;
};

inline constexpr unsigned kMaxExpectedIdentities = 8;

struct HandshakeRequest {
  Role role = Role::server;
  IdentityPtr local = nullptr;            // whose credential we present
  std::span<const IdentityPtr> expected;  // client role, 1 to kMaxExpectedIdentities; copied
  uint64_t workload = 0;                  // the caller's key for the limit per workload
  uint64_t token = 0;                     // comes back in every result
};

enum class StartStatus : uint8_t {
  ok,
  full,           // the executor's limit
  workload_full,  // the workload's limit
};
stats::Reason reason_of(StartStatus status);

struct HandshakeLimits {
  unsigned total = 256;  // handshakes in progress, per worker
  unsigned per_workload = 64;
};

struct HandshakeResult {
  uint64_t token = 0;
  HandshakeId id;
  HandshakeState state = HandshakeState::in_progress;
  std::span<const uint8_t> to_send;    // for the peer, in every state; valid during the call
  Established* established = nullptr;  // set when established; wiped after the call
  FailureInfo failure;                 // set when failed
};

class HandshakeHandler {
 public:
  // A step is done. Unless in_progress, the id is no longer valid. May call start(), feed() and
  // abandon().
  virtual void on_handshake(const HandshakeResult& result) = 0;

 protected:
  ~HandshakeHandler() = default;
};

class HandshakeExecutor {
 public:
  virtual ~HandshakeExecutor() = default;

  // Begins a handshake. A client's first flight comes as the first result; a server's handshake has
  // no result before it is fed.
  virtual StartStatus start(const HandshakeRequest& request, HandshakeId& id) = 0;
  // Copies received bytes in and drops them from received. Takes nothing while the previous step
  // has no result yet, and at most a record's worth at once: call again after each result.
  // Returns the bytes taken.
  virtual uint32_t feed(HandshakeId id, packet::Chain& received) = 0;
  // Gives a handshake up (time limit, reset): no more results for it. Its slot is free once the
  // service has let go of it.
  virtual void abandon(HandshakeId id) = 0;
  // Delivers at most budget results. Returns how many.
  virtual unsigned poll(HandshakeHandler& handler, unsigned budget) = 0;

  virtual unsigned in_progress() const = 0;
};

}  // namespace isthmus::tls
