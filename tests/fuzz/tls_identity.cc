// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// Identities out of certificates: the input is the value of a subjectAltName extension, and a URI.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string_view>

#include "tls/certificate.h"

using isthmus::tls::Failure;
using isthmus::tls::Identity;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* input, size_t size) {
  // An exact copy on the heap, so that reading past its end is seen.
  const std::unique_ptr<uint8_t[]> copy(new uint8_t[size]);
  std::copy_n(input, size, copy.get());

  const auto names = isthmus::tls::spiffe_id_of_names({copy.get(), size});
  if (names.identity.has_value() != (names.failure == Failure::none)) abort();

  const std::string_view text(reinterpret_cast<const char*>(copy.get()), size);
  if (const auto identity = Identity::parse(text)) {
    if (identity->to_string() != text) abort();
    const auto again = Identity::make(identity->trust_domain(), identity->namespace_(),
                                      identity->service_account());
    if (!again || *again != *identity) abort();
  }
  return 0;
}
