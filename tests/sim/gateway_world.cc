// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "sim/gateway_world.h"

#include <algorithm>
#include <fmt/format.h>

#include "support/openssl_random.h"
#include "support/pools.h"

namespace isthmus::sim {
namespace {

using capture::PortRole;
using test::gateway_mac;
using test::ip;

constexpr uint64_t kMaxSteps = 3'000'000;
constexpr timer::Duration kMaxTime = std::chrono::minutes(30);
// Longer than TIME-WAIT, translations and idle tunnels are kept.
constexpr timer::Duration kSettle = std::chrono::seconds(60);
constexpr timer::Duration kHop = std::chrono::microseconds(20);
constexpr uint16_t kFirstClientPort = 40'000;
constexpr uint16_t kFirstServerPort = 8'000;

constexpr std::string_view kMesh = R"(
workloads:
- {name: a1, namespace: default, serviceAccount: a1, workloadIps: [10.1.0.1], protocol: HBONE, node: a}
- {name: a2, namespace: default, serviceAccount: a2, workloadIps: [10.1.0.2], protocol: HBONE, node: a}
- {name: b1, namespace: default, serviceAccount: b1, workloadIps: [10.2.0.1], protocol: HBONE, node: b}
- {name: b2, namespace: guarded, serviceAccount: b2, workloadIps: [10.2.0.2], protocol: HBONE, node: b}
policies:
- {name: only-a2, namespace: guarded, scope: Namespace, action: Allow, rules: [[[{principals: [!Exact cluster.local/ns/default/sa/a2]}]]]}
)";
constexpr std::string_view kAddresses[kPlaces] = {"10.1.0.1", "10.1.0.2", "10.2.0.1", "10.2.0.2",
                                                  "10.9.0.1"};

const test::Mesh& mesh_of(int side, proxy::Profile profile) {
  static std::unique_ptr<test::Mesh> made[2][2];
  auto& mesh = made[side][profile == proxy::Profile::head ? 1 : 0];
  if (mesh == nullptr) {
    mesh = std::make_unique<test::Mesh>(
        kMesh, profile,
        mesh::SnapshotOptions{.node = side == 0 ? "a" : "b", .network = "", .seed = 7});
  }
  return *mesh;
}

packet::MacAddress peer_mac(int side, unsigned interface) {
  return {{0x06, 0, 0, 0, static_cast<uint8_t>(side), static_cast<uint8_t>(interface)}};
}

int side_of(const packet::IpAddress& address) {
  return (address.v4_value() >> 16 & 0xff) == 1   ? 0
         : (address.v4_value() >> 16 & 0xff) == 2 ? 1
                                                  : 2;
}

tcp::Options user_options() {
  tcp::Options options;
  options.handshake_timeout = std::chrono::seconds(60);
  // Whoever is left alone by a lost RST finds out.
  options.keepalive_idle = std::chrono::seconds(30);
  return options;
}

}  // namespace

World::World(const GatewayScenario& scenario)
    : scenario_(scenario),
      scheduler_(timer::Instant(std::chrono::hours(1))),
      mbufs_before_(test::mbufs_in_use()),
      link_(scheduler_, test::pools(), scenario.seed, &log_),
      outer_{Link(scheduler_, test::pools(), scenario.seed + 1, nullptr),
             Link(scheduler_, test::pools(), scenario.seed + 2, nullptr)} {
  link_.model(0) = link_.model(1) = scenario.link;
  link_.watch([this](int, const std::vector<uint8_t>& packet) {
    for (const uint8_t byte : packet) digest_ = (digest_ ^ byte) * 0x100000001b3;
  });
  for (int side = 0; side < 2; ++side) {
    link_.attach(side, [this, side](rte_mbuf* packet) { from_network(side, carry(packet)); });
    outer_[side].model(0).delay = outer_[side].model(1).delay = std::chrono::milliseconds(2);
    outer_[side].attach(0, [this, side](rte_mbuf* packet) { from_network(side, carry(packet)); });
    outer_[side].attach(1,
                        [this](rte_mbuf* packet) { stations_[kOutside]->receive(carry(packet)); });
  }
  make_stations();
  make_gateway(0);
  if (scenario.kernel) {
    make_one_armed();
  } else {
    make_gateway(1);
  }
  // From here on every random byte of TLS is of this run.
  test::seed_openssl(scenario.seed);
  for (const FlowPlan& plan : scenario.flows) add(plan);
}

World::~World() = default;

void World::make_stations() {
  for (unsigned place = 0; place < kPlaces; ++place) {
    std::mt19937_64 random(scenario_.seed * kPlaces + place);
    const auto key = [&] { return packet::SipKey{random(), random()}; };
    stations_[place] = std::make_unique<Station>(
        scheduler_, ip(kAddresses[place]), tcp::Secrets{key(), key(), key(), key(), key()},
        [this, place](Carried&& packet) {
          from_station(static_cast<Place>(place), std::move(packet));
        });
    stations_[place]->listen([this, place](const packet::Parsed& syn) {
      return accept(static_cast<Place>(place), syn);
    });
  }
}

// Interface 0 leads to the network, 1 and 2 to the pods.
void World::make_gateway(int side) {
  auto plan = std::make_unique<gateway::Plan>();
  plan->profile = scenario_.profile;
  const std::string network = fmt::format("10.100.{}", side);
  std::vector<ip::Route> routes = {
      test::make_route("0.0.0.0/0", 0, network + ".2", network + ".1")};
  plan->interfaces.push_back(test::make_interface(
      PortRole::underlay, gateway_mac(static_cast<unsigned>(side), 0), network + ".1"));
  for (uint16_t i = 1; i <= 2; ++i) {
    const std::string_view address = kAddresses[side * 2 + i - 1];
    plan->interfaces.push_back(
        test::make_pod(gateway_mac(static_cast<unsigned>(side), i), address, peer_mac(side, i)));
    routes.push_back(test::make_route(address, i, "", "169.254.1.1"));
  }
  Side& here = sides_[side];
  for (auto& interface : plan->interfaces) {
    const auto i = static_cast<uint16_t>(&interface - plan->interfaces.data());
    interface.can_checksum = interface.can_segment = scenario_.offload;
    Peer::Config config{.mac = peer_mac(side, i),
                        .addresses = {i == 0 ? ip(network + ".2") : interface.pod_address},
                        .gateway = interface.addresses.front(),
                        .gateway_mac = interface.mac,
                        .offload = scenario_.offload};
    const packet::IpAddress pod = interface.pod_address;
    here.peers.push_back(std::make_unique<Peer>(
        config, [this, side, i](rte_mbuf* frame) { to_gateway(side, i, frame); },
        [this, side, i, pod](Carried&& packet) {
          if (i == 0) return into_network(side, std::move(packet));
          to_station(pod, std::move(packet));
        }));
  }
  const test::Mesh& mesh = mesh_of(side, scenario_.profile);
  test::complete_plan(*plan, mesh, std::move(routes));
  test::GatewayOptions options;
  options.workers = scenario_.workers;
  options.seed = scenario_.seed * 2 + static_cast<unsigned>(side);
  options.tune = [this](gateway::WorkerConfig& config) {
    config.hbone.profile = scenario_.profile == proxy::Profile::head ? hbone::Profile::head
                                                                     : hbone::Profile::istio_1_18;
    if (scenario_.tune) scenario_.tune(config);
  };
  here.gateway = std::make_unique<test::GatewayNode>(
      std::move(plan), mesh, options,
      [this, side](uint16_t i, rte_mbuf* frame) { from_gateway(side, i, frame); },
      scheduler_.now());
  here.waker = std::make_unique<Waker>(scheduler_, [this, side] { poll(side); });
}

// One interface: the node's kernel has everything else.
void World::make_one_armed() {
  constexpr int kSide = 1;
  auto plan = std::make_unique<gateway::Plan>();
  plan->profile = scenario_.profile;
  plan->interfaces.push_back(
      test::make_interface(PortRole::node, gateway_mac(kSide, 0), "10.2.0.254"));
  const packet::IpAddress gateway = ip("10.2.0.254");
  const packet::IpAddress host = ip("10.2.0.253");
  plan->hosts = {host};
  plan->tunnels = geneve::TunnelEndpoints({.gateway = gateway, .hosts = {host}});
  const test::Mesh& mesh = mesh_of(kSide, scenario_.profile);
  test::complete_plan(*plan, mesh, {test::make_route("0.0.0.0/0", 0, "10.2.0.253", "10.2.0.254")});
  NodeKernel::Config config{.mac = peer_mac(kSide, 0),
                            .host = host,
                            .gateway = gateway,
                            .gateway_mac = gateway_mac(kSide, 0),
                            .pods = {ip(kAddresses[kB1]), ip(kAddresses[kB2])}};
  kernel_ = std::make_unique<NodeKernel>(
      config, [this](rte_mbuf* frame) { to_gateway(kSide, 0, frame); },
      [this](Carried&& packet) {
        const packet::IpAddress to = packet.tuple().destination.address;
        if (side_of(to) == kSide) return to_station(to, std::move(packet));
        into_network(kSide, std::move(packet));
      });
  test::GatewayOptions options;
  options.workers = scenario_.workers;
  options.seed = scenario_.seed * 2 + kSide;
  options.tune = scenario_.tune;
  Side& here = sides_[kSide];
  here.gateway = std::make_unique<test::GatewayNode>(
      std::move(plan), mesh, options,
      [this](uint16_t i, rte_mbuf* frame) { from_gateway(kSide, i, frame); }, scheduler_.now());
  here.waker = std::make_unique<Waker>(scheduler_, [this] { poll(kSide); });
  if (scenario_.forget_at != timer::Duration()) {
    scheduler_.after(scenario_.forget_at, [this] { kernel_->forget(scenario_.forget_for_good); });
  }
}

std::string_view World::mesh() {
  return kMesh;
}

void World::republish(int side, std::string_view mesh) {
  const mesh::SnapshotOptions options{.node = side == 0 ? "a" : "b", .network = "", .seed = 7};
  const test::Mesh made(mesh, scenario_.profile, options, mesh_of(side, scenario_.profile).names);
  auto plan = std::make_unique<gateway::Plan>(sides_[side].gateway->plan());
  plan->own_addresses.clear();
  test::complete_plan(*plan, made, {});
  plan->routes = sides_[side].gateway->plan().routes;
  publish(side, std::move(plan));
}

void World::republish(int side, const test::TrustFiles& files) {
  auto plan = std::make_unique<gateway::Plan>(sides_[side].gateway->plan());
  plan->trust = sides_[side].gateway->reload(files);
  publish(side, std::move(plan));
}

void World::publish(int side, std::unique_ptr<gateway::Plan> plan) {
  plans_.push_back(std::move(plan));
  for (unsigned i = 0; i < scenario_.workers; ++i) {
    sides_[side].gateway->worker(i).publish(plans_.back().get());
  }
  poll(side);
}

void World::poll_soon(int side) {
  if (sides_[side].poll_due) return;
  sides_[side].poll_due = true;
  scheduler_.after({}, [this, side] { poll(side); });
}

void World::poll(int side) {
  Side& here = sides_[side];
  here.poll_due = false;
  if (!here.gateway->poll(scheduler_.now())) error_ = "a gateway never comes to rest";
  here.waker->set(here.gateway->next_deadline());
}

// Received by the worker that a hash with nothing in common with the owner's chooses: one for each
// flow and direction, so that order is kept and half of the packets must be handed over.
void World::to_gateway(int side, uint16_t interface, rte_mbuf* frame) {
  uint64_t hash = scenario_.seed * 0x9e3779b97f4a7c15;
  const auto* bytes = rte_pktmbuf_mtod(frame, const uint8_t*);
  for (unsigned i = 14 + 12; i < 14 + 24 && i < frame->data_len; ++i) {
    hash = (hash ^ bytes[i]) * 0x100000001b3;
  }
  const auto worker = static_cast<unsigned>(hash >> 40) % scenario_.workers;
  sides_[side].gateway->deliver(worker, interface, frame);
  poll_soon(side);
}

void World::from_gateway(int side, uint16_t interface, rte_mbuf* frame) {
  if (side == 1 && kernel_ != nullptr) return kernel_->from_gateway(frame);
  sides_[side].peers[interface]->from_gateway(frame);
}

void World::from_network(int side, Carried&& packet) {
  if (side == 1 && kernel_ != nullptr) return kernel_->from_network(std::move(packet));
  sides_[side].peers[0]->send(std::move(packet));
}

void World::into_network(int side, Carried&& packet) {
  rte_mbuf* made = to_transmit(packet);
  if (made == nullptr) return;
  if (side_of(packet.tuple().destination.address) == 2) return outer_[side].send(0, made);
  link_.send(side, made);
}

void World::to_station(const packet::IpAddress& address, Carried&& packet) {
  for (auto& station : stations_) {
    if (station->address() != address) continue;
    scheduler_.after(
        kHop, [&station = *station, packet = std::move(packet)] { station.receive(packet); });
    return;
  }
  error_ = fmt::format("a packet to {}, who does not exist", address.to_string());
}

void World::from_station(Place place, Carried&& packet) {
  if (place == kOutside) {
    const int to = side_of(packet.tuple().destination.address);
    if (rte_mbuf* made = to_transmit(packet)) outer_[to].send(1, made);
    return;
  }
  const int side = place < kB1 ? 0 : 1;
  scheduler_.after(kHop, [this, side, place, packet = std::move(packet)]() mutable {
    if (side == 1 && kernel_ != nullptr) {
      for (Carried& each : segments(std::move(packet))) kernel_->from_pod(std::move(each));
    } else {
      sides_[side].peers[place - side * 2 + 1u]->send(std::move(packet));
    }
  });
}

void World::add(const FlowPlan& plan) {
  const size_t number = flows_.size();
  Flow& flow = flows_.emplace_back();
  flow.plan = plan;
  for (unsigned who = 0; who < 2; ++who) {
    Station* station = stations_[who == 0 ? plan.client : plan.server].get();
    const auto stream = static_cast<uint32_t>(number * 2);
    flow.users[who] =
        std::make_unique<User>(scheduler_, test::pools(), stream + who, stream + 1 - who,
                               plan.user[who], [station] { station->poll(); });
  }
  if (plan.fate == Fate::silent) {
    stations_[plan.server]->ignore(static_cast<uint16_t>(kFirstServerPort + number));
  }
  scheduler_.after(plan.start, [this, number] { begin(number); });
}

void World::begin(size_t number) {
  Flow& flow = flows_[number];
  Station& station = *stations_[flow.plan.client];
  const auto offset = static_cast<uint16_t>(number);
  tcp::Connection* connection = station.engine().connect(
      {station.address(), static_cast<uint16_t>(kFirstClientPort + offset)},
      {stations_[flow.plan.server]->address(), static_cast<uint16_t>(kFirstServerPort + offset)},
      flow.users[0].get(), user_options(), scheduler_.now());
  flow.begun = true;
  flow.started = scheduler_.now();
  flow.users[0]->start(*connection);
  station.poll();
}

tcp::Connection* World::accept(Place place, const packet::Parsed& syn) {
  const size_t number = syn.tuple.destination.port - kFirstServerPort;
  if (number >= flows_.size()) {
    error_ = fmt::format("a SYN that nobody meant: {}", syn.tuple.to_string());
    return nullptr;
  }
  Flow& flow = flows_[number];
  if (flow.plan.fate == Fate::refused || flow.accepted) return nullptr;
  if (flow.plan.server != place || flow.plan.fate != Fate::served) {
    error_ = fmt::format("flow {} must not have come to {}", number, kAddresses[place]);
    return nullptr;
  }
  if (syn.tuple.source.address != stations_[flow.plan.client]->address()) {
    error_ = fmt::format("flow {} does not show its client's address", number);
  }
  tcp::Connection* connection =
      stations_[place]->engine().accept(syn, flow.users[1].get(), user_options(), scheduler_.now());
  if (connection == nullptr) return nullptr;
  flow.accepted = true;
  flow.users[1]->start(*connection);
  return connection;
}

bool World::flow_over(const Flow& flow) const {
  return flow.begun && flow.users[0]->over() && (!flow.accepted || flow.users[1]->over());
}

bool World::all_over() const {
  return std::all_of(flows_.begin(), flows_.end(),
                     [this](const Flow& flow) { return flow_over(flow); });
}

timer::Duration World::waited(size_t number) const {
  const Flow& flow = flows_[number];
  return (flow.over == timer::Instant() ? scheduler_.now() : flow.over) - flow.started;
}

size_t World::completed() const {
  return static_cast<size_t>(std::count_if(flows_.begin(), flows_.end(), [](const Flow& flow) {
    const User& client = *flow.users[0];
    const User& server = *flow.users[1];
    return client.over() && server.over() && !client.aborted() && !server.aborted() &&
           client.failure() == tcp::Failure::none && server.failure() == tcp::Failure::none;
  }));
}

// A flow that nobody aborted should have succeeded, but for what losses can do.
size_t World::broken() const {
  return static_cast<size_t>(std::count_if(flows_.begin(), flows_.end(), [](const Flow& flow) {
    if (flow.plan.fate != Fate::served) return false;
    const User& client = *flow.users[0];
    const User& server = *flow.users[1];
    return !client.aborted() && !server.aborted() &&
           (client.failure() != tcp::Failure::none || server.failure() != tcp::Failure::none);
  }));
}

void World::check() {
  for (size_t i = 0; i < flows_.size(); ++i) {
    Flow& flow = flows_[i];
    for (const auto& user : flow.users) {
      if (!user->error().empty()) error_ = user->error();
    }
    if (flow.over == timer::Instant() && flow.users[0]->over()) flow.over = scheduler_.now();
  }
  for (const Side& side : sides_) {
    for (const auto& peer : side.peers) {
      if (!peer->error().empty()) error_ = peer->error();
    }
  }
  if (kernel_ != nullptr && !kernel_->error().empty()) error_ = kernel_->error();
}

bool World::step() {
  if (!error_.empty() || !scheduler_.step()) return false;
  if (++steps_ > kMaxSteps) error_ = "stuck: too many steps";
  check();
  return error_.empty();
}

bool World::run_for(timer::Duration time) {
  const timer::Instant end = scheduler_.now() + time;
  bool reached = false;
  scheduler_.at(end, [&reached] { reached = true; });
  while (!reached) {
    if (!step()) return false;
  }
  return true;
}

bool World::run_until(const std::function<bool()>& done) {
  const timer::Instant latest = scheduler_.now() + kMaxTime;
  while (!done()) {
    if (!step() || scheduler_.now() > latest) return false;
  }
  return true;
}

std::string World::finish() {
  if (!run_until([this] { return all_over(); }) && error_.empty()) error_ = "stuck";
  if (error_.empty()) run_for(kSettle);
  if (error_.empty()) error_ = verdict();
  if (error_.empty()) return {};
  return fmt::format("seed {}: {}\n  {}{}", scenario_.seed, error_, describe(scenario_), outcome());
}

std::string World::outcome() const {
  std::string text;
  for (size_t i = 0; i < flows_.size(); ++i) {
    const Flow& flow = flows_[i];
    for (unsigned who = 0; who < 2; ++who) {
      const User& user = *flow.users[who];
      text += fmt::format("\n  flow {} {} {}: taken {} of {}, sent {}{}{}{} {}", i,
                          who == 0 ? "client" : "server",
                          kAddresses[who == 0 ? flow.plan.client : flow.plan.server], user.taken(),
                          flow.plan.user[1 - who].bytes, user.sent(),
                          user.connected() ? " connected" : "", user.over() ? " over" : "",
                          user.aborted() ? " aborted" : "", tcp::to_string(user.failure()));
    }
  }
  for (int side = 0; side < 2; ++side) {
    for (const flow::Report& record : sides_[side].gateway->records()) {
      text += fmt::format(
          "\n  {} {}: {}, status {}, {}", side == 0 ? 'A' : 'B', record.id,
          record.client.to_string(), record.http_status,
          record.reason == stats::Reason::count_ ? "in order" : stats::info(record.reason).text);
    }
  }
  return text;
}

std::string World::verdict(size_t number, const Flow& flow) const {
  const User& client = *flow.users[0];
  const User& server = *flow.users[1];
  if (flow.plan.fate != Fate::served) {
    if (client.connected()) return fmt::format("flow {} was accepted", number);
    if (client.failure() != tcp::Failure::refused) {
      return fmt::format("flow {} was not refused: {}", number, tcp::to_string(client.failure()));
    }
    return {};
  }
  for (unsigned who = 0; who < 2; ++who) {
    const User& user = *flow.users[who];
    const User& other = *flow.users[1 - who];
    const uint64_t expected = flow.plan.user[1 - who].bytes;
    if (user.taken() > expected) return fmt::format("flow {}: more than was sent", number);
    // Who aborted knows; who was told of a failure was told. Everybody else has everything.
    const bool in_order = !user.aborted() && user.failure() == tcp::Failure::none && user.over();
    if (in_order && user.taken() != expected) {
      return fmt::format("flow {}: bytes are missing and nobody was told{}", number,
                         other.aborted() ? " of the abort" : "");
    }
  }
  if (!flow.accepted && client.failure() == tcp::Failure::none && !client.aborted()) {
    return fmt::format("flow {} ended in order and the server never saw it", number);
  }
  if (flow.accepted && !server.over()) return fmt::format("flow {}: the server hangs", number);
  return {};
}

std::string World::verdict() const {
  for (size_t i = 0; i < flows_.size(); ++i) {
    if (auto wrong = verdict(i, flows_[i]); !wrong.empty()) return wrong;
  }
  for (int side = 0; side < 2; ++side) {
    const std::string left = sides_[side].gateway->leftovers();
    if (!left.empty()) return fmt::format("gateway {} keeps {}", side == 0 ? 'A' : 'B', left);
  }
  for (const auto& station : stations_) {
    if (station->engine().connections() != 0) {
      return fmt::format("{} still has connections", station->address().to_string());
    }
  }
  const unsigned mbufs = test::mbufs_in_use();
  if (mbufs != mbufs_before_) {
    return fmt::format("{} mbufs leaked", static_cast<int>(mbufs - mbufs_before_));
  }
  return {};
}

}  // namespace isthmus::sim
