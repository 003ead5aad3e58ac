// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "raw_peer.h"

#include <gtest/gtest.h>

#include "h2/frame.h"

namespace isthmus::hbone::test {
namespace {

packet::Chain chain_of(std::span<const uint8_t> bytes) {
  packet::Chain chain;
  EXPECT_TRUE(chain.append_copy(bytes, isthmus::test::pools().large));
  return chain;
}

Bytes flatten(const packet::Chain& chain) {
  Bytes bytes(chain.size());
  chain.copy_out(0, bytes);
  return bytes;
}

}  // namespace

Bytes frame(uint8_t type, uint8_t flags, uint32_t stream, const Bytes& payload) {
  Bytes bytes(h2::kFrameHeaderSize);
  const h2::FrameHeader header = {static_cast<uint32_t>(payload.size()), type, flags, stream};
  header.write(std::span<uint8_t, h2::kFrameHeaderSize>(bytes.data(), h2::kFrameHeaderSize));
  return std::move(bytes) + payload;
}

Bytes operator+(Bytes left, const Bytes& right) {
  left.insert(left.end(), right.begin(), right.end());
  return left;
}

RawPeer::RawPeer(Node& node, tls::Role role) : node_(node), role_(role) {
  const auto store = node.credentials.current();
  const tls::IdentityPtr other = role == tls::Role::client ? identity("httpbin") : nullptr;
  std::vector<tls::IdentityPtr> expected;
  if (other != nullptr) expected.push_back(other);
  handshake_ = std::make_unique<tls::Handshake>(role, store, store->find(*node.own),
                                                tls::HandshakePolicy{expected}, identities(), kNow);
}

RawPeer::~RawPeer() {
  if (connection_ != nullptr) connection_->abort();
}

void RawPeer::connect(timer::Instant now) {
  connection_ = node_.tcp.connect({kClient, node_.next_port++}, kServer, this, {}, now);
  ASSERT_NE(connection_, nullptr);
}

void RawPeer::step(std::span<const uint8_t> bytes) {
  Bytes out;
  const tls::HandshakeState state = handshake_->step(bytes, out);
  if (!out.empty()) connection_->send(chain_of(out));
  if (state != tls::HandshakeState::established) return;
  const tls::Established established = handshake_->take_established();
  ASSERT_TRUE(session_.start(node_.records, established.secrets));
  packet::Chain plaintext;
  session_.open(chain_of(established.leftover), plaintext);
  heard = std::move(heard) + flatten(plaintext);
}

void RawPeer::on_tcp(tcp::Connection& connection, uint16_t events) {
  if ((events & tcp::kConnected) != 0 && role_ == tls::Role::client && !plain) step({});
  packet::Chain received = connection.receive();
  if (plain) {
    heard = std::move(heard) + flatten(received);
  } else if (!secure()) {
    if (!received.empty() && !stalls) step(flatten(received));
  } else {
    packet::Chain plaintext;
    session_.open(std::move(received), plaintext);
    heard = std::move(heard) + flatten(plaintext);
  }
  if ((events & tcp::kPeerClosed) != 0) {
    finished = true;
    connection.shutdown();
  }
  failed = failed || (events & tcp::kFailed) != 0;
  if ((events & (tcp::kFailed | tcp::kClosed)) != 0) connection_ = nullptr;
}

void RawPeer::send(const Bytes& plaintext) {
  packet::Chain payload = chain_of(plaintext);
  packet::Chain sealed;
  while (!payload.empty()) {
    ASSERT_EQ(session_.seal({}, payload, std::min(payload.size(), 16'384u), sealed),
              tls::SealStatus::ok);
  }
  connection_->send(std::move(sealed));
}

void RawPeer::send_raw(std::string_view bytes) {
  connection_->send(chain_of({reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()}));
}

}  // namespace isthmus::hbone::test
