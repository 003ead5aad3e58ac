// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// Saved connections: any bytes are refused or become a connection whose numbers agree, that lives
// on for a while, can be saved again, and leaves no mbuf behind. The first twelve bytes (magic,
// version, length) are set right, or nothing would get past them.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <vector>

#include "eal.h"
#include "support/pools.h"
#include "tcp/engine.h"
#include "tcp/state.h"

namespace {

using namespace isthmus;

struct Drain final : tcp::Output, tcp::Handler {
  void transmit(rte_mbuf* packet, uint32_t) override { rte_pktmbuf_free(packet); }
  void on_tcp(tcp::Connection& connection, uint16_t events) override {
    connection.receive();
    if ((events & (tcp::kClosed | tcp::kFailed)) != 0) over = true;
  }
  bool over = false;
};

void live(const std::vector<uint8_t>& bytes) {
  tcp::Config config;
  config.max_connections = 2;
  config.max_time_wait = 2;
  config.max_sent_records = 8192;
  config.max_gaps = 4096;
  timer::Instant now{std::chrono::hours(1)};
  stats::ReasonCounters drops;
  Drain drain;
  tcp::Engine engine(config, test::pools(), drain, drops, {}, now);
  tcp::Connection* connection = engine.import_connection(bytes, &drain, now);
  for (int i = 0; connection != nullptr && i < 20; ++i) {
    if (!connection->consistent()) abort();
    engine.flush(now);
    if (drain.over) return;
    if (engine.export_connection(*connection, {}, now) == 0 &&
        connection->failure() == tcp::Failure::none &&
        connection->state() != tcp::State::time_wait && connection->state() != tcp::State::closed) {
      abort();
    }
    now += std::chrono::milliseconds(100);
    engine.advance(now);
  }
  if (connection != nullptr && !drain.over) engine.release(*connection);
  engine.flush(now);
}

}  // namespace

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  fuzz::start_eal();
  test::pools();
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 12 || size > 65'536) return 0;
  std::vector<uint8_t> bytes(data, data + size);
  tcp::StateWriter header({bytes.data(), 12});
  header.field(tcp::kStateMagic);
  header.field(tcp::kStateVersion);
  header.field(uint16_t{0});
  header.field(static_cast<uint32_t>(size));
  const unsigned before = test::mbufs_in_use();
  live(bytes);
  if (test::mbufs_in_use() != before) abort();
  return 0;
}
