// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "tls/session.h"

#include <utility>

#include "tls/key_schedule.h"

namespace isthmus::tls {

Session::Session(Session&& other) noexcept {
  *this = std::move(other);
}

Session& Session::operator=(Session&& other) noexcept {
  if (this == &other) return *this;
  stop();
  layer_ = std::exchange(other.layer_, nullptr);
  send_keys_ = std::exchange(other.send_keys_, nullptr);
  receive_keys_ = std::exchange(other.receive_keys_, nullptr);
  sealer_ = std::exchange(other.sealer_, Sealer());
  opener_ = std::exchange(other.opener_, Opener());
  asked_generation_ = other.asked_generation_;
  update_asked_ = other.update_asked_;
  send_closed_ = other.send_closed_;
  return *this;
}

bool Session::start(RecordLayer& layer, const SessionSecrets& secrets) {
  stop();
  KeyStore& keys = layer.keys();
  send_keys_ = keys.take();
  receive_keys_ = keys.take();
  if (send_keys_ == nullptr || receive_keys_ == nullptr) {
    if (send_keys_ != nullptr) keys.give_back(std::exchange(send_keys_, nullptr));
    return false;
  }
  layer_ = &layer;
  const bool client = secrets.role == Role::client;
  derive_keys(layer.mgr(), secrets.cipher, client ? secrets.client : secrets.server, *send_keys_);
  derive_keys(layer.mgr(), secrets.cipher, client ? secrets.server : secrets.client,
              *receive_keys_);
  sealer_ = Sealer(layer, *send_keys_, secrets.max_plaintext);
  opener_ = Opener(layer, *receive_keys_, secrets.role);
  asked_generation_ = 0;
  update_asked_ = false;
  send_closed_ = false;
  return true;
}

void Session::stop() {
  if (layer_ == nullptr) return;
  layer_->keys().give_back(std::exchange(send_keys_, nullptr));
  layer_->keys().give_back(std::exchange(receive_keys_, nullptr));
  sealer_ = Sealer();
  opener_ = Opener();
  layer_ = nullptr;
}

SealStatus Session::seal(std::span<const uint8_t> header, packet::Chain& payload, uint32_t length,
                         packet::Chain& out) {
  if (const SealStatus status = prepare(out); status != SealStatus::ok) return status;
  return sealer_.seal(ContentType::application_data, header, payload, length, out);
}

SealStatus Session::seal(std::span<const uint8_t> bytes, packet::Chain& out) {
  packet::Chain none;
  return seal(bytes, none, 0, out);
}

bool Session::wants_flush() const {
  return layer_ != nullptr && !send_closed_ &&
         (opener_.update_requested() || (opener_.update_due() && !waits_for_update()));
}

SealStatus Session::flush(packet::Chain& out) {
  return prepare(out);
}

// Sends the KeyUpdate that is due, if any: the peer asked, our key is old, or the peer's is and it
// has not been asked yet.
SealStatus Session::prepare(packet::Chain& out) {
  if (send_closed_) return SealStatus::closed;
  const bool ask = opener_.update_due() && !waits_for_update();
  if (!ask && !opener_.update_requested() && !sealer_.update_due()) return SealStatus::ok;
  return update_key(ask, out);
}

SealStatus Session::send_alert(Alert alert, packet::Chain& out) {
  if (send_closed_) return SealStatus::closed;
  const bool warning = alert == Alert::close_notify || alert == Alert::user_canceled;
  const uint8_t message[] = {static_cast<uint8_t>(warning ? 1 : 2), static_cast<uint8_t>(alert)};
  packet::Chain none;
  const SealStatus status = sealer_.seal(ContentType::alert, message, none, 0, out);
  send_closed_ = status == SealStatus::ok;
  return status;
}

SealStatus Session::update_key(bool request_peer, packet::Chain& out) {
  if (send_closed_) return SealStatus::closed;
  const SealStatus status = sealer_.update_key(request_peer, out);
  if (status != SealStatus::ok) return status;
  // One update answers every request that came before it (RFC 8446 section 4.6.3).
  opener_.update_answered();
  if (request_peer) {
    update_asked_ = true;
    asked_generation_ = opener_.key_generation();
  }
  return SealStatus::ok;
}

}  // namespace isthmus::tls
