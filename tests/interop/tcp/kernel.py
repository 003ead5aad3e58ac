# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: Isthmus authors
"""The kernel's end: its sockets, its settings, and its own view of a connection (TCP_INFO)."""

from __future__ import annotations

import contextlib
import hashlib
import random
import socket
import struct
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from peer import V4 as OUR_V4
from peer import V6 as OUR_V6

V4, V6 = "10.99.0.1", "fd99::1"
PATIENCE = 30.0
# A prime length, so that no repetition falls on a segment's boundary.
PATTERN = random.Random(20260102).randbytes(1_000_003)
OUR_MAC = "02:00:00:00:00:01"


def ip(*lines: str) -> None:
    """Lines of `ip -batch`."""
    subprocess.run(["ip", "-batch", "-"], input="\n".join(lines) + "\n", text=True, check=True)


def configure(interface: str) -> None:
    """Addresses, and our end as a neighbour that needs not be asked for."""
    ip(f"addr add {V4}/24 dev {interface}",
       f"neigh replace {OUR_V4} lladdr {OUR_MAC} nud permanent dev {interface}")
    configure_v6(interface)


def configure_v6(interface: str) -> None:
    """The same for IPv6, also after a time with an MTU that IPv6 can't live with."""
    ip(f"addr replace {V6}/64 dev {interface} nodad",
       f"neigh replace {OUR_V6} lladdr {OUR_MAC} nud permanent dev {interface}")


def set_mtu(interface: str, mtu: int) -> None:
    ip(f"link set {interface} mtu {mtu}")


def _path(name: str) -> Path:
    return Path("/proc/sys/net/ipv4") / name


@contextlib.contextmanager
def sysctl(**values: int | str) -> Iterator[None]:
    """net.ipv4 settings of this network namespace, for as long as the block lasts."""
    before = {name: _path(name).read_text() for name in values}
    try:
        for name, value in values.items():
            _path(name).write_text(str(value))
        yield
    finally:
        for name, value in before.items():
            _path(name).write_text(value)


def algorithms() -> list[str]:
    """The congestion controls that this kernel has."""
    return _path("tcp_available_congestion_control").read_text().split()


def counters() -> dict[str, int]:
    """This network namespace's TCP counters, as nstat names them without their prefixes."""
    found: dict[str, int] = {}
    for file in ("snmp", "netstat"):
        lines = Path("/proc/self/net", file).read_text().splitlines()
        for names, values in zip(lines[::2], lines[1::2], strict=True):
            if names.startswith("Tcp"):
                found.update(zip(names.split()[1:], map(int, values.split()[1:]), strict=True))
    return found


@dataclass(frozen=True)
class TcpInfo:
    """What struct tcp_info (linux/tcp.h) says; times in microseconds."""

    state: int
    timestamps: bool
    sack: bool
    scaling: bool
    ecn: bool
    snd_mss: int
    rcv_mss: int
    pmtu: int
    rtt: int
    cwnd: int
    retransmits: int
    bytes_acked: int
    bytes_received: int
    segments_out: int
    segments_in: int
    delivered_ce: int
    dsacks: int
    reorderings: int
    out_of_order: int

    @staticmethod
    def of(sock: socket.socket) -> TcpInfo:
        raw = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256).ljust(256, b"\0")
        state, *_, options = struct.unpack_from("6B", raw)
        words = struct.unpack_from("24I", raw, 8)
        acked, received = struct.unpack_from("2Q", raw, 120)
        out, into = struct.unpack_from("2I", raw, 136)
        delivered_ce, = struct.unpack_from("I", raw, 196)
        dsacks, reorderings, out_of_order = struct.unpack_from("3I", raw, 216)
        return TcpInfo(state, bool(options & 1), bool(options & 2), bool(options & 4),
                       bool(options & 8), words[2], words[3], words[13], words[15], words[18],
                       words[23], acked, received, out, into, delivered_ce, dsacks, reorderings,
                       out_of_order)


class Stream:
    """A stream of bytes that was sent or taken, by length and digest."""

    def __init__(self) -> None:
        self.length = 0
        self._digest = hashlib.sha256()

    def add(self, data: bytes | memoryview) -> None:
        self.length += len(data)
        self._digest.update(data)

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()


def pour(sock: socket.socket, size: int, sent: Stream, piece: int = 256 << 10) -> None:
    """Sends so many bytes of the pattern, then FIN."""
    pattern = memoryview(PATTERN)
    while sent.length < size:
        at = sent.length % len(pattern)
        n = sock.send(pattern[at:at + min(piece, size - sent.length)])
        sent.add(pattern[at:at + n])
    sock.shutdown(socket.SHUT_WR)


def drain(sock: socket.socket, taken: Stream) -> None:
    """Takes what comes until FIN."""
    room = memoryview(bytearray(256 << 10))
    while n := sock.recv_into(room):
        taken.add(room[:n])


def stream_socket(v6: bool, cc: str = "", **buffers: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if v6 else socket.AF_INET, socket.SOCK_STREAM)
    sock.settimeout(PATIENCE)
    if cc:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, cc.encode())
    for name, size in buffers.items():
        sock.setsockopt(socket.SOL_SOCKET, getattr(socket, f"SO_{name.upper()}"), size)
    return sock


def listen(port: int, v6: bool = False, cc: str = "", backlog: int = 1024,
           **buffers: int) -> socket.socket:
    sock = stream_socket(v6, cc, **buffers)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((V6 if v6 else V4, port))
    sock.listen(backlog)
    return sock


def connect(port: int, v6: bool = False, cc: str = "", **buffers: int) -> socket.socket:
    sock = stream_socket(v6, cc, **buffers)
    sock.connect((OUR_V6 if v6 else OUR_V4, port))
    return sock
