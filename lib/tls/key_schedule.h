// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// The part of TLS 1.3's key schedule that a worker runs (RFC 8446 sections 7.1 to 7.3), on
// IPsec-MB's one-shot hashes: no allocation, so that a KeyUpdate can be handled in the data path.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "tls/key_memory.h"
#include "tls/secrets.h"

struct IMB_MGR;

namespace isthmus::tls {

// HKDF-Expand-Label(secret, label, "", out.size()) with the cipher's hash. secret holds
// hash_size(cipher) bytes, label at most 12 ("tls13 " not counted), out at most
// hash_size(cipher).
void expand_label(IMB_MGR* mgr, Cipher cipher, const uint8_t* secret, std::string_view label,
                  std::span<uint8_t> out);

// Fills keys from a traffic secret: expanded key, iv.
void derive_keys(IMB_MGR* mgr, Cipher cipher, const TrafficSecret& secret, DirectionKeys& keys);
// Moves keys to application_traffic_secret_N+1.
void advance_keys(IMB_MGR* mgr, DirectionKeys& keys);

}  // namespace isthmus::tls
