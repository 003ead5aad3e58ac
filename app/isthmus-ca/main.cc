// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// isthmus-ca: writes a test CA and leaf certificates with SPIFFE ids as PEM files, for peers of a
// gateway in quickstarts and tests.
//
//   isthmus-ca --out DIR [--trust-domain cluster.local] NAME=spiffe://TD/ns/NS/sa/SA [...]
//              [--days N] [--expired NAME ...]
//
// Writes ca.crt, ca.key and, for each NAME, NAME.crt and NAME.key: the files that a gateway reads.
// The CA's two are there under Istio's names as well, root-cert.pem and root-key.pem. A folder that
// has a CA already keeps it.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cctype>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <fmt/format.h>
#include <fstream>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>
#include <sys/stat.h>
#include <unistd.h>
#include <vector>

#include "tls/test_ca.h"

namespace {

using isthmus::tls::Identity;
using isthmus::tls::LeafOptions;
using isthmus::tls::TestCa;
using isthmus::tls::WallTime;

struct Arguments {
  std::string out;
  std::string trust_domain = "cluster.local";
  int days = 30;
  std::vector<std::string> leaves;   // NAME=URI
  std::vector<std::string> expired;  // NAME
};

struct Leaf {
  std::string name;
  std::string uri;
};

// A file name of our own making, never a path.
bool valid_name(std::string_view name) {
  return !name.empty() && name != "ca" && name.front() != '.' &&
         std::all_of(name.begin(), name.end(), [](char c) {
           return (std::isalnum(static_cast<unsigned char>(c)) != 0) || c == '-' || c == '_' ||
                  c == '.';
         });
}

std::optional<Leaf> parse_leaf(const std::string& text) {
  const size_t equals = text.find('=');
  if (equals == std::string::npos) return {};
  Leaf leaf{text.substr(0, equals), text.substr(equals + 1)};
  if (!valid_name(leaf.name) || !Identity::parse(leaf.uri)) return {};
  return leaf;
}

bool write_file(const std::filesystem::path& path, std::string_view text, mode_t mode) {
  const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
  const bool good = fd >= 0 && fchmod(fd, mode) == 0 &&
                    write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size());
  if (!good) fmt::print(stderr, "isthmus-ca: {}: {}\n", path.string(), std::strerror(errno));
  if (fd >= 0) close(fd);
  return good;
}

std::optional<std::string> read_file(const std::filesystem::path& path) {
  std::ifstream file(path);
  if (!file) return {};
  return std::string(std::istreambuf_iterator<char>(file), {});
}

std::optional<TestCa> find_or_make_ca(const std::filesystem::path& folder,
                                      const std::string& trust_domain, WallTime not_before,
                                      WallTime not_after) {
  const auto root = read_file(folder / "ca.crt");
  const auto key = read_file(folder / "ca.key");
  if (root && key) return TestCa::load(*root, *key);
  auto ca = TestCa::make(trust_domain, not_before, not_after);
  if (!ca || !write_file(folder / "ca.crt", ca->root_pem(), 0644) ||
      !write_file(folder / "ca.key", ca->key_pem(), 0600) ||
      !write_file(folder / "root-cert.pem", ca->root_pem(), 0644) ||
      !write_file(folder / "root-key.pem", ca->key_pem(), 0600)) {
    return {};
  }
  return ca;
}

bool write_pair(const std::filesystem::path& folder, const std::string& name,
                const std::string& certificate, const std::string& key) {
  return write_file(folder / (name + ".crt"), certificate, 0644) &&
         write_file(folder / (name + ".key"), key, 0600);
}

// Empty, with a message, when an argument is wrong.
std::optional<std::vector<Leaf>> leaves_of(const Arguments& arguments) {
  std::vector<Leaf> leaves;
  for (const std::string& text : arguments.leaves) {
    auto leaf = parse_leaf(text);
    if (!leaf) {
      fmt::print(stderr, "isthmus-ca: {}: not NAME=spiffe://TD/ns/NS/sa/SA\n", text);
      return {};
    }
    leaves.push_back(std::move(*leaf));
  }
  for (const std::string& name : arguments.expired) {
    if (std::none_of(leaves.begin(), leaves.end(),
                     [&name](const Leaf& leaf) { return leaf.name == name; })) {
      fmt::print(stderr, "isthmus-ca: --expired {}: there is no such name\n", name);
      return {};
    }
  }
  return leaves;
}

int run(const Arguments& arguments) {
  const auto leaves = leaves_of(arguments);
  if (!leaves) return 2;
  const WallTime now = std::chrono::floor<std::chrono::seconds>(std::chrono::system_clock::now());
  const auto lifetime = std::chrono::days(arguments.days);
  // Peers whose clocks are a little behind must not find the certificates too young.
  const WallTime start = now - std::chrono::days(1);
  std::error_code error;
  std::filesystem::create_directories(arguments.out, error);
  const auto ca = find_or_make_ca(arguments.out, arguments.trust_domain, start, now + lifetime);
  if (!ca) {
    fmt::print(stderr, "isthmus-ca: {}: no CA there, and none could be made\n", arguments.out);
    return 1;
  }
  for (const Leaf& leaf : *leaves) {
    const bool expired = std::find(arguments.expired.begin(), arguments.expired.end(), leaf.name) !=
                         arguments.expired.end();
    LeafOptions options;
    options.uris = {leaf.uri};
    options.not_before = start;
    options.not_after = expired ? now - std::chrono::hours(1) : now + lifetime;
    const auto pair = ca->issue(options);
    if (!pair || !write_pair(arguments.out, leaf.name, pair->certificate, pair->key)) return 1;
    fmt::print("{} {}{}\n", leaf.name, leaf.uri, expired ? " (expired)" : "");
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  Arguments arguments;
  CLI::App app("Makes a test CA and SPIFFE identities as PEM files. Not for production.",
               "isthmus-ca");
  app.add_option("--out", arguments.out, "Folder to write to; made if missing")->required();
  app.add_option("--trust-domain", arguments.trust_domain, "Name of the CA")->capture_default_str();
  app.add_option("--days", arguments.days, "Days that certificates are valid")
      ->check(CLI::Range(1, 3650))
      ->capture_default_str();
  app.add_option("--expired", arguments.expired, "Names whose certificates have expired");
  app.add_option("NAME=ID", arguments.leaves, "File name and SPIFFE id of a leaf");
  CLI11_PARSE(app, argc, argv);
  return run(arguments);
}
