// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// A folder of PEM files, as an administrator leaves it in the middle of writing, too.
#include "credentials.h"

#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <stdexcept>
#include <string>
#include <unistd.h>

#include "tls/test_ca.h"

namespace isthmus::app {
namespace {

namespace fs = std::filesystem;

constexpr tls::WallTime kNow = std::chrono::sys_days(std::chrono::year(2026) / 6 / 1);

class CredentialFolder : public testing::Test {
 protected:
  CredentialFolder() {
    fs::create_directory(folder_);
    write("root-cert.pem", ca_.root_pem());
    config_.identity.pem_dir = folder_.string();
  }
  ~CredentialFolder() override { fs::remove_all(folder_); }

  void write(const std::string& name, const std::string& text) {
    std::ofstream(folder_ / name, std::ios::trunc) << text;
  }
  // What load_credentials() throws; empty: nothing.
  std::string error() {
    try {
      EXPECT_NE(load_credentials(config_, {}, kNow), nullptr);
    } catch (const std::runtime_error& thrown) {
      return thrown.what();
    }
    return {};
  }

  const fs::path folder_ =
      fs::temp_directory_path() / ("isthmus_credentials_test." + std::to_string(getpid()));
  const tls::TestCa ca_ = *tls::TestCa::make("root", kNow, kNow + std::chrono::hours(1));
  config::Config config_;
};

TEST_F(CredentialFolder, WithoutRevocationListsIsTaken) {
  EXPECT_EQ(error(), "");
  write("ca-crl.pem", ca_.revoke({}, kNow));
  EXPECT_EQ(error(), "");
}

TEST_F(CredentialFolder, WhoseRevocationListsWereCutOffIsRefused) {
  const std::string list = ca_.revoke({}, kNow);
  const std::string file = (folder_ / "ca-crl.pem").string();
  for (const std::string& text : {std::string(), std::string(" \n\t\n")}) {
    write("ca-crl.pem", text);
    EXPECT_EQ(error(), file + ": no revocation list in PEM form") << '"' << text << '"';
  }
  write("ca-crl.pem", list.substr(0, list.size() / 2));
  EXPECT_NE(error(), "");
}

}  // namespace
}  // namespace isthmus::app
