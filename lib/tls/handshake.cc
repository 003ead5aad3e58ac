// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "tls/handshake.h"

#include <algorithm>
#include <openssl/err.h>
#include <utility>

#include "packet/endian.h"
#include "tls/context.h"
#include "tls/record.h"
#include "tls/revocation.h"

namespace isthmus::tls {
namespace {

Failure failure_of_x509(int error) {
  switch (error) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
      return Failure::expired;
    case X509_V_ERR_CERT_NOT_YET_VALID:
      return Failure::not_yet_valid;
    case X509_V_ERR_CERT_REVOKED:
      return Failure::revoked;
    case X509_V_ERR_INVALID_PURPOSE:
      return Failure::wrong_usage;
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
    case X509_V_ERR_CERT_CHAIN_TOO_LONG:
    case X509_V_ERR_INVALID_CA:
    // A chain that ends in a root of our root's name, signed by another key.
    case X509_V_ERR_CERT_SIGNATURE_FAILURE:
      return Failure::unknown_ca;
    case X509_V_ERR_OUT_OF_MEM:
    case X509_V_ERR_UNSPECIFIED:
      return Failure::internal;
    default:
      return Failure::bad_certificate;
  }
}

// For failures that OpenSSL reports by nothing but the alert that it sends.
Failure failure_of_alert(Alert alert) {
  switch (alert) {
    case Alert::protocol_version:
      return Failure::protocol_version;
    case Alert::handshake_failure:
    case Alert::insufficient_security:
      return Failure::no_shared_parameters;
    case Alert::no_application_protocol:
      return Failure::no_alpn;
    case Alert::certificate_required:
      return Failure::no_certificate;
    case Alert::internal_error:
      return Failure::internal;
    default:
      return Failure::malformed;
  }
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

bool read_hex(std::string_view hex, TrafficSecret& secret) {
  if (hex.size() % 2 != 0 || hex.size() / 2 > secret.bytes.size()) return false;
  for (size_t i = 0; i < hex.size() / 2; ++i) {
    const int high = hex_digit(hex[2 * i]);
    const int low = hex_digit(hex[2 * i + 1]);
    if (high < 0 || low < 0) return false;
    secret.bytes[i] = static_cast<uint8_t>(high << 4 | low);
  }
  return true;
}

// The first record of a buffer: its size with header, 0 while it is incomplete.
struct Framed {
  size_t size = 0;
  Failure failure = Failure::none;
};

Framed frame(std::span<const uint8_t> bytes, bool first) {
  const Failure bad = first ? Failure::not_tls : Failure::malformed;
  if (bytes.empty()) return {};
  const auto type = static_cast<ContentType>(bytes[0]);
  if (type < ContentType::change_cipher_spec || type > ContentType::application_data ||
      (first && type != ContentType::handshake && type != ContentType::alert)) {
    return {0, bad};
  }
  if (bytes.size() > 1 && bytes[1] != 3) return {0, bad};
  if (bytes.size() < kRecordHeader) return {};
  const unsigned length = packet::load_be<uint16_t>(bytes.data() + 3);
  if (length > kMaxCiphertext) return {0, Failure::record_overflow};
  return {bytes.size() < kRecordHeader + length ? 0 : kRecordHeader + length, Failure::none};
}

}  // namespace

class Handshake::Engine final : public HandshakeEvents {
 public:
  Engine(Role role, std::shared_ptr<const CredentialStore> store,
         std::shared_ptr<const Credential> credential, HandshakePolicy policy,
         IdentityTable& identities)
      : role_(role),
        store_(std::move(store)),
        credential_(std::move(credential)),
        policy_(std::move(policy)),
        identities_(identities) {}

  bool start(WallTime now);
  // Gives OpenSSL one record (or nothing) and runs it: 1 finished, 0 wants more, -1 failed.
  int run(std::span<const uint8_t> record);
  void drain(std::vector<uint8_t>& out);
  // none, or why we cannot carry on from what OpenSSL finished with.
  Failure harvest(Established& to);
  Failure failure() const;
  Alert alert() const { return alert_; }
  bool alert_sent() const { return alert_sent_; }
  bool encrypts() const { return SSL_get_current_cipher(ssl_.get()) != nullptr; }

  Failure judge_peer(const STACK_OF(X509) * chain) override;
  void on_chain_error(int x509_error) override { certificate_ = failure_of_x509(x509_error); }
  void on_secret(bool client, std::string_view hex) override {
    (client ? client_good_ : server_good_) =
        read_hex(hex, client ? client_secret_ : server_secret_);
  }
  void on_alert(bool sent, Alert alert) override {
    (sent ? alert_sent_ : alert_received_) = true;
    alert_ = alert;
  }

 private:
  Role role_;
  std::shared_ptr<const CredentialStore> store_;
  std::shared_ptr<const Credential> credential_;
  HandshakePolicy policy_;
  IdentityTable& identities_;
  SslPtr ssl_;
  BIO* in_ = nullptr;   // owned by ssl_
  BIO* out_ = nullptr;  // owned by ssl_
  TrafficSecret client_secret_;
  TrafficSecret server_secret_;
  IdentityPtr peer_ = nullptr;
  ChainTags peer_chain_;
  WallTime peer_not_after_{};
  Failure certificate_ = Failure::none;
  Alert alert_ = Alert::close_notify;
  bool alert_sent_ = false;
  bool alert_received_ = false;
  bool client_good_ = false;
  bool server_good_ = false;
};

bool Handshake::Engine::start(WallTime now) {
  ssl_.reset(SSL_new(store_->context(role_)));
  BioPtr in(BIO_new(BIO_s_mem()));
  BioPtr out(BIO_new(BIO_s_mem()));
  if (ssl_ == nullptr || in == nullptr || out == nullptr || !attach(ssl_.get(), this) ||
      !credential_->apply(ssl_.get())) {
    ERR_clear_error();
    return false;
  }
  X509_VERIFY_PARAM_set_time(SSL_get0_param(ssl_.get()), now.time_since_epoch().count());
  BIO_set_mem_eof_return(in.get(), -1);
  in_ = in.release();
  out_ = out.release();
  SSL_set_bio(ssl_.get(), in_, out_);
  if (role_ == Role::client) {
    SSL_set_connect_state(ssl_.get());
  } else {
    SSL_set_accept_state(ssl_.get());
  }
  return true;
}

int Handshake::Engine::run(std::span<const uint8_t> record) {
  ERR_clear_error();
  if (!record.empty() && BIO_write(in_, record.data(), static_cast<int>(record.size())) !=
                             static_cast<int>(record.size())) {
    return -1;
  }
  const int result = SSL_do_handshake(ssl_.get());
  if (result == 1) return 1;
  return SSL_get_error(ssl_.get(), result) == SSL_ERROR_WANT_READ ? 0 : -1;
}

void Handshake::Engine::drain(std::vector<uint8_t>& out) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(out_, &data);
  if (size > 0) out.insert(out.end(), data, data + size);
  (void)BIO_reset(out_);
}

Failure Handshake::Engine::judge_peer(const STACK_OF(X509) * chain) {
  certificate_ = Failure::none;
  X509* leaf = sk_X509_value(chain, 0);
  SpiffeId id = spiffe_id(leaf);
  if (!id.identity) return certificate_ = id.failure;
  const auto tags = tags_of(chain);
  if (!tags) return certificate_ = Failure::internal;
  peer_chain_ = *tags;
  const Failure objection = store_->trust()->objection(role_, peer_chain_, &*id.identity);
  if (objection != Failure::none) return certificate_ = objection;
  const auto same = [&id](IdentityPtr expected) { return *expected == *id.identity; };
  if (role_ == Role::client &&
      std::none_of(policy_.expected.begin(), policy_.expected.end(), same)) {
    return certificate_ = Failure::wrong_identity;
  }
  const auto not_after = wall_time(X509_get0_notAfter(leaf));
  if (!not_after) return certificate_ = Failure::bad_certificate;
  peer_not_after_ = *not_after;
  peer_ = identities_.intern(*id.identity);
  return certificate_ = peer_ == nullptr ? Failure::identities_full : Failure::none;
}

Failure Handshake::Engine::harvest(Established& to) {
  // OpenSSL was fed record by record up to its last one: nothing can be left inside.
  const bool anonymous = role_ == Role::server && store_->clients() == ClientCertificates::none;
  if ((peer_ == nullptr && !anonymous) || !client_good_ || !server_good_ || BIO_pending(in_) != 0 ||
      SSL_has_pending(ssl_.get()) != 0) {
    return Failure::internal;
  }
  const unsigned char* protocol = nullptr;
  unsigned protocol_size = 0;
  SSL_get0_alpn_selected(ssl_.get(), &protocol, &protocol_size);
  to.alpn_h2 = protocol_size == 2 && protocol[0] == 'h' && protocol[1] == '2';
  if (protocol_size != 0 && !to.alpn_h2) return Failure::no_alpn;
  const auto cipher =
      static_cast<Cipher>(SSL_CIPHER_get_protocol_id(SSL_get_current_cipher(ssl_.get())));
  const uint8_t fragment = SSL_SESSION_get_max_fragment_length(SSL_get_session(ssl_.get()));
  to.secrets.role = role_;
  to.secrets.cipher = cipher;
  // RFC 6066 section 4: 1 to 4 stand for 2^9 to 2^12.
  to.secrets.max_plaintext =
      static_cast<uint16_t>(fragment == 0 ? kMaxPlaintext : 256u << fragment);
  to.secrets.client = client_secret_;
  to.secrets.server = server_secret_;
  to.peer = peer_;
  to.peer_chain = peer_chain_;
  to.peer_not_after = anonymous ? WallTime::max() : peer_not_after_;
  to.own_not_after = credential_->not_after();
  return Failure::none;
}

Failure Handshake::Engine::failure() const {
  if (alert_received_) return Failure::peer_alert;
  if (certificate_ != Failure::none) return certificate_;
  return alert_sent_ ? failure_of_alert(alert_) : Failure::malformed;
}

Handshake::Handshake(Role role, std::shared_ptr<const CredentialStore> store,
                     std::shared_ptr<const Credential> credential, HandshakePolicy policy,
                     IdentityTable& identities, WallTime now) {
  if (store == nullptr || credential == nullptr) {
    failure_.failure = Failure::no_credential;
    return;
  }
  engine_ = std::make_unique<Engine>(role, std::move(store), std::move(credential),
                                     std::move(policy), identities);
  if (!engine_->start(now)) {
    engine_.reset();
    failure_.failure = Failure::internal;
  }
}

Handshake::~Handshake() = default;

HandshakeState Handshake::step(std::span<const uint8_t> in, std::vector<uint8_t>& out) {
  if (state_ != HandshakeState::in_progress) return state_;
  if (engine_ == nullptr) return fail(failure_.failure, out);
  buffer_.insert(buffer_.end(), in.begin(), in.end());
  if (received_ == 0 && in.empty() && engine_->run({}) < 0) return fail(engine_->failure(), out);
  size_t fed = 0;
  int result = 0;
  while (result == 0) {
    const auto rest = std::span<const uint8_t>(buffer_).subspan(fed);
    const Framed framed = frame(rest, received_ == 0);
    if (framed.failure != Failure::none) {
      // Where keys are in use, only OpenSSL can seal the alert: a header is enough for that.
      if (engine_->encrypts())
        engine_->run(rest.first(std::min<size_t>(rest.size(), kRecordHeader)));
      return fail(framed.failure, out);
    }
    if (framed.size == 0) break;
    fed += framed.size;
    received_ += framed.size;
    if (received_ > kMaxHandshakeBytes) return fail(Failure::too_large, out);
    result = engine_->run(rest.first(framed.size));
  }
  buffer_.erase(buffer_.begin(), buffer_.begin() + static_cast<ptrdiff_t>(fed));
  if (result < 0) return fail(engine_->failure(), out);
  engine_->drain(out);
  return result == 1 ? finish(out) : state_;
}

HandshakeState Handshake::finish(std::vector<uint8_t>& out) {
  const Failure failure = engine_->harvest(established_);
  if (failure != Failure::none) return fail(failure, out);
  established_.leftover = std::move(buffer_);
  return end(HandshakeState::established);
}

HandshakeState Handshake::fail(Failure failure, std::vector<uint8_t>& out) {
  failure_ = {failure, alert_of(failure)};
  bool sent = failure == Failure::peer_alert;
  bool encrypts = false;
  if (engine_ != nullptr) {
    engine_->drain(out);
    encrypts = engine_->encrypts();
    sent = sent || engine_->alert_sent();
    if (sent) failure_.alert = engine_->alert();
  }
  // OpenSSL did not see what failed: say it in the clear, unless keys are in use already.
  if (!sent && !encrypts) {
    const uint8_t alert[] = {static_cast<uint8_t>(ContentType::alert), 3, 3, 0, 2, 2,
                             static_cast<uint8_t>(failure_.alert)};
    out.insert(out.end(), std::begin(alert), std::end(alert));
  }
  return end(HandshakeState::failed);
}

HandshakeState Handshake::end(HandshakeState state) {
  engine_.reset();
  buffer_ = {};
  ERR_clear_error();
  return state_ = state;
}

Established Handshake::take_established() {
  Established taken = std::move(established_);
  established_.secrets.wipe();
  return taken;
}

}  // namespace isthmus::tls
