// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// What a handshake hands to the record layer.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>

namespace isthmus::tls {

// RFC 8446 appendix B.4; the numbers are the wire's.
enum class Cipher : uint16_t {
  aes_128_gcm_sha256 = 0x1301,
  aes_256_gcm_sha384 = 0x1302,
};
constexpr unsigned hash_size(Cipher cipher) {
  return cipher == Cipher::aes_256_gcm_sha384 ? 48 : 32;
}
constexpr unsigned key_size(Cipher cipher) {
  return cipher == Cipher::aes_256_gcm_sha384 ? 32 : 16;
}
inline constexpr unsigned kMaxHashSize = 48;
inline constexpr unsigned kIvSize = 12;
inline constexpr unsigned kTagSize = 16;

enum class Role : uint8_t { client, server };

// An application traffic secret (RFC 8446 section 7.1): hash_size(cipher) bytes. Wipes itself.
struct TrafficSecret {
  std::array<uint8_t, kMaxHashSize> bytes{};

  TrafficSecret() = default;
  TrafficSecret(const TrafficSecret&) = default;
  TrafficSecret& operator=(const TrafficSecret&) = default;
  ~TrafficSecret() { wipe(); }
  void wipe() { explicit_bzero(bytes.data(), bytes.size()); }
};

// Enough to start a Session on either side of the connection.
struct SessionSecrets {
  Role role = Role::client;
  Cipher cipher = Cipher::aes_256_gcm_sha384;
  // Largest plaintext that the peer takes in a record: less than 16384 only where it negotiated
  // max_fragment_length (RFC 6066 section 4).
  uint16_t max_plaintext = 16384;
  TrafficSecret client;
  TrafficSecret server;

  void wipe() {
    client.wipe();
    server.wipe();
  }
};

}  // namespace isthmus::tls
