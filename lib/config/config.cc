// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "config/config.h"

#include "config/fields.h"

namespace isthmus::config {

namespace {

constexpr size_t kMaxBytes = size_t{4} << 20;

// Paths are meant from the folder of the file that names them.
void resolve(std::string& path, std::string_view file) {
  const size_t slash = file.rfind('/');
  if (path.empty() || path.front() == '/' || slash == std::string_view::npos) return;
  path.insert(0, file.substr(0, slash + 1));
}

void resolve_paths(Config& config, std::string_view file) {
  resolve(config.mesh_file, file);
  resolve(config.identity.pem_dir, file);
  if (config.identity.test_ca) {
    resolve(config.identity.test_ca->root_dir, file);
    resolve(config.identity.test_ca->write_pem_dir, file);
  }
  resolve(config.console.socket, file);
  if (config.access_log.file != "-") resolve(config.access_log.file, file);
  for (Port& port : config.ports) resolve(port.device.path, file);
}

}  // namespace

packet::Prefix InterfaceAddress::network() const {
  auto bytes = address.bytes();
  const unsigned kept = length + (address.is_v4() ? 96U : 0U);
  for (unsigned bit = kept; bit < 128; ++bit) {
    bytes[bit / 8] &= static_cast<uint8_t>(~(0x80U >> (bit % 8)));
  }
  return {packet::IpAddress::v6(bytes.data()), length};
}

std::variant<Config, yaml::Error> parse(std::string_view text, std::string_view file) {
  try {
    Document document;
    const yaml::Node root = yaml::parse(text, {.bytes = kMaxBytes});
    document.places.root = &root;
    yaml::read_map<Document>(root, document_fields(), document);
    check(document);
    resolve_paths(document.config, file);
    return std::move(document.config);
  } catch (yaml::Failure& failure) {
    failure.error.file = file;
    return failure.error;
  }
}

std::vector<std::string> keys() {
  std::vector<std::string> out;
  yaml::list_keys<Document>(document_fields(), "", out);
  return out;
}

}  // namespace isthmus::config
