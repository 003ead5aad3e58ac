// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// A TLS 1.3 server on our TCP, our handshakes and our record layer, for the suites and clients of
// others: answers a request like GET / HTTP/1.0, then closes. ALPN is not needed.
//   tls_listener [EAL arguments] -- --interface NAME --roots FILE
//                --serve PORT,CERTIFICATE,KEY... [--no-client-certificates] [--request-updates]
// A host behind the TAP interface that it makes, where the kernel is the other end. Says "ready"
// once it listens, and ends by SIGTERM or SIGINT.
#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>
#include <fstream>
#include <map>
#include <sched.h>
#include <sstream>
#include <string>
#include <vector>

#include <rte_eal.h>

#include "handshake_thread.h"
#include "interop/tcp/station.h"
#include "served.h"
#include "sleeper.h"
#include "tls/certificate.h"
#include "tls/key_memory.h"

namespace isthmus::interop {
namespace {

constexpr unsigned kConnections = 512;
constexpr unsigned kResults = 64;
constexpr timer::Duration kPatience = std::chrono::seconds(30);  // with one connection
constexpr timer::Duration kTick = std::chrono::seconds(1);

volatile std::sig_atomic_t stopping = 0;

struct Settings {
  std::string interface;
  std::string roots;
  std::vector<std::string> serve;
  bool no_client_certificates = false;
  bool request_updates = false;
};

std::string read_file(const std::string& name) {
  std::ifstream file(name);
  if (!file) throw std::runtime_error("can't read " + name);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

tls::CredentialFiles::Pair read_pair(const std::string& certificate, const std::string& key) {
  return {{certificate, read_file(certificate)}, {key, read_file(key)}};
}

class Listener final : tls::HandshakeHandler {
 public:
  Listener(const Settings& settings, Station& station)
      : settings_(settings),
        station_(station),
        channel_(kConnections),
        executor_(channels_, {.total = kConnections, .per_workload = kConnections}),
        service_(credentials_, identities_),
        waker_(sleeper_),
        key_memory_(static_cast<uint8_t*>(std::aligned_alloc(64, kKeyBytes)), &std::free),
        records_({key_memory_.get(), kKeyBytes}, station.pools()) {
    load();
    channel_.wake_worker = &waker_;
    service_.serve(channel_);
    cpu_set_t cpus;
    sched_getaffinity(0, sizeof cpus, &cpus);
    service_.start(cpus);
    sleeper_.watch(station.descriptor());
    sleeper_.set_watching(true);
    station.listen([this](const packet::Parsed& syn) { return accept(syn); });
  }
  ~Listener() {
    served_.clear();
    service_.stop();
  }

  void run() {
    while (stopping == 0) {
      if (!turn()) sleep();
    }
  }

 private:
  static constexpr size_t kKeyBytes = (tls::KeyStore::bytes_for(kConnections) + 63) / 64 * 64;

  void load() {
    tls::CredentialFiles files;
    files.roots = {settings_.roots, read_file(settings_.roots)};
    for (const std::string& text : settings_.serve) {
      std::istringstream parts(text);
      std::string port;
      std::string certificate;
      std::string key;
      std::getline(parts, port, ',');
      std::getline(parts, certificate, ',');
      std::getline(parts, key, ',');
      files.pairs.push_back(read_pair(certificate, key));
      const auto& pair = files.pairs.back();
      const auto loaded = tls::Credential::load(pair.certificate.file, pair.certificate.text,
                                                pair.key.file, pair.key.text);
      if (!loaded) throw std::runtime_error(loaded.error.file + ": " + loaded.error.reason);
      ports_[static_cast<uint16_t>(std::stoi(port))] =
          identities_.intern((*loaded.value)->identity());
    }
    auto store = tls::CredentialStore::load(files, {},
                                            settings_.no_client_certificates
                                                ? tls::ClientCertificates::none
                                                : tls::ClientCertificates::required);
    if (!store) throw std::runtime_error(store.error.file + ": " + store.error.reason);
    credentials_.publish(*store.value);
  }

  bool accept(const packet::Parsed& syn) {
    const auto port = ports_.find(syn.tuple.destination.port);
    if (port == ports_.end() || served_.size() == kConnections) return false;
    const uint64_t token = ++count_;
    const ServedParts parts = {executor_, records_, station_.pools(), port->second,
                               settings_.request_updates};
    const auto made = served_.try_emplace(token, parts, token, station_.now() + kPatience,
                                          [this, token] { ended_.push_back(token); });
    Served& served = made.first->second;
    tcp::Connection* connection = station_.engine().accept(syn, &served, {}, station_.now());
    if (connection == nullptr) {
      served_.erase(token);
      return false;
    }
    served.start(*connection);
    return true;
  }

  void on_handshake(const tls::HandshakeResult& result) override {
    const auto found = served_.find(result.token);
    if (found != served_.end()) found->second.on_handshake(result);
  }

  // True when there was something to do.
  bool turn() {
    bool busy = station_.poll();
    if (executor_.poll(*this, kResults) != 0) busy = true;
    station_.engine().flush(station_.now());
    for (auto& [token, served] : served_) served.advance(station_.now());
    for (const uint64_t token : std::exchange(ended_, {})) served_.erase(token);
    return busy;
  }

  void sleep() {
    const timer::Instant deadline = station_.next_deadline();
    const timer::Duration left =
        deadline == timer::kNever ? kTick : std::min(kTick, deadline - station_.now());
    if (left <= timer::Duration()) return;
    sleeper_.announce();
    if (executor_.results_empty()) {
      sleeper_.block(left);
    } else {
      sleeper_.cancel();
    }
  }

  const Settings& settings_;
  Station& station_;
  tls::CredentialSource credentials_;
  tls::IdentityTable identities_;
  tls::HandshakeChannel channel_;
  tls::HandshakeChannel* channels_[1] = {&channel_};
  tls::RingExecutor executor_;
  app::HandshakeThread service_;
  app::Sleeper sleeper_;
  app::SleeperWaker waker_;
  std::unique_ptr<uint8_t, decltype(&std::free)> key_memory_;
  tls::RecordLayer records_;
  std::map<uint16_t, tls::IdentityPtr> ports_;
  std::map<uint64_t, Served> served_;
  std::vector<uint64_t> ended_;
  uint64_t count_ = 0;
};

int run(const Settings& settings) {
  StationConfig config;
  config.interface = settings.interface;
  config.tcp.max_connections = 2 * kConnections;
  config.tcp.max_time_wait = 4 * kConnections;
  config.tcp.time_wait = std::chrono::milliseconds(200);
  config.tcp.max_sent_records = 16 * kConnections;
  config.tcp.max_gaps = 4 * kConnections;
  std::string error;
  const auto station = Station::open(config, error);
  if (station == nullptr) {
    std::fprintf(stderr, "%s\n", error.c_str());
    return 1;
  }
  try {
    Listener listener(settings, *station);
    for (const int signal : {SIGTERM, SIGINT}) std::signal(signal, [](int) { stopping = 1; });
    std::printf("ready\n");
    std::fflush(stdout);
    listener.run();
  } catch (const std::exception& failure) {
    std::fprintf(stderr, "%s\n", failure.what());
    return 1;
  }
  return 0;
}

}  // namespace
}  // namespace isthmus::interop

int main(int argc, char** argv) {
  const int eaten = rte_eal_init(argc, argv);
  if (eaten < 0) return 2;
  isthmus::interop::Settings settings;
  CLI::App app("A TLS 1.3 server on Isthmus's TCP and TLS, for other programs' tests");
  app.add_option("--interface", settings.interface, "TAP interface to make")->required();
  app.add_option("--roots", settings.roots, "Certificates that clients' chains end in")->required();
  app.add_option("--serve", settings.serve, "PORT,CERTIFICATE,KEY (PEM)")->required();
  app.add_flag("--no-client-certificates", settings.no_client_certificates);
  app.add_flag("--request-updates", settings.request_updates,
               "Send a KeyUpdate that asks for one before each answer");
  CLI11_PARSE(app, argc - eaten, argv + eaten);
  const int result = isthmus::interop::run(settings);
  rte_eal_cleanup();
  return result;
}
