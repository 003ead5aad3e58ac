// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "tls/failure.h"

namespace isthmus::tls {
namespace {

using stats::Reason;

struct Entry {
  const char* name;
  Alert alert;
  Reason reason;
};

// RFC 8446 section 6.2 names the alert of each; wrong_trust_domain and wrong_identity use what
// Envoy and BoringSSL send for a certificate that its verifier rejects.
constexpr Entry entry(Failure failure) {
  switch (failure) {
    case Failure::none:
      return {"none", Alert::close_notify, Reason::tls_internal};
    case Failure::not_tls:
      return {"not_tls", Alert::unexpected_message, Reason::tls_not_tls};
    case Failure::protocol_version:
      return {"protocol_version", Alert::protocol_version, Reason::tls_protocol_version};
    case Failure::no_shared_parameters:
      return {"no_shared_parameters", Alert::handshake_failure, Reason::tls_no_shared_parameters};
    case Failure::no_alpn:
      return {"no_alpn", Alert::no_application_protocol, Reason::tls_no_alpn};
    case Failure::malformed:
      return {"malformed", Alert::decode_error, Reason::tls_malformed_handshake};
    case Failure::too_large:
      return {"too_large", Alert::decode_error, Reason::tls_handshake_too_large};
    case Failure::peer_alert:
      return {"peer_alert", Alert::close_notify, Reason::tls_peer_alert};
    case Failure::no_credential:
      return {"no_credential", Alert::internal_error, Reason::tls_no_credential};
    case Failure::identities_full:
      return {"identities_full", Alert::internal_error, Reason::tls_identities_full};
    case Failure::internal:
      return {"internal", Alert::internal_error, Reason::tls_internal};
    case Failure::no_certificate:
      return {"no_certificate", Alert::certificate_required, Reason::tls_no_certificate};
    case Failure::unknown_ca:
      return {"unknown_ca", Alert::unknown_ca, Reason::tls_unknown_ca};
    case Failure::expired:
      return {"expired", Alert::certificate_expired, Reason::tls_expired};
    case Failure::not_yet_valid:
      return {"not_yet_valid", Alert::bad_certificate, Reason::tls_not_yet_valid};
    case Failure::revoked:
      return {"revoked", Alert::certificate_revoked, Reason::tls_revoked};
    case Failure::wrong_usage:
      return {"wrong_usage", Alert::unsupported_certificate, Reason::tls_wrong_usage};
    case Failure::bad_certificate:
      return {"bad_certificate", Alert::bad_certificate, Reason::tls_bad_certificate};
    case Failure::no_spiffe_id:
      return {"no_spiffe_id", Alert::bad_certificate, Reason::tls_no_spiffe_id};
    case Failure::several_spiffe_ids:
      return {"several_spiffe_ids", Alert::bad_certificate, Reason::tls_several_spiffe_ids};
    case Failure::wrong_trust_domain:
      return {"wrong_trust_domain", Alert::certificate_unknown, Reason::tls_wrong_trust_domain};
    case Failure::wrong_identity:
      return {"wrong_identity", Alert::certificate_unknown, Reason::tls_wrong_identity};
    case Failure::bad_record_mac:
      return {"bad_record_mac", Alert::bad_record_mac, Reason::tls_bad_record_mac};
    case Failure::record_overflow:
      return {"record_overflow", Alert::record_overflow, Reason::tls_record_overflow};
    case Failure::bad_record:
      return {"bad_record", Alert::unexpected_message, Reason::tls_bad_record};
    case Failure::bad_alert:
      return {"bad_alert", Alert::decode_error, Reason::tls_bad_alert};
    case Failure::bad_key_update:
      return {"bad_key_update", Alert::illegal_parameter, Reason::tls_bad_key_update};
    case Failure::unexpected_message:
      return {"unexpected_message", Alert::unexpected_message, Reason::tls_unexpected_message};
    case Failure::empty_records:
      return {"empty_records", Alert::unexpected_message, Reason::tls_empty_records};
    case Failure::ticket_flood:
      return {"ticket_flood", Alert::unexpected_message, Reason::tls_ticket_flood};
    case Failure::key_exhausted:
      return {"key_exhausted", Alert::internal_error, Reason::tls_key_exhausted};
  }
  return {"none", Alert::close_notify, Reason::tls_internal};
}

}  // namespace

Alert alert_of(Failure failure) {
  return entry(failure).alert;
}
stats::Reason reason_of(Failure failure) {
  return entry(failure).reason;
}
const char* name_of(Failure failure) {
  return entry(failure).name;
}

const char* name_of(Alert alert) {
  switch (alert) {
#define ISTHMUS_ALERT(name) \
  case Alert::name:         \
    return #name;
    ISTHMUS_ALERT(close_notify)
    ISTHMUS_ALERT(unexpected_message)
    ISTHMUS_ALERT(bad_record_mac)
    ISTHMUS_ALERT(record_overflow)
    ISTHMUS_ALERT(handshake_failure)
    ISTHMUS_ALERT(bad_certificate)
    ISTHMUS_ALERT(unsupported_certificate)
    ISTHMUS_ALERT(certificate_revoked)
    ISTHMUS_ALERT(certificate_expired)
    ISTHMUS_ALERT(certificate_unknown)
    ISTHMUS_ALERT(illegal_parameter)
    ISTHMUS_ALERT(unknown_ca)
    ISTHMUS_ALERT(access_denied)
    ISTHMUS_ALERT(decode_error)
    ISTHMUS_ALERT(decrypt_error)
    ISTHMUS_ALERT(protocol_version)
    ISTHMUS_ALERT(insufficient_security)
    ISTHMUS_ALERT(internal_error)
    ISTHMUS_ALERT(inappropriate_fallback)
    ISTHMUS_ALERT(user_canceled)
    ISTHMUS_ALERT(missing_extension)
    ISTHMUS_ALERT(unsupported_extension)
    ISTHMUS_ALERT(unrecognized_name)
    ISTHMUS_ALERT(certificate_required)
    ISTHMUS_ALERT(no_application_protocol)
#undef ISTHMUS_ALERT
  }
  return "unknown";
}

}  // namespace isthmus::tls
