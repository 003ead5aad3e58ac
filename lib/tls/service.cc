// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "tls/service.h"

#include <algorithm>
#include <cassert>
#include <utility>

namespace isthmus::tls {

unsigned HandshakeService::run_once(WallTime now, unsigned budget) {
  unsigned done = 0;
  bool found = true;
  while (found && done < budget) {
    found = false;
    for (HandshakeChannel* channel : channels_) {
      HandshakeJob* job = channel->requests.pop();
      if (job == nullptr) continue;
      found = true;
      ++done;
      run(*job, now);
      [[maybe_unused]] const bool pushed = channel->results.push(job);
      assert(pushed);
      if (channel->wake_worker != nullptr) channel->wake_worker->wake();
    }
  }
  return done;
}

void HandshakeService::run(HandshakeJob& job, WallTime now) {
  if (job.dispose) {
    job.handshake.reset();
    return;
  }
  if (job.begin) {
    auto store = credentials_.current();
    auto credential = store == nullptr ? nullptr : store->find(*job.local);
    HandshakePolicy policy;
    policy.expected.assign(job.expected.begin(), job.expected.begin() + job.expected_count);
    job.handshake = std::make_unique<Handshake>(job.role, std::move(store), std::move(credential),
                                                std::move(policy), identities_, now);
  }
  auto& output = job.output[job.output_index];
  output.clear();
  job.state = job.handshake->step({job.input.data(), job.input_size}, output);
  job.input_size = 0;
  job.failure = job.handshake->failure();
  if (job.state == HandshakeState::in_progress) return;
  if (job.state == HandshakeState::established) {
    job.established = job.handshake->take_established();
  }
  job.handshake.reset();
}

bool HandshakeService::requests_empty() const {
  return std::all_of(channels_.begin(), channels_.end(),
                     [](const HandshakeChannel* channel) { return channel->requests.empty(); });
}

InlineExecutor::InlineExecutor(CredentialSource& credentials, IdentityTable& identities,
                               WallTime now, const HandshakeLimits& limits)
    : now_(now),
      channel_(limits.total),
      worker_(channels_, limits),
      service_(credentials, identities) {
  service_.serve(channel_);
}

unsigned InlineExecutor::poll(HandshakeHandler& handler, unsigned budget) {
  service_.run_once(now_, budget);
  return worker_.poll(handler, budget);
}

}  // namespace isthmus::tls
