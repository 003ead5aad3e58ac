// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "namespace.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <fstream>
#include <gtest/gtest.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>

#include <rte_arp.h>
#include <rte_icmp.h>

#include "drivers/vtap/netns.h"

namespace isthmus::test {
namespace {

using drivers::vtap::kVnetHeader;
using drivers::vtap::NetnsScope;
using drivers::vtap::VnetHeader;

ifreq request(const std::string& ifname) {
  ifreq out = {};
  strncpy(out.ifr_name, ifname.c_str(), sizeof(out.ifr_name) - 1);
  return out;
}

sockaddr_in address_of(uint32_t address) {
  sockaddr_in out = {};
  out.sin_family = AF_INET;
  out.sin_addr.s_addr = htonl(address);
  return out;
}

}  // namespace

Namespace::~Namespace() {
  if (control_ >= 0) close(control_);
  if (fd_ >= 0) close(fd_);
}

bool Namespace::make() {
  // A thread of its own, because unshare changes the caller for good.
  std::thread([this] {
    if (unshare(CLONE_NEWNET) != 0) return;
    // Or the kernel would send neighbour discovery whenever it likes.
    std::ofstream("/proc/sys/net/ipv6/conf/default/disable_ipv6") << 1;
    fd_ = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
    control_ = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  }).join();
  return fd_ >= 0 && control_ >= 0;
}

std::string Namespace::path() const {
  return "/proc/self/fd/" + std::to_string(fd_);
}

void Namespace::set_address(const std::string& ifname, uint32_t address) const {
  ifreq ask = request(ifname);
  sockaddr_in value = address_of(address);
  memcpy(&ask.ifr_addr, &value, sizeof(value));
  EXPECT_EQ(ioctl(control_, SIOCSIFADDR, &ask), 0);
  value = address_of(0xffffff00);
  memcpy(&ask.ifr_netmask, &value, sizeof(value));
  EXPECT_EQ(ioctl(control_, SIOCSIFNETMASK, &ask), 0);
  set_up(ifname, true);
}

void Namespace::set_up(const std::string& ifname, bool up) const {
  ifreq ask = request(ifname);
  EXPECT_EQ(ioctl(control_, SIOCGIFFLAGS, &ask), 0);
  ask.ifr_flags = static_cast<short>(up ? ask.ifr_flags | IFF_UP : ask.ifr_flags & ~IFF_UP);
  EXPECT_EQ(ioctl(control_, SIOCSIFFLAGS, &ask), 0);
}

int Namespace::mtu(const std::string& ifname) const {
  ifreq ask = request(ifname);
  return ioctl(control_, SIOCGIFMTU, &ask) == 0 ? ask.ifr_mtu : -1;
}

bool Namespace::exists(const std::string& ifname) const {
  ifreq ask = request(ifname);
  return ioctl(control_, SIOCGIFINDEX, &ask) == 0;
}

bool Namespace::make_persistent_tap(const std::string& ifname) const {
  NetnsScope scope;
  std::string error;
  if (!scope.enter(path(), error)) return false;
  const int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
  ifreq ask = request(ifname);
  ask.ifr_flags = IFF_TAP | IFF_NO_PI;
  const bool made = ioctl(fd, TUNSETIFF, &ask) == 0 && ioctl(fd, TUNSETPERSIST, 1) == 0;
  close(fd);
  return made;
}

PacketSocket::PacketSocket(const Namespace& space, const std::string& ifname) {
  NetnsScope scope;
  std::string error;
  EXPECT_TRUE(scope.enter(space.path(), error)) << error;
  fd_ = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(ETH_P_ALL));
  const int on = 1;
  EXPECT_EQ(setsockopt(fd_, SOL_PACKET, PACKET_VNET_HDR, &on, sizeof(on)), 0);
  sockaddr_ll where = {};
  where.sll_family = AF_PACKET;
  where.sll_protocol = htons(ETH_P_ALL);
  where.sll_ifindex = static_cast<int>(if_nametoindex(ifname.c_str()));
  EXPECT_EQ(bind(fd_, reinterpret_cast<sockaddr*>(&where), sizeof(where)), 0);
}

PacketSocket::~PacketSocket() {
  close(fd_);
}

void PacketSocket::send(const VnetHeader& vnet, const Bytes& frame) const {
  Bytes message(kVnetHeader);
  memcpy(message.data(), &vnet, kVnetHeader);
  message.insert(message.end(), frame.begin(), frame.end());
  EXPECT_EQ(write(fd_, message.data(), message.size()), static_cast<ssize_t>(message.size()))
      << strerror(errno);
}

Bytes PacketSocket::receive_tcp(VnetHeader& vnet) const {
  pollfd wait = {.fd = fd_, .events = POLLIN, .revents = 0};
  while (poll(&wait, 1, 2000) > 0) {
    Bytes message(70000);
    sockaddr_ll from = {};
    socklen_t length = sizeof(from);
    const ssize_t got = recvfrom(fd_, message.data(), message.size(), 0,
                                 reinterpret_cast<sockaddr*>(&from), &length);
    if (got < ssize_t{kVnetHeader} + kTcpHeaders) continue;
    if (from.sll_pkttype == PACKET_OUTGOING) continue;
    message.resize(static_cast<size_t>(got));
    memcpy(&vnet, message.data(), kVnetHeader);
    Bytes frame(message.begin() + kVnetHeader, message.end());
    if (frame[12] == 8 && frame[13] == 0 && ip_of(frame)->next_proto_id == IPPROTO_TCP) {
      return frame;
    }
  }
  return {};
}

Bytes arp_request(uint32_t from, uint32_t to) {
  Bytes out(60);
  auto* ethernet = reinterpret_cast<rte_ether_hdr*>(out.data());
  memset(&ethernet->dst_addr, 0xff, 6);
  ethernet->src_addr = kOurMac;
  ethernet->ether_type = htons(RTE_ETHER_TYPE_ARP);
  auto* arp = reinterpret_cast<rte_arp_hdr*>(ethernet + 1);
  arp->arp_hardware = htons(RTE_ARP_HRD_ETHER);
  arp->arp_protocol = htons(RTE_ETHER_TYPE_IPV4);
  arp->arp_hlen = 6;
  arp->arp_plen = 4;
  arp->arp_opcode = htons(RTE_ARP_OP_REQUEST);
  arp->arp_data.arp_sha = kOurMac;
  arp->arp_data.arp_sip = htonl(from);
  arp->arp_data.arp_tip = htonl(to);
  return out;
}

Bytes echo_request(uint32_t from, uint32_t to) {
  Bytes out(14 + 20 + 8 + 32);
  auto* ethernet = reinterpret_cast<rte_ether_hdr*>(out.data());
  ethernet->dst_addr = kPeerMac;
  ethernet->src_addr = kOurMac;
  ethernet->ether_type = htons(RTE_ETHER_TYPE_IPV4);
  auto* ip = reinterpret_cast<rte_ipv4_hdr*>(ethernet + 1);
  ip->version_ihl = RTE_IPV4_VHL_DEF;
  ip->total_length = htons(static_cast<uint16_t>(out.size() - 14));
  ip->time_to_live = 64;
  ip->next_proto_id = IPPROTO_ICMP;
  ip->src_addr = htonl(from);
  ip->dst_addr = htonl(to);
  ip->hdr_checksum = rte_ipv4_cksum(ip);
  auto* icmp = reinterpret_cast<rte_icmp_hdr*>(ip + 1);
  icmp->icmp_type = RTE_IP_ICMP_ECHO_REQUEST;
  icmp->icmp_cksum = static_cast<uint16_t>(~rte_raw_cksum(icmp, 40));
  return out;
}

}  // namespace isthmus::test
