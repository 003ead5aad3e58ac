// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "tls/opener.h"

#include <algorithm>
#include <cassert>
#include <utility>

#include <rte_mbuf.h>

#include "packet/buffer.h"
#include "packet/endian.h"
#include "packet/packed.h"
#include "tls/gcm.h"
#include "tls/key_schedule.h"

namespace isthmus::tls {
namespace {

constexpr uint8_t kNewSessionTicket = 4;
constexpr uint8_t kKeyUpdate = 24;

// A record up to this size that shares its buffer with others is decrypted into a buffer of its
// own: cheaper than slicing, and it does not keep a large buffer alive for a few bytes.
constexpr uint32_t kCopyBreak = 512;

// Calls use(bytes, size) for each piece of bytes [offset, offset + length) of a list.
template <typename Use>
void for_each_piece(rte_mbuf* segment, uint32_t offset, uint32_t length, Use use) {
  for (; length > 0; segment = segment->next) {
    if (offset >= segment->data_len) {
      offset -= segment->data_len;
      continue;
    }
    const uint32_t size = std::min<uint32_t>(length, segment->data_len - offset);
    use(rte_pktmbuf_mtod_offset(segment, uint8_t*, offset), size);
    offset = 0;
    length -= size;
  }
}

// Offset of the last byte that is not zero, or -1: the content type of a TLSInnerPlaintext.
int64_t find_type(const packet::Chain& inner, uint8_t& type) {
  const rte_mbuf* tail = inner.tail();
  if (tail == nullptr) return -1;
  type = rte_pktmbuf_mtod(tail, const uint8_t*)[tail->data_len - 1];
  if (type != 0) return int64_t{inner.size()} - 1;
  int64_t found = -1;
  int64_t base = 0;
  for (const rte_mbuf* segment = inner.head(); segment != nullptr; segment = segment->next) {
    const auto* bytes = rte_pktmbuf_mtod(segment, const uint8_t*);
    for (unsigned i = segment->data_len; i-- > 0;) {
      if (bytes[i] == 0) continue;
      type = bytes[i];
      found = base + i;
      break;
    }
    base += segment->data_len;
  }
  return found;
}

}  // namespace

OpenStatus Opener::open(packet::Chain&& ciphertext, packet::Chain& plaintext) {
  if (pending_.empty()) {
    pending_.append(std::move(ciphertext));
  } else {
    packet::append_packed(pending_, std::move(ciphertext), layer_->pools().small);
  }
  Step step;
  while (!step) {
    if (failure_.failure != Failure::none) {
      step = OpenStatus::error;
    } else if (closed_) {
      step = OpenStatus::closed;
    } else {
      step = open_one(plaintext);
    }
  }
  // What follows close_notify is ignored (RFC 8446 section 6.1); what follows an error, too.
  if (*step == OpenStatus::closed || *step == OpenStatus::error) pending_.clear();
  return *step;
}

Opener::Step Opener::open_one(packet::Chain& plaintext) {
  if (pending_.size() < kRecordHeader) return OpenStatus::need_more;
  uint8_t header[kRecordHeader];
  pending_.copy_out(0, header);
  if (const Step step = check_header(header)) return step;
  const uint32_t size = kRecordHeader + packet::load_be<uint16_t>(header + 3);
  if (pending_.size() < size) return OpenStatus::need_more;

  packet::Chain inner;
  bool cut_inside = false;
  const bool exclusive = in_place(size, cut_inside);
  const Step step = exclusive && !(cut_inside && size <= kCopyBreak)
                        ? open_in_place(header, size, cut_inside, inner)
                        : open_copying(header, size, inner);
  if (step) return step;
  ++sequence_;
  ++layer_->counters().records_opened;
  return handle(inner, plaintext);
}

Opener::Step Opener::check_header(const uint8_t* header) {
  const auto type = static_cast<ContentType>(header[0]);
  const unsigned length = packet::load_be<uint16_t>(header + 3);
  if (type == ContentType::change_cipher_spec) return fail(Failure::unexpected_message);
  if (type != ContentType::application_data) return fail(Failure::bad_record);
  if (length > kMaxCiphertext) return fail(Failure::record_overflow);
  if (length < kTagSize) return fail(Failure::bad_record_mac);
  return {};
}

// Whether the first size bytes of pending_ may be overwritten; and whether they end inside a
// segment, which later records then share.
bool Opener::in_place(uint32_t size, bool& cut_inside) const {
  const rte_mbuf* segment = pending_.head();
  bool exclusive = true;
  while (true) {
    exclusive = exclusive && (packet::is_exclusive(segment) || segment == own_head_);
    if (size <= segment->data_len) break;
    size -= segment->data_len;
    segment = segment->next;
  }
  cut_inside = size < segment->data_len;
  return exclusive;
}

Opener::Step Opener::open_in_place(const uint8_t* header, uint32_t size, bool cut_inside,
                                   packet::Chain& content) {
  packet::Chain record = pending_.split_front(size, layer_->pools().clones);
  if (record.empty()) return OpenStatus::no_buffer;
  own_head_ = cut_inside ? pending_.head() : nullptr;

  const uint32_t length = size - kRecordHeader - kTagSize;
  uint8_t expected[kTagSize];
  uint8_t tag[kTagSize];
  record.copy_out(size - kTagSize, expected);
  const Nonce nonce(keys_->iv, sequence_);
  if (record.head()->data_len >= kRecordHeader + length) {
    auto* bytes = rte_pktmbuf_mtod_offset(record.head(), uint8_t*, kRecordHeader);
    gcm_whole<Direction::open>(layer_->mgr(), *keys_, nonce, header, kRecordHeader, bytes, bytes,
                               length, tag);
  } else {
    GcmPieces<Direction::open> gcm(layer_->mgr(), *keys_, nonce, header, kRecordHeader);
    for_each_piece(record.head(), kRecordHeader, length,
                   [&gcm](uint8_t* bytes, uint32_t n) { gcm.update(bytes, bytes, n); });
    gcm.finish(tag);
  }
  if (!same_tag(tag, expected)) return fail(Failure::bad_record_mac);
  record.drop_front(kRecordHeader);
  record.drop_back(kTagSize);
  content = std::move(record);
  return {};
}

Opener::Step Opener::open_copying(const uint8_t* header, uint32_t size, packet::Chain& content) {
  const packet::Pools& pools = layer_->pools();
  const uint32_t length = size - kRecordHeader - kTagSize;
  rte_mbuf* mbuf = length <= packet::kSmallRoom ? rte_pktmbuf_alloc(pools.small) : nullptr;
  if (mbuf == nullptr) mbuf = rte_pktmbuf_alloc(pools.large);
  if (mbuf == nullptr) return OpenStatus::no_buffer;
  assert(rte_pktmbuf_tailroom(mbuf) >= length);
  mbuf->data_len = static_cast<uint16_t>(length);
  mbuf->pkt_len = length;
  auto* to = rte_pktmbuf_mtod(mbuf, uint8_t*);

  uint8_t expected[kTagSize];
  uint8_t tag[kTagSize];
  pending_.copy_out(size - kTagSize, expected);
  const Nonce nonce(keys_->iv, sequence_);
  rte_mbuf* head = pending_.head();
  if (head->data_len >= kRecordHeader + length) {
    gcm_whole<Direction::open>(layer_->mgr(), *keys_, nonce, header, kRecordHeader,
                               rte_pktmbuf_mtod_offset(head, uint8_t*, kRecordHeader), to, length,
                               tag);
  } else {
    GcmPieces<Direction::open> gcm(layer_->mgr(), *keys_, nonce, header, kRecordHeader);
    for_each_piece(head, kRecordHeader, length, [&](const uint8_t* bytes, uint32_t n) {
      gcm.update(bytes, to, n);
      to += n;
    });
    gcm.finish(tag);
  }
  if (!same_tag(tag, expected)) {
    rte_pktmbuf_free(mbuf);
    return fail(Failure::bad_record_mac);
  }
  content.append(mbuf);
  ++layer_->counters().records_copied;
  pending_.drop_front(size);
  if (pending_.head() != own_head_) own_head_ = nullptr;
  return {};
}

// inner is a TLSInnerPlaintext: content, type, zeros (RFC 8446 section 5.2).
Opener::Step Opener::handle(packet::Chain& inner, packet::Chain& plaintext) {
  if (inner.size() > kMaxPlaintext + 1) return fail(Failure::record_overflow);
  uint8_t type_byte = 0;
  const int64_t type_at = find_type(inner, type_byte);
  if (type_at < 0) return fail(Failure::bad_record);
  inner.drop_back(inner.size() - static_cast<uint32_t>(type_at));
  const auto type = static_cast<ContentType>(type_byte);
  const bool in_message = header_read_ != 0;
  if (in_message && type != ContentType::handshake) return fail(Failure::unexpected_message);
  switch (type) {
    case ContentType::application_data:
      if (inner.empty()) return without_data();
      without_data_ = 0;
      layer_->counters().bytes_opened += inner.size();
      if (plaintext.empty()) {
        plaintext.append(std::move(inner));
      } else {
        packet::append_packed(plaintext, std::move(inner), layer_->pools().small);
      }
      return {};
    case ContentType::handshake:
      return on_handshake(inner);
    case ContentType::alert:
      return on_alert(inner);
    default:
      return fail(Failure::unexpected_message);
  }
}

Opener::Step Opener::on_alert(const packet::Chain& content) {
  if (content.empty()) return fail(Failure::unexpected_message);
  if (content.size() != 2) return fail(Failure::bad_alert);
  uint8_t alert[2];
  content.copy_out(0, alert);
  const auto description = static_cast<Alert>(alert[1]);
  // The level means nothing in TLS 1.3: all but these two are fatal (section 6).
  if (description == Alert::close_notify) {
    closed_ = true;
    return OpenStatus::closed;
  }
  if (description == Alert::user_canceled) return without_data();
  failure_ = {Failure::peer_alert, description};
  return OpenStatus::error;
}

Opener::Step Opener::on_handshake(const packet::Chain& content) {
  if (content.empty()) return fail(Failure::unexpected_message);
  uint32_t at = 0;
  while (at < content.size()) {
    if (header_read_ < sizeof message_header_) {
      content.copy_out(at++, {message_header_ + header_read_, 1});
      if (++header_read_ < sizeof message_header_) continue;
      if (const Step step = on_message_header()) return step;
      continue;
    }
    const uint32_t size = std::min(body_left_, content.size() - at);
    content.copy_out(at, {&body_byte_, 1});
    at += size;
    body_left_ -= size;
    if (body_left_ != 0) continue;
    if (const Step step = on_message_end(at == content.size())) return step;
  }
  return {};
}

Opener::Step Opener::on_message_header() {
  body_left_ = packet::load_be<uint32_t>(message_header_) & 0xffffff;
  switch (message_header_[0]) {
    case kKeyUpdate:
      return body_left_ == 1 ? Step() : fail(Failure::malformed);
    case kNewSessionTicket:
      if (role_ == Role::server) return fail(Failure::unexpected_message);
      if (body_left_ == 0) return fail(Failure::malformed);
      return body_left_ <= layer_->limits().ticket_bytes ? Step() : fail(Failure::ticket_flood);
    default:
      return fail(Failure::unexpected_message);
  }
}

Opener::Step Opener::on_message_end(bool record_ends) {
  header_read_ = 0;
  if (message_header_[0] == kNewSessionTicket) {
    ++layer_->counters().tickets_ignored;
    return without_data();
  }
  // Bytes behind a KeyUpdate would belong to two keys (section 5.1).
  if (!record_ends) return fail(Failure::unexpected_message);
  if (body_byte_ > 1) return fail(Failure::bad_key_update);
  if (body_byte_ == 1) update_requested_ = true;
  advance_keys(layer_->mgr(), *keys_);
  sequence_ = 0;
  ++key_generation_;
  ++layer_->counters().key_updates_received;
  return without_data();
}

Opener::Step Opener::without_data() {
  if (++without_data_ > layer_->limits().records_without_data) return fail(Failure::empty_records);
  return {};
}

Opener::Step Opener::fail(Failure failure) {
  failure_ = {failure, alert_of(failure)};
  return OpenStatus::error;
}

}  // namespace isthmus::tls
