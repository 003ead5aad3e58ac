// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include <algorithm>
#include <chrono>
#include <fmt/format.h>
#include <vector>

#include "capture/class.h"
#include "packet/address.h"
#include "show.h"

namespace isthmus::app {
namespace {

std::vector<const OpenPort*> chosen(Application& application, const Arguments& arguments) {
  const std::string text = arguments.text("PORT|all");
  std::vector<const OpenPort*> ports;
  if (text == "all") {
    for (const auto& port : application.ports().list()) ports.push_back(&port);
  } else if (const OpenPort* port = application.ports().find(text); port != nullptr) {
    ports.push_back(port);
  } else {
    throw CommandError(fmt::format("token '{}': expected a port's number or name, or all", text));
  }
  return ports;
}

uint64_t steady_ns() {
  return static_cast<uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count());
}

std::string mac_text(const rte_ether_addr& mac) {
  packet::MacAddress address;
  std::copy_n(mac.addr_bytes, address.bytes.size(), address.bytes.begin());
  return address.to_string();
}

Json offloads(const drivers::PortInfo& info) {
  Json list = Json::array();
  const auto add = [&list](bool has, const char* name) {
    if (has) list.push_back(name);
  };
  add(info.tx_ip_checksum, "tx-ipv4-checksum");
  add(info.tx_tcp_checksum, "tx-tcp-checksum");
  add(info.tx_udp_checksum, "tx-udp-checksum");
  add(info.tx_tso, "tx-tso");
  add(info.tx_segments, "tx-multi-segment");
  add(info.tx_lock_free, "tx-lock-free");
  add(info.rx_tcp_checksum, "rx-tcp-checksum");
  add(info.rx_lro, "rx-lro");
  return list;
}

}  // namespace

Json show_port_stats(Application& application, const Arguments& arguments) {
  Json list = Json::array();
  for (const OpenPort* port : chosen(application, arguments)) {
    const drivers::PortStats stats = port->device->stats();
    Json value = {{"port", port->device->id()},     {"name", port->config->name},
                  {"rx_packets", stats.rx_packets}, {"rx_missed", stats.rx_missed},
                  {"rx_bytes", stats.rx_bytes},     {"rx_errors", stats.rx_errors},
                  {"rx_nombuf", stats.rx_nombuf},   {"tx_packets", stats.tx_packets},
                  {"tx_errors", stats.tx_errors},   {"tx_bytes", stats.tx_bytes}};
    // The rates are since the last one, so a look in JSON takes nothing from the next one here.
    if (!arguments.json) value["text"] = port->device->show_stats(steady_ns());
    list.push_back(std::move(value));
  }
  return list;
}

std::string print_port_stats(const Json& ports) {
  std::string text;
  for (const auto& port : ports) text += port["text"].get<std::string>();
  return text;
}

Json show_port_info(Application& application, const Arguments& arguments) {
  Json list = Json::array();
  for (const OpenPort* port : chosen(application, arguments)) {
    const drivers::PortInfo& info = port->device->info();
    Json interfaces = Json::array();
    for (uint16_t i = 0; i < port->interfaces; ++i) {
      const auto& interface = application.plan().interfaces[port->first_interface + i];
      Json addresses = Json::array();
      for (const auto& address : interface.addresses) addresses.push_back(address.to_string());
      if (interface.role == capture::PortRole::pod) {
        addresses.push_back("pod " + interface.pod_address.to_string());
      }
      interfaces.push_back({{"index", port->first_interface + i},
                            {"name", interface.name},
                            {"addresses", addresses}});
    }
    list.push_back({{"port", info.id},
                    {"name", port->config->name},
                    {"role", capture::to_string(port->config->role)},
                    {"device", info.name},
                    {"driver", info.driver},
                    {"mac", mac_text(info.mac)},
                    {"mtu", info.mtu},
                    {"link", port->device->link_up() ? "up" : "down"},
                    {"rx_queues", info.rx_queues},
                    {"tx_queues", info.tx_queues},
                    {"offloads", offloads(info)},
                    {"interfaces", interfaces}});
  }
  return list;
}

std::string print_port_info(const Json& ports) {
  std::string text;
  const auto value = [](const Json& port, const char* name) {
    return port[name].is_string() ? port[name].get<std::string>() : port[name].dump();
  };
  for (const auto& port : ports) {
    text += fmt::format("\n********************* Infos for port {:<2} *********************\n",
                        value(port, "port"));
    text += fmt::format("Name: {}\nRole: {}\n", value(port, "name"), value(port, "role"));
    text += fmt::format("MAC address: {}\nDevice name: {}\nDriver name: {}\n", value(port, "mac"),
                        value(port, "device"), value(port, "driver"));
    text += fmt::format("Link status: {}\nMTU: {}\n", value(port, "link"), value(port, "mtu"));
    text += fmt::format("Current number of RX queues: {}\nCurrent number of TX queues: {}\n",
                        value(port, "rx_queues"), value(port, "tx_queues"));
    text += "Offloads:";
    for (const auto& offload : port["offloads"])
      text += fmt::format(" {}", offload.get<std::string>());
    text += "\n";
    for (const auto& interface : port["interfaces"]) {
      text += fmt::format("Interface {}: {}", interface["index"].dump(),
                          interface["name"].get<std::string>());
      for (const auto& address : interface["addresses"]) {
        text += fmt::format(" {}", address.get<std::string>());
      }
      text += "\n";
    }
  }
  return text;
}

Json clear_port_stats(Application& application, const Arguments& arguments) {
  for (const OpenPort* port : chosen(application, arguments)) port->device->clear_stats();
  return nullptr;
}

std::string print_forward_stats(Application& application) {
  std::string text;
  drivers::PortStats sum;
  const auto block = [&text](const drivers::PortStats& stats) {
    text += fmt::format("  RX-packets: {:<14} RX-dropped: {:<13} RX-total: {}\n", stats.rx_packets,
                        stats.rx_missed, stats.rx_packets + stats.rx_missed);
    text += fmt::format("  TX-packets: {:<14} TX-dropped: {:<13} TX-total: {}\n", stats.tx_packets,
                        stats.tx_errors, stats.tx_packets + stats.tx_errors);
  };
  for (const auto& port : application.ports().list()) {
    const drivers::PortStats stats = port.device->stats();
    text += fmt::format(
        "\n  ---------------------- Forward statistics for port {:<2} "
        "----------------------\n",
        port.device->id());
    block(stats);
    text += "  ----------------------------------------------------------------------------\n";
    sum.rx_packets += stats.rx_packets;
    sum.rx_missed += stats.rx_missed;
    sum.tx_packets += stats.tx_packets;
    sum.tx_errors += stats.tx_errors;
  }
  text += "\n  +++++++++++++++ Accumulated forward statistics for all ports+++++++++++++++\n";
  block(sum);
  text += "  ++++++++++++++++++++++++++++++++++++++++++++++++++++++++++++++++++++++++++++\n";
  return text;
}

}  // namespace isthmus::app
