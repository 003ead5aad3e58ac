// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include <fmt/format.h>

#include "drivers/port.h"

namespace isthmus::drivers {
namespace {

uint64_t rate(uint64_t now, uint64_t then, uint64_t elapsed_ns) {
  if (elapsed_ns == 0 || now < then) return 0;
  return static_cast<uint64_t>(static_cast<double>(now - then) * 1e9 /
                               static_cast<double>(elapsed_ns));
}

}  // namespace

// The spelling is testpmd's, column for column: there are scripts that read it.
std::string Port::show_stats(uint64_t now_ns) {
  const PortStats now = stats();
  const uint64_t elapsed = shown_ns_ == 0 ? 0 : now_ns - shown_ns_;
  std::string out = fmt::format(
      "\n  ######################## NIC statistics for port {:<2} ########################\n"
      "  RX-packets: {:<10} RX-missed: {:<10} RX-bytes:  {:<}\n"
      "  RX-errors: {:<}\n"
      "  RX-nombuf:  {:<10}\n"
      "  TX-packets: {:<10} TX-errors: {:<10} TX-bytes:  {:<}\n\n",
      info_.id, now.rx_packets, now.rx_missed, now.rx_bytes, now.rx_errors, now.rx_nombuf,
      now.tx_packets, now.tx_errors, now.tx_bytes);
  out += fmt::format(
      "  Throughput (since last show)\n"
      "  Rx-pps: {:>12}          Rx-bps: {:>12}\n"
      "  Tx-pps: {:>12}          Tx-bps: {:>12}\n"
      "  ############################################################################\n",
      rate(now.rx_packets, shown_.rx_packets, elapsed),
      rate(now.rx_bytes, shown_.rx_bytes, elapsed) * 8,
      rate(now.tx_packets, shown_.tx_packets, elapsed),
      rate(now.tx_bytes, shown_.tx_bytes, elapsed) * 8);
  shown_ = now;
  shown_ns_ = now_ns;
  return out;
}

}  // namespace isthmus::drivers
