// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "talker.h"

#include <algorithm>
#include <fmt/format.h>
#include <random>

namespace isthmus::interop {
namespace {

constexpr uint32_t kChunk = 16'384;
// A prime length, so that no repetition falls on a segment or buffer boundary.
constexpr uint32_t kPattern = 1'000'003;

const std::vector<uint8_t>& pattern_bytes() {
  static const std::vector<uint8_t> bytes = [] {
    std::vector<uint8_t> made(kPattern + kChunk);
    std::mt19937_64 random(20260101);
    for (uint32_t i = 0; i < kPattern; ++i) made[i] = static_cast<uint8_t>(random());
    std::copy_n(made.begin(), kChunk, made.begin() + kPattern);
    return made;
  }();
  return bytes;
}

uint32_t percentile(std::vector<uint32_t>& values, unsigned percent) {
  if (values.empty()) return 0;
  const auto at = values.begin() + static_cast<long>((values.size() - 1) * percent / 100);
  std::nth_element(values.begin(), at, values.end());
  return *at;
}

}  // namespace

Digest::Digest() : context_(EVP_MD_CTX_new()) {
  EVP_DigestInit_ex(context_, EVP_sha256(), nullptr);
}
Digest::~Digest() {
  EVP_MD_CTX_free(context_);
}
void Digest::add(const void* bytes, size_t n) {
  EVP_DigestUpdate(context_, bytes, n);
}
std::string Digest::hex() {
  uint8_t value[EVP_MAX_MD_SIZE];
  unsigned length = 0;
  EVP_MD_CTX* copy = EVP_MD_CTX_new();
  EVP_MD_CTX_copy_ex(copy, context_);
  EVP_DigestFinal_ex(copy, value, &length);
  EVP_MD_CTX_free(copy);
  std::string text;
  for (unsigned i = 0; i < length; ++i) text += fmt::format("{:02x}", value[i]);
  return text;
}

Talker::Talker(const Part& part, const packet::Pools& pools, std::function<timer::Instant()> now,
               std::function<void(Talker&)> ended)
    : part_(part),
      pools_(pools),
      now_(std::move(now)),
      on_end_(std::move(ended)),
      started_(now_()) {}

void Talker::on_tcp(tcp::Connection& connection, uint16_t events) {
  connection_ = &connection;
  if ((events & tcp::kConnected) != 0) {
    connected_ = true;
    started_ = now_();
    if (part_.rounds != 0) next_request();
  }
  if ((events & tcp::kPeerClosed) != 0) peer_closed_ = true;
  if ((events & (tcp::kClosed | tcp::kFailed)) != 0) part_.stalled = false;
  take();
  if (ended_) return;
  if ((events & (tcp::kClosed | tcp::kFailed)) != 0) return end(connection.failure());
  write();
}

void Talker::take() {
  while (!part_.stalled && connection_->receive_available() != 0) {
    const uint32_t most = part_.echo ? connection_->send_room() : UINT32_MAX;
    if (most == 0) return;
    packet::Chain bytes = connection_->receive(most);
    if (bytes.empty()) return;
    taken_ += bytes.size();
    if (part_.digest) {
      for (const rte_mbuf* m = bytes.head(); m != nullptr; m = m->next) {
        taken_digest_.add(rte_pktmbuf_mtod(m, const void*), m->data_len);
      }
    }
    if (part_.echo) {
      sent_ += bytes.size();
      connection_->send(std::move(bytes));
    }
    if (taken_ >= part_.abort_at) return abort();
    if (part_.rounds != 0 && taken_ == (round_ + 1) * part_.request) {
      latencies_.push_back(static_cast<uint32_t>((now_() - asked_at_).count()));
      if (++round_ < part_.rounds) next_request();
    }
  }
}

void Talker::next_request() {
  asked_at_ = now_();
  for (uint32_t left = part_.request; left != 0;) {
    const uint32_t n = std::min(left, kChunk);
    connection_->send(pattern(sent_, n));
    sent_ += n;
    left -= n;
  }
}

void Talker::write() {
  while (connected_ && sent_ < part_.send) {
    const auto n = static_cast<uint32_t>(
        std::min<uint64_t>({connection_->send_room(), kChunk, part_.send - sent_}));
    // Little room isn't worth a call, a little rest is.
    if (n == 0 || (n < kChunk && n < part_.send - sent_ && n < 512)) return;
    packet::Chain bytes = pattern(sent_, n);
    if (bytes.empty()) return;
    sent_ += n;
    connection_->send(std::move(bytes));
  }
  if (!shut_ && connected_ && finished_sending()) shutdown();
}

bool Talker::finished_sending() const {
  if (part_.keep_open) return false;
  if (part_.wait_for_fin && !peer_closed_) return false;
  if (part_.echo) return peer_closed_ && connection_->receive_available() == 0;
  return sent_ >= part_.send && round_ >= part_.rounds;
}

packet::Chain Talker::pattern(uint64_t offset, uint32_t n) {
  const uint8_t* from = pattern_bytes().data() + offset % kPattern;
  packet::Chain chain;
  const bool copied =
      chain.append_copy({from, n}, n > packet::kSmallRoom ? pools_.large : pools_.small);
  if (copied && part_.digest) sent_digest_.add(from, n);
  return chain;
}

void Talker::resume() {
  part_.stalled = false;
  if (connection_ == nullptr) return;
  take();
  if (!ended_) write();
}

void Talker::shutdown() {
  if (shut_ || connection_ == nullptr) return;
  shut_ = true;
  connection_->shutdown();
}

void Talker::abort() {
  if (connection_ == nullptr) return;
  last_ = connection_->info();
  tcp::Connection* connection = connection_;
  connection_ = nullptr;
  aborted_ = true;
  connection->abort();
  end(tcp::Failure::none);
}

void Talker::end(tcp::Failure failure) {
  if (connection_ != nullptr) last_ = connection_->info();
  connection_ = nullptr;
  failure_ = failure;
  ended_ = true;
  ended_at_ = now_();
  on_end_(*this);
}

Json Talker::report() {
  Json json = json_of(connection_ != nullptr ? connection_->info() : last_);
  const char* end = aborted_                         ? "aborted"
                    : !ended_                        ? "open"
                    : failure_ == tcp::Failure::none ? "closed"
                                                     : tcp::to_string(failure_);
  json["end"] = end;
  json["peer_closed"] = peer_closed_;
  json["sent"] = sent_;
  json["taken"] = taken_;
  json["microseconds"] = ((ended_ ? ended_at_ : now_()) - started_).count();
  if (part_.digest) {
    json["sent_sha256"] = sent_digest_.hex();
    json["taken_sha256"] = taken_digest_.hex();
  }
  if (!latencies_.empty()) {
    json["rounds"] = latencies_.size();
    json["p50"] = percentile(latencies_, 50);
    json["p99"] = percentile(latencies_, 99);
  }
  return json;
}

Json json_of(const tcp::Info& info) {
  return {{"state", tcp::to_string(info.state)},
          {"limit", tcp::to_string(info.limit)},
          {"mss", info.send_mss},
          {"receive_mss", info.receive_mss},
          {"send_scale", info.send_scale},
          {"receive_scale", info.receive_scale},
          {"timestamps", info.timestamps},
          {"sack", info.sack},
          {"rtt", info.rtt},
          {"min_rtt", info.min_rtt},
          {"rto", info.rto},
          {"cwnd", info.congestion_window},
          {"in_flight", info.in_flight},
          {"send_window", info.send_window},
          {"receive_window", info.receive_window},
          {"send_queued", info.send_queued},
          {"not_sent", info.not_sent},
          {"receive_queued", info.receive_queued},
          {"out_of_order", info.out_of_order},
          {"bytes_sent", info.bytes_sent},
          {"bytes_retransmitted", info.bytes_retransmitted},
          {"retransmissions", info.retransmissions},
          {"timeouts", info.timeouts},
          {"tail_probes", info.tail_probes},
          {"spurious", info.spurious_recoveries}};
}

}  // namespace isthmus::interop
