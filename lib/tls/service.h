// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// Handshakes done by service threads. A worker's RingExecutor and a HandshakeService exchange job
// objects over a channel, a pair of bounded queues. Jobs are made with the executor and reused:
// what a service thread allocates it also frees, and a worker never does either. The application
// starts the threads; each calls its service's run_once().
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "tls/executor.h"
#include "tls/record.h"
#include "tls/spsc_ring.h"

namespace isthmus::tls {

// Told after something was put into a queue; wakes the thread at its other end if that sleeps.
class Waker {
 public:
  virtual void wake() = 0;

 protected:
  ~Waker() = default;
};

// One handshake in progress. At any time either the worker or the service owns all of it.
struct HandshakeJob {
  // Set by the worker.
  Role role = Role::server;
  bool begin = false;    // a new handshake
  bool dispose = false;  // forget the handshake
  IdentityPtr local = nullptr;
  std::array<IdentityPtr, kMaxExpectedIdentities> expected{};
  unsigned expected_count = 0;
  uint32_t input_size = 0;
  std::array<uint8_t, kRecordHeader + kMaxCiphertext> input;
  uint8_t output_index = 0;  // which output the service fills: the other may still be read

  // Set by the service.
  std::unique_ptr<Handshake> handshake;
  std::vector<uint8_t> output[2];
  HandshakeState state = HandshakeState::in_progress;
  FailureInfo failure;
  Established established;

  // The worker's own.
  enum class Status : uint8_t { free, busy, idle, ending };
  uint64_t token = 0;
  uint64_t workload = 0;
  HandshakeId id;
  uint32_t channel = 0;
  Status status = Status::free;
  bool abandoned = false;
};

struct HandshakeChannel {
  // capacity: the executor's limit of handshakes.
  explicit HandshakeChannel(size_t capacity) : requests(capacity), results(capacity) {}

  SpscRing<HandshakeJob> requests;
  SpscRing<HandshakeJob> results;
  // Both optional; they outlive the channel.
  Waker* wake_service = nullptr;
  Waker* wake_worker = nullptr;
};

// The worker's end. Handshakes are spread over its channels in turn.
class RingExecutor final : public HandshakeExecutor {
 public:
  // The channels outlive the executor, and no service works on them when it is destroyed.
  RingExecutor(std::span<HandshakeChannel* const> channels, const HandshakeLimits& limits);

  StartStatus start(const HandshakeRequest& request, HandshakeId& id) override;
  uint32_t feed(HandshakeId id, packet::Chain& received) override;
  void abandon(HandshakeId id) override;
  unsigned poll(HandshakeHandler& handler, unsigned budget) override;
  unsigned in_progress() const override { return in_progress_; }
  // Nothing to poll: for a worker that is about to sleep.
  bool results_empty() const;

 private:
  HandshakeJob* find(HandshakeId id);
  void submit(HandshakeJob& job);
  void deliver(HandshakeJob& job, HandshakeHandler& handler);
  void release(HandshakeJob& job);

  HandshakeLimits limits_;
  std::vector<HandshakeChannel*> channels_;
  std::vector<std::unique_ptr<HandshakeJob>> jobs_;
  std::vector<uint32_t> free_;
  unsigned in_progress_ = 0;
  uint32_t next_channel_ = 0;
};

// A service thread's end.
class HandshakeService {
 public:
  // Both outlive the service.
  HandshakeService(CredentialSource& credentials, IdentityTable& identities)
      : credentials_(credentials), identities_(identities) {}

  // Before the thread starts. The channel outlives the service.
  void serve(HandshakeChannel& channel) { channels_.push_back(&channel); }
  // Does at most budget steps, the channels in turn. Returns how many; 0 means nothing waits.
  unsigned run_once(WallTime now, unsigned budget);
  bool requests_empty() const;

 private:
  void run(HandshakeJob& job, WallTime now);

  CredentialSource& credentials_;
  IdentityTable& identities_;
  std::vector<HandshakeChannel*> channels_;
};

// Does handshakes in poll(), in the order of their requests: for the simulator and for tests.
class InlineExecutor final : public HandshakeExecutor {
 public:
  InlineExecutor(CredentialSource& credentials, IdentityTable& identities, WallTime now,
                 const HandshakeLimits& limits = {});

  // The time that certificates are judged by.
  void set_now(WallTime now) { now_ = now; }
  StartStatus start(const HandshakeRequest& request, HandshakeId& id) override {
    return worker_.start(request, id);
  }
  uint32_t feed(HandshakeId id, packet::Chain& received) override {
    return worker_.feed(id, received);
  }
  void abandon(HandshakeId id) override { worker_.abandon(id); }
  unsigned poll(HandshakeHandler& handler, unsigned budget) override;
  unsigned in_progress() const override { return worker_.in_progress(); }

 private:
  WallTime now_;
  HandshakeChannel channel_;
  HandshakeChannel* channels_[1] = {&channel_};
  RingExecutor worker_;
  HandshakeService service_;
};

}  // namespace isthmus::tls
