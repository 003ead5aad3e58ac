# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: Isthmus authors
"""Packet captures as witnesses: tcpdump beside the pods, between the nodes, and on the Geneve
legs."""

from __future__ import annotations

import re
import signal
import struct
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.topology.lab import Namespace, wait_for

GENEVE_PORT = 6081
_TCP, _UDP, _ICMP = 6, 17, 1


class Capture:
    """tcpdump from construction to stop()."""

    def __init__(self, netns: Namespace, interface: str, filter_: str = "", name: str = "") -> None:
        # A name of its own: an earlier capture's log says that it listens, too.
        label = f"{name or netns.name}-{len(netns.lab.processes)}"
        self.file = netns.lab.state / f"{label}.pcap"
        self.process = netns.start(f"tcpdump-{label}", "tcpdump", "-i", interface, "-n", "-U",
                                   "--immediate-mode", "-B", "16384", "-s", "0", "-Z", "root",
                                   "-w", self.file, *filter_.split())
        wait_for(f"capture of {label}", lambda: "listening on" in self.process.output(), 10)

    def stop(self) -> None:
        self.process.stop(sign=signal.SIGINT)

    def has(self, marker: str) -> bool:
        """Whether the bytes went past, in any packet."""
        return marker.encode() in self.file.read_bytes()

    def frames(self) -> list[bytes]:
        """Its packets, with the link layer of the interface in front."""
        return frames(self.file)


def frames(file: Path) -> list[bytes]:
    """The packets of a pcap file in this machine's byte order; a last cut one is left out."""
    data = file.read_bytes()
    at, found = 24, []
    while at + 16 <= len(data):
        (length,) = struct.unpack_from("=I", data, at + 8)
        found.append(data[at + 16:at + 16 + length])
        at += 16 + length
    return found


_SUITES = {0x1301: "TLS_AES_128_GCM_SHA256", 0x1302: "TLS_AES_256_GCM_SHA384",
           0x1303: "TLS_CHACHA20_POLY1305_SHA256"}


def cipher(packets: list[bytes]) -> str | None:
    """The cipher suite of the first TLS ServerHello that begins a segment."""
    for packet in packets:
        # Handshake record, ServerHello, version, 32 bytes of random, session id, cipher suite.
        if match := re.search(rb"\x16\x03\x03..\x02...\x03\x03.{32}(.)", packet, re.DOTALL):
            at = match.end() + match.group(1)[0]
            return _SUITES.get(int.from_bytes(packet[at:at + 2], "big"))
    return None


@dataclass(frozen=True)
class Inner:
    """What a Geneve packet carried."""

    vni: int
    outer_source: str
    kind: str  # "tcp", "icmp", "arp request", "arp reply", "ipv6", or a number
    source: str = ""
    destination: str = ""
    tcp_flags: int = 0

    @property
    def is_syn(self) -> bool:
        return self.kind == "tcp" and self.tcp_flags & 0x17 == 0x02


def geneve(frame: bytes) -> Inner | None:
    """The inner packet of an Ethernet frame that is Geneve over IPv4; else None."""
    if frame[12:14] != b"\x08\x00" or frame[23] != _UDP:
        return None
    udp = 14 + (frame[14] & 15) * 4
    if struct.unpack_from("!H", frame, udp + 2)[0] != GENEVE_PORT:
        return None
    tunnel = frame[udp + 8:]
    vni = int.from_bytes(tunnel[4:7], "big")
    inner = tunnel[8 + (tunnel[0] & 0x3F) * 4:]
    outer_source = address(frame[26:30])
    kind, body = inner[12:14], inner[14:]
    if kind == b"\x08\x06":
        what = "arp reply" if body[6:8] == b"\x00\x02" else "arp request"
        return Inner(vni, outer_source, what, address(body[14:18]), address(body[24:28]))
    if kind == b"\x86\xdd":
        return Inner(vni, outer_source, "ipv6")
    protocol, ends = body[9], (address(body[12:16]), address(body[16:20]))
    if protocol == _TCP:
        return Inner(vni, outer_source, "tcp", *ends, body[(body[0] & 15) * 4 + 13])
    return Inner(vni, outer_source, "icmp" if protocol == _ICMP else str(protocol), *ends)


def address(packed: bytes) -> str:
    return ".".join(map(str, packed))
