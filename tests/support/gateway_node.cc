// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "support/gateway_node.h"

#include <algorithm>
#include <cstdlib>
#include <fmt/format.h>
#include <map>
#include <random>

#include <rte_mbuf.h>

#include "support/openssl_random.h"
#include "support/pools.h"
#include "tls/test_ca.h"

namespace isthmus::test {
namespace {

constexpr unsigned kTransports = 64;

tls::IdentityTable& identities() {
  static tls::IdentityTable table;
  return table;
}

using std::chrono::hours;

const tls::TestCa& ca() {
  static const tls::TestCa made = [] {
    seed_openssl(1);
    return *tls::TestCa::make("cluster.local", kGatewayEpoch - hours(24),
                              kGatewayEpoch + hours(24 * 365));
  }();
  return made;
}
const tls::TestCa& intermediate() {
  static const tls::TestCa made =
      *ca().make_below("intermediate", kGatewayEpoch - hours(24), kGatewayEpoch + hours(24 * 365));
  return made;
}
bool below(const std::string& uri) {
  return uri.ends_with("2");
}

std::string issue(const std::string& uri, std::string& key) {
  tls::LeafOptions leaf;
  leaf.uris = {uri};
  leaf.not_before = kGatewayEpoch - hours(1);
  leaf.not_after = kGatewayEpoch + hours(24 * 365);
  auto pair = (below(uri) ? intermediate() : ca()).issue(leaf).value();
  key = std::move(pair.key);
  return below(uri) ? pair.certificate + intermediate().root_pem() : pair.certificate;
}

// Keys cost time to make, so a mesh's are made once.
const tls::CredentialFiles& files_of(const Mesh& mesh) {
  static std::map<std::vector<std::string>, tls::CredentialFiles> made;
  std::vector<std::string> names;
  for (uint32_t id = 1; id <= mesh.names->identities.size(); ++id) {
    const auto identity = tls::Identity::parse(mesh.names->identities.text(id));
    if (identity) names.push_back(identity->to_string());
  }
  tls::CredentialFiles& files = made[names];
  if (!files.roots.text.empty()) return files;
  files.roots = {"test CA", ca().root_pem()};
  for (const std::string& name : names) {
    std::string key;
    const std::string certificates = issue(name, key);
    files.pairs.push_back({{name, certificates}, {name + " key", key}});
  }
  return files;
}

std::shared_ptr<const tls::CredentialStore> load(const tls::CredentialFiles& files,
                                                 const tls::TrustDomains& domains) {
  auto loaded = tls::CredentialStore::load(files, domains);
  if (!loaded) throw std::runtime_error(loaded.error.reason);
  return *loaded.value;
}

// Loading costs time as well.
std::shared_ptr<const tls::CredentialStore> store_of(const tls::CredentialFiles& files) {
  static std::map<const tls::CredentialFiles*, std::shared_ptr<const tls::CredentialStore>> loaded;
  auto& store = loaded[&files];
  if (store == nullptr) store = load(files, {});
  return store;
}

gateway::WorkerConfig small_config(const GatewayOptions& options, unsigned index) {
  std::mt19937_64 random(options.seed * 64 + index);
  const auto key = [&] { return packet::SipKey{random(), random()}; };
  gateway::WorkerConfig config;
  config.index = index;
  config.workers = options.workers;
  config.flows = 512;
  config.tcp.max_connections = 512;
  config.tcp.max_time_wait = 512;
  config.tcp.max_sent_records = 8192;
  config.tcp.max_gaps = 2048;
  config.tcp.receive_buffer = config.tcp.send_buffer = 64 << 10;
  config.tcp.max_receive_buffer = config.tcp.max_send_buffer = 256 << 10;
  config.hbone.transports = kTransports;
  config.hbone.tunnels = 256;
  config.hbone.hpack_bytes = 2 << 20;
  config.hbone.idle_release = std::chrono::seconds(20);
  config.pool.waiters = 256;
  config.nat.capacity = 256;
  config.nat.transitory = std::chrono::seconds(30);
  config.nat.key = key();
  config.outbound.flows = 256;
  config.inbound_streams = 256;
  config.quotas.relayed = config.hbone.tunnels;
  config.quotas.transports = kTransports;
  config.secrets = {key(), key(), key(), key()};
  config.random = key();
  if (options.tune) options.tune(config);
  return config;
}

}  // namespace

packet::MacAddress gateway_mac(unsigned gateway, unsigned interface) {
  return {{0x02, 0, 0, 0, static_cast<uint8_t>(gateway), static_cast<uint8_t>(interface)}};
}

gateway::Interface make_interface(capture::PortRole role, const packet::MacAddress& mac,
                                  std::string_view address) {
  gateway::Interface interface;
  interface.name = capture::to_string(role);
  interface.role = role;
  interface.mac = mac;
  if (!address.empty()) interface.addresses.push_back(ip(address));
  return interface;
}

gateway::Interface make_pod(const packet::MacAddress& mac, std::string_view pod,
                            const packet::MacAddress& pod_mac) {
  auto interface = make_interface(capture::PortRole::pod, mac, "169.254.1.1");
  interface.pod_address = ip(pod);
  interface.pod_mac = pod_mac;
  return interface;
}

ip::Route make_route(std::string_view prefix, uint16_t interface, std::string_view via,
                     std::string_view source) {
  ip::Route route;
  route.prefix = packet::Prefix::parse(prefix).value();
  route.port = interface;
  if (!via.empty()) route.next_hop = ip(via);
  if (!source.empty()) route.source = ip(source);
  return route;
}

void complete_plan(gateway::Plan& plan, const Mesh& mesh, std::vector<ip::Route> routes) {
  for (const auto& interface : plan.interfaces) {
    plan.own_addresses.insert(plan.own_addresses.end(), interface.addresses.begin(),
                              interface.addresses.end());
  }
  plan.routes = ip::RouteTable::build(routes).value();
  plan.mesh = mesh.snapshot;
  plan.identities.resize(mesh.names->identities.size() + 1);
  for (uint32_t id = 1; id < plan.identities.size(); ++id) {
    const auto identity = tls::Identity::parse(mesh.names->identities.text(id));
    if (identity) plan.identities[id] = identities().intern(*identity);
  }
}

// One worker with what is its own.
struct GatewayNode::Seat final : gateway::PacketIo {
  Seat(GatewayNode& owner, const GatewayOptions& options, unsigned index, timer::Instant now)
      : node(owner),
        pools(options.pools.small != nullptr ? options.pools : test::pools()),
        key_memory(static_cast<uint8_t*>(std::aligned_alloc(
                       64, (tls::KeyStore::bytes_for(kTransports) + 63) / 64 * 64)),
                   &std::free),
        records({key_memory.get(), tls::KeyStore::bytes_for(kTransports)}, pools),
        executor(owner.credentials_, identities(), kGatewayEpoch),
        worker(small_config(options, index), {*this, owner.handoff_, pools, executor, records},
               owner.plan_.get(), now) {}
  ~Seat() {
    for (rte_mbuf* frame : received) rte_pktmbuf_free(frame);
  }

  uint16_t receive(rte_mbuf** frames, uint16_t n) override {
    uint16_t count = 0;
    for (; count < n && !received.empty(); ++count) {
      frames[count] = received.front();
      received.pop_front();
    }
    return count;
  }
  uint16_t transmit(uint16_t interface, rte_mbuf** frames, uint16_t n) override {
    for (uint16_t i = 0; i < n; ++i) node.transmit_(interface, frames[i]);
    return n;
  }

  GatewayNode& node;
  packet::Pools pools;
  std::deque<rte_mbuf*> received;
  std::unique_ptr<uint8_t, decltype(&std::free)> key_memory;
  tls::RecordLayer records;
  tls::InlineExecutor executor;
  gateway::Worker worker;
};

GatewayNode::GatewayNode(std::unique_ptr<gateway::Plan> plan, const Mesh& mesh,
                         const GatewayOptions& options, Transmit transmit, timer::Instant now)
    : plan_(std::move(plan)),
      transmit_(std::move(transmit)),
      epoch_(now),
      handoff_(options.workers, options.handoff_packets, options.handoff_bytes),
      files_(files_of(mesh)) {
  credentials_.publish(store_of(files_));
  for (unsigned i = 0; i < options.workers; ++i) {
    seats_.push_back(std::make_unique<Seat>(*this, options, i, now));
  }
}

GatewayNode::~GatewayNode() = default;

void GatewayNode::deliver(unsigned worker, uint16_t interface, rte_mbuf* frame) {
  frame->port = interface;
  seats_[worker]->received.push_back(frame);
}

bool GatewayNode::poll(timer::Instant now) {
  constexpr unsigned kMostTurns = 2000;
  const auto wall = kGatewayEpoch + std::chrono::duration_cast<std::chrono::seconds>(now - epoch_);
  unsigned quiet = 0;
  for (unsigned turn = 0; turn < kMostTurns; ++turn) {
    bool busy = false;
    for (auto& seat : seats_) {
      seat->executor.set_now(wall);
      busy = seat->worker.poll(now, wall) != 0 || busy;
    }
    for (auto& seat : seats_) busy = busy || seat->worker.has_pending();
    // A handshake's step is done in the turn after the one that asked for it.
    quiet = busy ? 0 : quiet + 1;
    if (quiet == 2) return true;
  }
  return false;
}

std::shared_ptr<const tls::Trust> GatewayNode::reload(const TrustFiles& to) {
  tls::CredentialFiles files = files_;
  std::vector<std::string> lists[2];  // of the CA, of its intermediate
  for (const auto& pair : files.pairs) {
    const std::string& uri = pair.certificate.file;
    const bool revoked = std::find(to.revoked.begin(), to.revoked.end(), uri) != to.revoked.end();
    std::string key;
    if (revoked) lists[below(uri)].push_back(pair.certificate.text);
    if (to.other_revoked) lists[below(uri)].push_back(issue(uri, key));
  }
  if (to.intermediate_revoked) lists[0].push_back(intermediate().root_pem());
  files.revoked = {"lists", ca().revoke(lists[0], kGatewayEpoch) +
                                intermediate().revoke(lists[1], kGatewayEpoch)};
  const auto store = load(files, to.domains);
  credentials_.publish(store);
  return store->trust();
}

timer::Instant GatewayNode::next_deadline() const {
  timer::Instant earliest = timer::kNever;
  for (const auto& seat : seats_) earliest = std::min(earliest, seat->worker.next_deadline());
  return earliest;
}

gateway::Worker& GatewayNode::worker(unsigned n) {
  return seats_[n]->worker;
}

uint64_t GatewayNode::count(stats::Reason reason) const {
  uint64_t sum = 0;
  for (const auto& seat : seats_) sum += seat->worker.reasons().get(reason);
  return sum;
}

uint32_t GatewayNode::live_flows() const {
  uint32_t live = 0;
  for (const auto& seat : seats_) live += seat->worker.flows().live();
  return live;
}

std::vector<flow::Report> GatewayNode::records() {
  std::vector<flow::Report> all;
  for (auto& seat : seats_) {
    seat->worker.refresh_records();
    const flow::Table& table = seat->worker.flows();
    std::vector<flow::Report> some(table.capacity() + flow::Table::kDefaultClosed);
    flow::Table::Cursor cursor;
    const uint32_t count = table.copy(cursor, some, UINT32_MAX);
    all.insert(all.end(), some.begin(), some.begin() + count);
  }
  std::sort(all.begin(), all.end(), [](const auto& a, const auto& b) { return a.id < b.id; });
  return all;
}

std::string GatewayNode::leftovers() {
  std::string what;
  const auto expect = [&what](unsigned worker, const char* name, uint64_t value) {
    if (value != 0) what += fmt::format("worker {}: {} {}; ", worker, value, name);
  };
  for (unsigned i = 0; i < workers(); ++i) {
    gateway::Worker& w = seats_[i]->worker;
    expect(i, "live records", w.flows().live());
    expect(i, "connections", w.tcp().connections());
    expect(i, "TIME-WAITs", w.tcp().time_waits());
    expect(i, "transports", w.hbone().transports());
    expect(i, "tunnels", w.hbone().tunnels());
    expect(i, "streams", w.hbone().usage().streams);
    expect(i, "NAT entries", w.nat().size());
    expect(i, "handshakes", seats_[i]->executor.in_progress());
    expect(i, "keys", seats_[i]->records.keys().in_use());
    w.quotas().for_each([&](const auto& account) {
      expect(i, "of what a workload has",
             account.flows + account.relayed + account.transports + account.strangers +
                 account.pending_tunnels + account.held_syns + account.share.used());
    });
    w.quotas().for_each_client([&](const auto& client) {
      expect(i, "of what a client has",
             client.flows + client.relayed + client.transports + client.strangers);
    });
    expect(i, "received frames", seats_[i]->received.size());
  }
  uint64_t over = 0;
  uint64_t taken = 0;
  for (auto& seat : seats_) {
    over += seat->worker.counters().handed_over;
    taken += seat->worker.counters().taken_over;
  }
  if (over != taken) what += fmt::format("{} packets handed over, {} taken over; ", over, taken);
  return what;
}

}  // namespace isthmus::test
