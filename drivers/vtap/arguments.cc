// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include <charconv>
#include <cstring>
#include <memory>
#include <string_view>

#include <rte_ether.h>
#include <rte_kvargs.h>

#include "drivers/vtap/device.h"

namespace isthmus::drivers::vtap {
namespace {

const char* const kKeys[] = {"iface", "netns",   "queues",   "pods",   "mac",
                             "mtu",   "offload", "peer_mac", "sndbuf", nullptr};

struct Reader {
  rte_kvargs* arguments;
  std::string& error;
  bool ok = true;

  // Null when the argument isn't given.
  const char* text(const char* key) {
    if (rte_kvargs_count(arguments, key) > 1) fail(key, "is given twice");
    return rte_kvargs_get(arguments, key);
  }
  bool has(const char* key) { return rte_kvargs_count(arguments, key) > 0; }

  template <typename T>
  void number(const char* key, T low, T high, T& out) {
    const char* value = text(key);
    if (value == nullptr) return;
    const char* end = value + strlen(value);
    T parsed = 0;
    const auto result = std::from_chars(value, end, parsed);
    if (result.ec != std::errc() || result.ptr != end || parsed < low || parsed > high) {
      fail(key, "must be " + std::to_string(low) + " to " + std::to_string(high));
      return;
    }
    out = parsed;
  }

  bool mac(const char* key, rte_ether_addr& out) {
    const char* value = text(key);
    if (value == nullptr) return false;
    if (rte_ether_unformat_addr(value, &out) == 0 && rte_is_valid_assigned_ether_addr(&out) != 0) {
      return true;
    }
    fail(key, "must be a unicast Ethernet address");
    return false;
  }

  void fail(const char* key, const std::string& why) {
    if (ok) error = std::string(key) + " " + why;
    ok = false;
  }
};

void read_interface(Reader& reader, DeviceConfig& out) {
  if (const char* name = reader.text("iface"); name != nullptr) out.tap.ifname = name;
  if (const char* netns = reader.text("netns"); netns != nullptr) out.tap.netns = netns;
  reader.number<uint16_t>("queues", 1, 256, out.queues);
  uint16_t offload = 1;
  reader.number<uint16_t>("offload", 0, 1, offload);
  out.tap.offload = offload != 0;
  reader.number<int>("sndbuf", 1, INT32_MAX, out.tap.sndbuf);
  out.tap.set_peer_mac = reader.mac("peer_mac", out.tap.peer_mac);
  out.tap.multi_queue = out.queues > 1;
}

}  // namespace

bool parse_arguments(const char* arguments, DeviceConfig& out, std::string& error) {
  const std::unique_ptr<rte_kvargs, decltype(&rte_kvargs_free)> parsed(
      rte_kvargs_parse(arguments, kKeys), rte_kvargs_free);
  if (parsed == nullptr) {
    error = std::string("unknown argument in '") + arguments + "'";
    return false;
  }
  Reader reader{parsed.get(), error};
  reader.number<uint16_t>("mtu", kMinMtu, kMaxMtu, out.tap.mtu);
  if (!reader.mac("mac", out.mac)) rte_eth_random_addr(out.mac.addr_bytes);
  if (reader.has("pods")) {
    reader.number<uint16_t>("pods", 1, kMaxQueues, out.queues);
    for (const char* key : {"iface", "netns", "queues", "peer_mac", "offload", "sndbuf"}) {
      if (reader.has(key)) reader.fail(key, "doesn't go with pods: attach() has it per queue");
    }
  } else {
    read_interface(reader, out);
    if (out.tap.ifname.empty()) reader.fail("iface", "or pods must be given");
  }
  return reader.ok;
}

}  // namespace isthmus::drivers::vtap
