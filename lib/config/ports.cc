// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// The keys of ports: devices, addresses, pods.
#include "config/fields.h"
#include "yaml/values.h"

namespace isthmus::config {

namespace {

using yaml::Failure;
using yaml::Field;
using yaml::Node;
using enum yaml::Presence;

constexpr size_t kMaxInterfaceName = 15;  // IFNAMSIZ less its terminator

std::string name_of(const Node& node) {
  const std::string& name = yaml::text(node);
  for (const char c : name) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       c == '-' || c == '_' || c == '.' || c == ':';
    if (!plain) throw Failure(node, fmt::format("\"{}\" is no name ([A-Za-z0-9._:-]+)", name));
  }
  return name;
}

std::string interface_name(const Node& node) {
  std::string name = name_of(node);
  if (name.size() > kMaxInterfaceName) {
    throw Failure(node,
                  fmt::format("\"{}\" is longer than {} characters", name, kMaxInterfaceName));
  }
  return name;
}

uint16_t descriptors(const Node& node) {
  const auto count = yaml::integer<uint16_t>(node, 64, 4096);
  if ((count & (count - 1)) != 0) throw Failure(node, "is no power of two");
  return count;
}

constexpr Field<Device> kDeviceFields[] = {
    {"driver", required,
     [](const Node& n, Device& d) {
       d.driver = yaml::one_of<Driver>(n, {{"vtap", Driver::vtap},
                                           {"virtio_user", Driver::virtio_user},
                                           {"ring", Driver::ring},
                                           {"null", Driver::null},
                                           {"devargs", Driver::devargs}});
     }},
    {"devargs", optional, [](const Node& n, Device& d) { d.devargs = yaml::text(n); }},
    {"iface", optional, [](const Node& n, Device& d) { d.iface = interface_name(n); }},
    {"netns", optional, [](const Node& n, Device& d) { d.netns = yaml::text(n); }},
    {"path", optional, [](const Node& n, Device& d) { d.path = yaml::text(n); }},
    {"server", optional, [](const Node& n, Device& d) { d.server = yaml::boolean(n); }},
    {"offload", optional, [](const Node& n, Device& d) { d.offload = yaml::boolean(n); }},
    {"peer_mac", optional, [](const Node& n, Device& d) { d.peer_mac = yaml::mac(n); }},
    {"queues", optional,
     [](const Node& n, Device& d) { d.queues = yaml::integer<uint16_t>(n, 1, 64); }},
    {"descriptors", optional, [](const Node& n, Device& d) { d.descriptors = descriptors(n); }},
};

// What a driver needs, and what it cannot use.
void check_device(const Node& node, const Device& device) {
  const bool vtap = device.driver == Driver::vtap;
  const bool virtio = device.driver == Driver::virtio_user;
  if ((device.driver == Driver::devargs) != !device.devargs.empty()) {
    throw Failure(node, "devargs goes with driver devargs, and only with it");
  }
  if (virtio == device.path.empty()) {
    throw Failure(node, "path goes with driver virtio_user, and only with it");
  }
  if (!vtap && (!device.iface.empty() || !device.netns.empty() || device.peer_mac)) {
    throw Failure(node, "iface, netns and peer_mac go with driver vtap only");
  }
  if (!virtio && device.server) throw Failure(node, "server goes with driver virtio_user only");
}

void read_device(const Node& node, Port& port) {
  yaml::read_map<Device>(node, kDeviceFields, port.device);
  check_device(node, port.device);
}

InterfaceAddress interface_address(const Node& node) {
  const std::string& spelling = yaml::text(node);
  const size_t slash = std::min(spelling.find('/'), spelling.size());
  const auto address = packet::IpAddress::parse(std::string_view(spelling).substr(0, slash));
  if (!address || slash == spelling.size()) {
    throw Failure(node, fmt::format("\"{}\" is no ADDRESS/LENGTH", spelling));
  }
  Node length = node;
  length.text = spelling.substr(slash + 1);
  const uint8_t bits = address->is_v4() ? 32 : 128;
  return {*address, yaml::integer<uint8_t>(length, 1, bits)};
}

constexpr Field<Pod> kPodFields[] = {
    {"name", optional, [](const Node& n, Pod& p) { p.name = name_of(n); }},
    {"address", required, [](const Node& n, Pod& p) { p.address = yaml::address(n); }},
    {"mac", optional, [](const Node& n, Pod& p) { p.mac = yaml::mac(n); }},
    {"iface", optional, [](const Node& n, Pod& p) { p.iface = interface_name(n); }},
    {"netns", optional, [](const Node& n, Pod& p) { p.netns = yaml::text(n); }},
};

Pod pod(const Node& node) {
  Pod out;
  yaml::read_map<Pod>(node, kPodFields, out);
  if (out.name.empty()) out.name = out.address.to_string();
  return out;
}

constexpr Field<Port> kPortFields[] = {
    {"name", required, [](const Node& n, Port& p) { p.name = name_of(n); }},
    {"role", required,
     [](const Node& n, Port& p) {
       using Role = capture::PortRole;
       p.role = yaml::one_of<Role>(n, {{"node", Role::node},
                                       {"underlay", Role::underlay},
                                       {"pod", Role::pod},
                                       {"host", Role::host}});
     }},
    {"device", required, read_device,
     [](const std::string& path, std::vector<std::string>& keys) {
       yaml::list_keys<Device>(kDeviceFields, path, keys);
     }},
    {"mac", optional, [](const Node& n, Port& p) { p.mac = yaml::mac(n); }},
    {"addresses", optional,
     [](const Node& n, Port& p) { p.addresses = yaml::list(n, interface_address); }, nullptr, true},
    {"mtu", optional,
     [](const Node& n, Port& p) { p.mtu = yaml::integer<uint16_t>(n, 1280, 9216); }},
    {"pods", optional, [](const Node& n, Port& p) { p.pods = yaml::list(n, pod); },
     [](const std::string& path, std::vector<std::string>& keys) {
       yaml::list_keys<Pod>(kPodFields, path, keys);
     },
     true},
};

}  // namespace

std::span<const Field<Port>> port_fields() {
  return kPortFields;
}

}  // namespace isthmus::config
