// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "credentials.h"

#include <algorithm>
#include <filesystem>
#include <fmt/format.h>
#include <fstream>
#include <set>
#include <stdexcept>
#include <vector>

#include "tls/test_ca.h"

namespace isthmus::app {
namespace {

namespace fs = std::filesystem;

using Store = std::shared_ptr<const tls::CredentialStore>;

// How a folder names a key, its certificate and the roots.
struct Naming {
  const char* key;
  const char* certificate;
  const char* roots;
};
constexpr Naming kNamings[] = {{"-key.pem", "-cert.pem", "root-cert.pem"},
                               {".key", ".crt", "ca.crt"}};

constexpr const char* kRevoked = "ca-crl.pem";

tls::TrustDomains trust_domains(const config::Config& config) {
  return {config.node.trust_domain, config.node.trust_domain_aliases};
}

Store store_of(tls::Loaded<Store> loaded) {
  if (!loaded) {
    throw std::runtime_error(fmt::format("{}: {}", loaded.error.file, loaded.error.reason));
  }
  return *loaded.value;
}

tls::NamedText named_text(const fs::path& path) {
  return {path.string(), read_file(path)};
}

void find_pairs(const fs::path& folder, const Naming& naming, tls::CredentialFiles& files) {
  std::set<fs::path> names;  // in order, so that the first error is always the same one
  for (const auto& entry : fs::directory_iterator(folder)) names.insert(entry.path());
  for (const auto& path : names) {
    std::string name = path.filename();
    const std::string_view ending = naming.key;
    if (name.size() <= ending.size() || !std::string_view(name).ends_with(ending)) continue;
    name.resize(name.size() - ending.size());
    const fs::path certificate = folder / (name + naming.certificate);
    // The CA's own key may lie there too.
    if (certificate.filename() == naming.roots || !fs::exists(certificate)) continue;
    files.pairs.push_back({named_text(certificate), named_text(path)});
  }
}

Store from_folder(const fs::path& folder, const tls::TrustDomains& domains) {
  if (!fs::is_directory(folder)) {
    throw std::runtime_error(fmt::format("{}: not a folder", folder.string()));
  }
  tls::CredentialFiles files;
  for (const auto& naming : kNamings) {
    if (files.roots.file.empty() && fs::exists(folder / naming.roots)) {
      files.roots = named_text(folder / naming.roots);
    }
    find_pairs(folder, naming, files);
  }
  if (files.roots.file.empty()) {
    throw std::runtime_error(
        fmt::format("{}: has neither root-cert.pem nor ca.crt", folder.string()));
  }
  if (fs::exists(folder / kRevoked)) files.revoked = named_text(folder / kRevoked);
  return store_of(tls::CredentialStore::load(files, domains));
}

void write_pem(const fs::path& path, const std::string& text, fs::perms permissions) {
  std::ofstream file(path, std::ios::trunc);
  fs::permissions(path, permissions);
  file << text;
  if (!file.flush()) throw std::runtime_error(fmt::format("{}: cannot be written", path.string()));
}

std::set<std::string> local_identities(const config::Config& config, const mesh::Model& model) {
  std::set<std::string> uris;
  for (const auto& workload : model.workloads) {
    if (workload.node == config.node.name) uris.insert(workload.identity());
  }
  return uris;
}

tls::TestCa test_ca(const config::TestCa& settings, tls::WallTime from, tls::WallTime to) {
  auto ca = settings.root_dir.empty()
                ? tls::TestCa::make("Isthmus test CA", from, to)
                : tls::TestCa::load(read_file(settings.root_dir + "/root-cert.pem"),
                                    read_file(settings.root_dir + "/root-key.pem"));
  if (!ca) {
    throw std::runtime_error(fmt::format("test_ca: no root from '{}'", settings.root_dir));
  }
  return std::move(*ca);
}

// Leaves for each identity of a workload on our node, and for nobody else.
Store from_test_ca(const config::Config& config, const mesh::Model& model, tls::WallTime now) {
  constexpr std::chrono::minutes kClockSkew{5};
  const config::TestCa& settings = *config.identity.test_ca;
  const tls::WallTime from = now - kClockSkew;
  const tls::WallTime to = now + std::chrono::seconds(settings.ttl_seconds);
  const tls::TestCa ca = test_ca(settings, from, to);
  tls::CredentialFiles files;
  files.roots = {"test_ca", ca.root_pem()};
  for (const auto& uri : local_identities(config, model)) {
    const auto identity = tls::Identity::parse(uri);
    tls::LeafOptions leaf;
    leaf.uris = {uri};
    leaf.not_before = from;
    leaf.not_after = to;
    const auto pair = identity ? ca.issue(leaf) : std::nullopt;
    if (!pair) throw std::runtime_error(fmt::format("test_ca: cannot issue '{}'", uri));
    files.pairs.push_back({{uri, pair->certificate}, {uri, pair->key}});
    if (settings.write_pem_dir.empty()) continue;
    const fs::path folder = settings.write_pem_dir;
    fs::create_directories(folder);
    const std::string name =
        fmt::format("{}.{}", identity->namespace_(), identity->service_account());
    write_pem(folder / "root-cert.pem", ca.root_pem(), fs::perms(0644));
    write_pem(folder / (name + "-cert.pem"), pair->certificate, fs::perms(0644));
    write_pem(folder / (name + "-key.pem"), pair->key, fs::perms(0600));
  }
  return store_of(tls::CredentialStore::load(files, trust_domains(config)));
}

}  // namespace

Store load_credentials(const config::Config& config, const mesh::Model& model, tls::WallTime now) {
  if (config.identity.test_ca) return from_test_ca(config, model, now);
  if (!config.identity.pem_dir.empty()) {
    return from_folder(config.identity.pem_dir, trust_domains(config));
  }
  // Roots are required of a store, so one whose key nobody keeps stands in: it vouches for nothing.
  const auto ca = tls::TestCa::make("none", now, now + std::chrono::hours(1));
  if (!ca) throw std::runtime_error("OpenSSL cannot make a key");
  return store_of(
      tls::CredentialStore::load({{"none", ca->root_pem()}, {}}, trust_domains(config)));
}

}  // namespace isthmus::app
