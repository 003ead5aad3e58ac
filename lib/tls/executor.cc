// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// The worker's end: part of the data path, so it allocates in the constructor only.
#include <algorithm>
#include <cassert>

#include "tls/service.h"

namespace isthmus::tls {

using Status = HandshakeJob::Status;

stats::Reason reason_of(StartStatus status) {
  return status == StartStatus::workload_full ? stats::Reason::tls_workload_handshakes_full
                                              : stats::Reason::tls_handshakes_full;
}

RingExecutor::RingExecutor(std::span<HandshakeChannel* const> channels,
                           const HandshakeLimits& limits)
    : limits_(limits), channels_(channels.begin(), channels.end()) {
  assert(!channels_.empty());
  for (uint32_t i = limits.total; i-- > 0;) free_.push_back(i);
  for (uint32_t i = 0; i < limits.total; ++i) {
    jobs_.push_back(std::make_unique<HandshakeJob>());
    jobs_.back()->id.slot = i;
  }
}

StartStatus RingExecutor::start(const HandshakeRequest& request, HandshakeId& id) {
  assert(request.local != nullptr && request.expected.size() <= kMaxExpectedIdentities);
  if (free_.empty()) return StartStatus::full;
  // A scan costs nothing beside the handshake, and needs no table that could fill up.
  const auto of_workload = std::count_if(jobs_.begin(), jobs_.end(), [&request](const auto& job) {
    return job->status != Status::free && job->workload == request.workload;
  });
  if (of_workload >= limits_.per_workload) return StartStatus::workload_full;

  HandshakeJob& job = *jobs_[free_.back()];
  free_.pop_back();
  ++in_progress_;
  job.role = request.role;
  job.begin = true;
  job.dispose = false;
  job.local = request.local;
  std::copy(request.expected.begin(), request.expected.end(), job.expected.begin());
  job.expected_count = static_cast<unsigned>(request.expected.size());
  job.input_size = 0;
  job.token = request.token;
  job.workload = request.workload;
  job.abandoned = false;
  job.status = Status::idle;
  job.channel = next_channel_;
  next_channel_ = (next_channel_ + 1) % static_cast<uint32_t>(channels_.size());
  id = job.id;
  if (request.role == Role::client) submit(job);
  return StartStatus::ok;
}

uint32_t RingExecutor::feed(HandshakeId id, packet::Chain& received) {
  HandshakeJob* job = find(id);
  if (job == nullptr || job->status != Status::idle || received.empty()) return 0;
  const auto size = std::min<uint32_t>(received.size(), static_cast<uint32_t>(job->input.size()));
  received.copy_out(0, {job->input.data(), size});
  received.drop_front(size);
  job->input_size = size;
  submit(*job);
  return size;
}

void RingExecutor::abandon(HandshakeId id) {
  HandshakeJob* job = find(id);
  if (job == nullptr || job->status == Status::ending) return;
  job->abandoned = true;
  if (job->status == Status::busy) return;
  if (job->begin) return release(*job);
  job->dispose = true;
  submit(*job);
}

unsigned RingExecutor::poll(HandshakeHandler& handler, unsigned budget) {
  unsigned delivered = 0;
  for (HandshakeChannel* channel : channels_) {
    while (delivered < budget) {
      HandshakeJob* job = channel->results.pop();
      if (job == nullptr) break;
      deliver(*job, handler);
      ++delivered;
    }
  }
  return delivered;
}

void RingExecutor::deliver(HandshakeJob& job, HandshakeHandler& handler) {
  job.begin = false;
  const bool ended = job.dispose || job.state != HandshakeState::in_progress;
  if (job.abandoned) {
    if (ended) return release(job);
    job.dispose = true;
    return submit(job);
  }
  HandshakeResult result;
  result.token = job.token;
  result.id = job.id;
  result.state = job.state;
  result.to_send = job.output[job.output_index];
  if (job.state == HandshakeState::established) result.established = &job.established;
  result.failure = job.failure;
  job.output_index ^= 1;
  job.status = ended ? Status::ending : Status::idle;
  handler.on_handshake(result);
  if (ended) release(job);
}

void RingExecutor::submit(HandshakeJob& job) {
  job.status = Status::busy;
  HandshakeChannel& channel = *channels_[job.channel];
  // There are no more jobs than places.
  [[maybe_unused]] const bool pushed = channel.requests.push(&job);
  assert(pushed);
  if (channel.wake_service != nullptr) channel.wake_service->wake();
}

void RingExecutor::release(HandshakeJob& job) {
  job.established.secrets.wipe();
  job.status = Status::free;
  ++job.id.generation;
  free_.push_back(job.id.slot);
  --in_progress_;
}

HandshakeJob* RingExecutor::find(HandshakeId id) {
  if (id.slot >= jobs_.size()) return nullptr;
  HandshakeJob* job = jobs_[id.slot].get();
  return job->id == id && job->status != Status::free && !job->abandoned ? job : nullptr;
}

bool RingExecutor::results_empty() const {
  return std::all_of(channels_.begin(), channels_.end(),
                     [](const HandshakeChannel* channel) { return channel->results.empty(); });
}

}  // namespace isthmus::tls
