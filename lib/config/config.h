// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// The configuration of a gateway, read from YAML and checked as a whole. docs/configuration.md
// describes every key. A Config that parse() gives is consistent: every name that it refers to
// exists, every number is in its range.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "capture/class.h"
#include "capture/rules.h"
#include "mesh/model.h"
#include "packet/address.h"
#include "yaml/error.h"

namespace isthmus::config {

// An address of an interface with the prefix of its link: "10.0.0.1/24".
struct InterfaceAddress {
  packet::IpAddress address;
  uint8_t length = 0;  // bits of its own family
  packet::Prefix network() const;
};

enum class Driver : uint8_t {
  vtap,         // our TAP driver: a kernel interface
  virtio_user,  // a vhost-user backend, or vhost-net
  ring,         // net_ring: tests
  null,         // net_null: tests
  devargs,      // any DPDK device: PCI address or vdev arguments
};

struct Device {
  Driver driver = Driver::vtap;
  std::string devargs;  // driver devargs: as EAL takes them
  std::string iface;    // vtap: the kernel interface's name
  std::string netns;    // vtap: name under /run/netns or a path; empty: our own
  std::string path;     // virtio_user: socket of the backend, or /dev/vhost-net
  bool server = false;  // virtio_user: we listen on the socket
  bool offload = true;  // vtap, virtio_user: checksum and TCP segmentation offload
  std::optional<packet::MacAddress> peer_mac;  // vtap: of the kernel's side
  uint16_t queues = 1;
  uint16_t descriptors = 512;  // per queue and direction; a power of two
};

// A pod on a port of role pod. On a vtap port each pod is a queue with its own kernel interface in
// the pod's network namespace; other drivers serve one pod per port.
struct Pod {
  std::string name;                       // for people; default: the address
  packet::IpAddress address;              // the only source address accepted from it
  std::optional<packet::MacAddress> mac;  // the only source MAC; absent: any, learned
  std::string iface = "eth0";             // vtap: in netns
  std::string netns;                      // vtap
};

struct Port {
  std::string name;
  capture::PortRole role = capture::PortRole::node;
  Device device;
  std::optional<packet::MacAddress> mac;  // ours; absent: the device's
  std::vector<InterfaceAddress> addresses;
  uint16_t mtu = 1500;
  std::vector<Pod> pods;  // role pod
};

struct Route {
  packet::Prefix prefix;
  std::optional<packet::IpAddress> via;  // absent: on the link
  std::string port;
};

struct Neighbour {
  packet::IpAddress address;
  packet::MacAddress mac;
  std::string port;
};

struct ThisNode {
  std::string name;
  // Addresses of the host (HostIPs): Geneve is accepted from them alone, probes come from them.
  std::vector<packet::IpAddress> hosts;
  std::string network;
  std::string cluster = "Kubernetes";
  std::string trust_domain = "cluster.local";
  std::vector<std::string> trust_domain_aliases;
};

struct Workers {
  enum class Idle : uint8_t { adaptive, poll };
  Idle idle = Idle::adaptive;
  uint32_t idle_after_us = 100;    // without work before a worker sleeps
  uint32_t handshake_threads = 1;  // service threads for TLS handshakes
};

// Buffers per worker.
struct Pools {
  uint32_t small = 16384;
  uint32_t large = 4096;
  uint32_t clones = 32768;
};

// Of one workload of this node; 0: none.
struct WorkloadLimits {
  uint32_t flows = 32768;
  uint32_t pending_tunnels = 1024;        // asked for and not answered yet, both directions
  uint32_t held_syns = 256;               // more are accepted before their upstream has answered
  uint32_t handshakes_per_second = 1024;  // TLS, as many at once
  uint32_t pending_handshakes = 256;      // TLS
  uint64_t bytes_in_flight = 16u << 20;   // relayed bytes on their way from one leg to the other
};

// Per worker, except where a name says otherwise.
struct Limits {
  uint32_t flows = 65536;
  uint32_t tunnels = 4096;  // HBONE connections, both directions
  uint32_t streams_per_tunnel = 100;
  uint32_t pending_handshakes = 1024;  // in the whole process
  // TLS records of one connection and direction under one key. AES-GCM bears twice as many (RFC
  // 8446 section 5.5), so that the peer has time to answer the KeyUpdate.
  uint32_t records_per_key = 11'863'283;  // 2^23.5
  WorkloadLimits per_workload;            // of each worker, too
};

// Identities from PEM files of a folder, or from the embedded CA of tests.
struct TestCa {
  std::string write_pem_dir;  // also writes what it issues there; empty: does not
  std::string root_dir;  // an existing test root (root-cert.pem, root-key.pem); empty: a new one
  uint32_t ttl_seconds = 86400;
};
struct Identity {
  std::string pem_dir;
  std::optional<TestCa> test_ca;
};

struct Console {
  std::string socket;  // UNIX socket; empty: none
};

struct AccessLog {
  enum class Format : uint8_t { text, json };
  std::string file;  // "-": standard output; empty: none
  Format format = Format::text;
};

struct Capture {
  std::vector<capture::Rule> rules;
  bool plaintext_past_waypoint = false;
};

struct Config {
  mesh::Profile profile = mesh::Profile::v1_18;
  ThisNode node;
  std::vector<Port> ports;
  std::vector<Route> routes;
  std::vector<Neighbour> neighbours;
  Workers workers;
  Pools pools;
  Limits limits;
  std::string mesh_file;
  Identity identity;
  Console console;
  AccessLog access_log;
  Capture capture;
};

inline constexpr unsigned kMaxPorts = 31;  // RTE_MAX_ETHPORTS of Debian, less one
inline constexpr unsigned kMaxVirtioUserPorts = 24;
inline constexpr unsigned kMaxPodsPerPort = 1024;

// file: where the text came from; used in messages, and relative paths are taken from its folder.
// Nothing is opened here.
std::variant<Config, yaml::Error> parse(std::string_view text, std::string_view file);

// Every key that parse() knows, as "ports[].device.driver"; for documentation and its test.
std::vector<std::string> keys();

}  // namespace isthmus::config
