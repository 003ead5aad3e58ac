// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// Certificates that their authorities took back (CRLs, RFC 5280 section 5), as tags (trust.h).
//
// A list denies whom it names and nobody else: one that is past its next update, or that does not
// come at all, keeps nobody out, and a mesh whose lists are late goes on. For the same reason a
// list whose signature nobody here can check (its authority is an intermediate of another cluster,
// say, or a root that was taken out) denies whom it names all the same: it lies beside the roots,
// and whoever may write there could do worse.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tls/openssl_ptr.h"
#include "tls/trust.h"

namespace isthmus::tls {

// One or more lists in PEM form, at most 64. A list in the name of one of the roots or
// intermediates must bear its signature if it names that one's key as its signer's; in a root's
// name also if it names none. Empty, with the reason, at the first that cannot be taken.
std::optional<Revocations> read_revocations(std::string_view pem, const std::vector<X509Ptr>& roots,
                                            const std::vector<X509*>& intermediates,
                                            std::string& reason);

// Of a verified chain, the root at its end. Empty when it has more than kMaxChain certificates or
// OpenSSL fails.
std::optional<ChainTags> tags_of(const STACK_OF(X509) * chain);
// The key of a root; empty when OpenSSL fails.
std::optional<Tag> root_tag(const X509* root);

}  // namespace isthmus::tls
