// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// Why a handshake or a connection failed, the alert that says so to the peer, and the reason that
// says so to the operator.
#pragma once

#include <cstdint>

#include "stats/reason.h"

namespace isthmus::tls {

// RFC 8446 section 6.
enum class Alert : uint8_t {
  close_notify = 0,
  unexpected_message = 10,
  bad_record_mac = 20,
  record_overflow = 22,
  handshake_failure = 40,
  bad_certificate = 42,
  unsupported_certificate = 43,
  certificate_revoked = 44,
  certificate_expired = 45,
  certificate_unknown = 46,
  illegal_parameter = 47,
  unknown_ca = 48,
  access_denied = 49,
  decode_error = 50,
  decrypt_error = 51,
  protocol_version = 70,
  insufficient_security = 71,
  internal_error = 80,
  inappropriate_fallback = 86,
  user_canceled = 90,
  missing_extension = 109,
  unsupported_extension = 110,
  unrecognized_name = 112,
  certificate_required = 116,
  no_application_protocol = 120,
};

enum class Failure : uint8_t {
  none,
  // Handshake.
  not_tls,               // the first bytes are no TLS record: HTTP/1, garbage
  protocol_version,      // the peer does not speak TLS 1.3
  no_shared_parameters,  // no common cipher suite or group
  no_alpn,               // the peer offers ALPN without h2, or selects another protocol
  malformed,             // any other message that the handshake rejects
  too_large,             // more handshake bytes than a handshake can need
  peer_alert,            // the peer refused us; its alert is in FailureInfo
  no_credential,         // none for the local identity
  identities_full,       // the peer is fine, but IdentityTable has no room for it
  internal,              // no memory, or a fault of the library
  // Certificates.
  no_certificate,
  unknown_ca,
  expired,
  not_yet_valid,
  revoked,
  wrong_usage,      // extended key usage lacks the peer's role
  bad_certificate,  // bad signature, unreadable, or forbidden otherwise
  no_spiffe_id,     // no SPIFFE URI in the subject alternative names, or a malformed one
  several_spiffe_ids,
  wrong_trust_domain,
  wrong_identity,  // not among the expected identities
  // Records, after the handshake.
  bad_record_mac,
  record_overflow,
  bad_record,          // outer type is not application_data, or a record without content type
  bad_alert,           // an alert of the wrong length
  bad_key_update,      // value other than 0 or 1, or not at the end of its record
  unexpected_message,  // a post-handshake message or content type that is not allowed
  empty_records,       // too many records in a row without data
  ticket_flood,        // too many or too large session tickets
  key_exhausted,       // the AES-GCM limit was reached without a key update
};

// Alert to send for a failure; close_notify where none is to be sent (the peer's own alert).
Alert alert_of(Failure failure);
stats::Reason reason_of(Failure failure);
const char* name_of(Failure failure);  // "wrong_trust_domain"
const char* name_of(Alert alert);      // "unknown_ca"; "unknown" for a number without a name

struct FailureInfo {
  Failure failure = Failure::none;
  Alert alert = Alert::close_notify;  // sent by us or, for peer_alert, received
};

}  // namespace isthmus::tls
