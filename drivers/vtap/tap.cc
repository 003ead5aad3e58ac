// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "drivers/vtap/tap.h"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>
#include <utility>

#include "drivers/vtap/netns.h"
#include "drivers/vtap/vnet_header.h"

namespace isthmus::drivers::vtap {
namespace {

ifreq request(const std::string& ifname) {
  ifreq out = {};
  memcpy(out.ifr_name, ifname.data(), std::min(ifname.size(), sizeof(out.ifr_name) - 1));
  return out;
}

std::string failure(const std::string& ifname, const char* what) {
  return "interface " + ifname + ": " + what + ": " + strerror(errno);
}

// TUNSETIFF. An existing interface wants the multi-queue flag that it was created with, so a
// single-queue user accepts either.
int set_interface(int fd, const std::string& ifname, bool multi_queue) {
  ifreq name = request(ifname);
  const short base = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
  name.ifr_flags = static_cast<short>(multi_queue ? base | IFF_MULTI_QUEUE : base);
  int result = ioctl(fd, TUNSETIFF, &name);
  if (result != 0 && errno == EINVAL && !multi_queue) {
    name.ifr_flags = static_cast<short>(base | IFF_MULTI_QUEUE);
    result = ioctl(fd, TUNSETIFF, &name);
  }
  return result;
}

}  // namespace

Tap::Tap(Tap&& other) noexcept
    : config_(std::move(other.config_)), control_(std::exchange(other.control_, -1)) {}

Tap& Tap::operator=(Tap&& other) noexcept {
  if (this != &other) {
    close();
    config_ = std::move(other.config_);
    control_ = std::exchange(other.control_, -1);
  }
  return *this;
}

void Tap::close() {
  if (control_ >= 0) ::close(control_);
  control_ = -1;
}

int Tap::attach_queue(std::string& error) {
  const int fd = ::open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0) {
    error = std::string("/dev/net/tun: ") + strerror(errno);
    return -1;
  }
  int header = kVnetHeader;
  const unsigned offload = config_.offload ? TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 : 0;
  const char* step = nullptr;
  if (set_interface(fd, config_.ifname, config_.multi_queue) != 0) {
    step = "attach";
  } else if (ioctl(fd, TUNSETVNETHDRSZ, &header) != 0) {
    step = "virtio-net header";
  } else if (ioctl(fd, TUNSETOFFLOAD, offload) != 0) {
    step = "offloads";
  } else if (config_.sndbuf > 0 && ioctl(fd, TUNSETSNDBUF, &config_.sndbuf) != 0) {
    step = "send buffer";
  }
  if (step == nullptr) return fd;
  error = failure(config_.ifname, step);
  ::close(fd);
  return -1;
}

int Tap::open(const TapConfig& config, std::string& error) {
  close();
  if (config.ifname.empty() || config.ifname.size() >= IFNAMSIZ) {
    error = "interface name '" + config.ifname + "' must have 1 to 15 characters";
    return -1;
  }
  config_ = config;
  NetnsScope scope;
  if (!scope.enter(config.netns, error)) return -1;
  control_ = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (control_ < 0) {
    error = failure(config.ifname, "socket");
    return -1;
  }
  const bool created = if_nametoindex(config.ifname.c_str()) == 0;
  int fd = attach_queue(error);
  if (fd >= 0 && !configure(created, error)) {
    ::close(fd);
    fd = -1;
  }
  if (fd < 0) close();
  return fd;
}

int Tap::open_queue(std::string& error) {
  NetnsScope scope;
  if (!scope.enter(config_.netns, error)) return -1;
  return attach_queue(error);
}

bool Tap::configure(bool created, std::string& error) const {
  if (config_.set_peer_mac && !set_mac(config_.peer_mac, error)) return false;
  if (config_.mtu != 0 && !set_mtu(config_.mtu, error)) return false;
  return !created || set_up(true, error);
}

bool Tap::running() const {
  ifreq ask = request(config_.ifname);
  if (control_ < 0 || ioctl(control_, SIOCGIFFLAGS, &ask) != 0) return false;
  return (ask.ifr_flags & IFF_UP) != 0 && (ask.ifr_flags & IFF_RUNNING) != 0;
}

bool Tap::set_up(bool up, std::string& error) const {
  ifreq ask = request(config_.ifname);
  if (ioctl(control_, SIOCGIFFLAGS, &ask) == 0) {
    ask.ifr_flags = static_cast<short>(up ? ask.ifr_flags | IFF_UP : ask.ifr_flags & ~IFF_UP);
    if (ioctl(control_, SIOCSIFFLAGS, &ask) == 0) return true;
  }
  error = failure(config_.ifname, up ? "set up" : "set down");
  return false;
}

uint16_t Tap::mtu() const {
  ifreq ask = request(config_.ifname);
  if (control_ < 0 || ioctl(control_, SIOCGIFMTU, &ask) != 0) return 0;
  return static_cast<uint16_t>(ask.ifr_mtu);
}

bool Tap::set_mtu(uint16_t mtu, std::string& error) const {
  ifreq ask = request(config_.ifname);
  ask.ifr_mtu = mtu;
  if (ioctl(control_, SIOCSIFMTU, &ask) == 0) return true;
  error = failure(config_.ifname, "MTU");
  return false;
}

bool Tap::mac(rte_ether_addr& out) const {
  ifreq ask = request(config_.ifname);
  if (control_ < 0 || ioctl(control_, SIOCGIFHWADDR, &ask) != 0) return false;
  memcpy(&out, ask.ifr_hwaddr.sa_data, sizeof(out));
  return true;
}

bool Tap::set_mac(const rte_ether_addr& mac, std::string& error) const {
  ifreq ask = request(config_.ifname);
  ask.ifr_hwaddr.sa_family = ARPHRD_ETHER;
  memcpy(ask.ifr_hwaddr.sa_data, &mac, sizeof(mac));
  if (ioctl(control_, SIOCSIFHWADDR, &ask) == 0) return true;
  error = failure(config_.ifname, "MAC address");
  return false;
}

}  // namespace isthmus::drivers::vtap
