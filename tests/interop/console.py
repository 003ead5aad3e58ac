# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: Isthmus authors
"""What the console says of TCP connections, held against what their other ends see."""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from collections.abc import Callable
from typing import Any

from tests.e2e import plan
from tests.interop.cases import expect, expect_equal
from tests.interop.node import PEER, POD, Node
from tests.interop.peer import Peer, accepted

APP = 8080
SECONDS = 5.0


def _wait(true: Callable[[], bool]) -> None:
    limit = time.monotonic() + SECONDS
    while not true() and time.monotonic() < limit:
        time.sleep(0.01)


def _only(node: Node, text: str) -> dict[str, Any]:
    """The one connection whose line has that text, in full."""
    listed = node.gateway.ask_json(f"show tcp {text}")
    expect_equal(listed["matched"], 1, f"connections with {text}")
    shown: dict[str, Any] = node.gateway.ask_json(
        f"show tcp {listed['connections'][0]['connection']}")
    return shown


def as_the_kernel_has_it(node: Node) -> None:
    """show tcp N agrees with the kernel at the other end."""
    with contextlib.closing(node.dial()) as sock:
        sock.sendall(b"\x16\x03\x01")  # of a TLS record that does not go on
        name = "%s:%d" % sock.getsockname()
        _wait(lambda: _only(node, name)["totals"]["bytes_received"] == 3)
        shown = _only(node, name)
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 232)
    expect_equal(shown["remote"], name, "remote")
    expect_equal(shown["local"], f"{POD.address}:{plan.HBONE_PORT}", "local")
    expect_equal(shown["state"], "ESTABLISHED", "state")
    expect_equal(shown["totals"]["bytes_received"], 3, "bytes received")
    expect_equal(shown["limit"]["reason"], "application", "limit")
    options, scales = info[5], info[6]
    expect_equal((shown["path"]["timestamps"], shown["path"]["sack"]),
                 (bool(options & 1), bool(options & 2)), "timestamps and SACK")
    # The kernel's sending scale is our receiving one.
    expect_equal((shown["path"]["receive_scale"], shown["path"]["send_scale"]),
                 (scales & 15, scales >> 4), "window scales")
    expect_equal(shown["path"]["mss"], struct.unpack_from("I", info, 16)[0], "MSS")
    kernels_window, = struct.unpack_from("I", info, 228)
    expect_equal(shown["receiver"]["window"] >> shown["path"]["receive_scale"],
                 kernels_window >> shown["path"]["receive_scale"], "window offered")


def found_by_state(node: Node) -> None:
    """show tcp finds connections by address, port and state."""
    with contextlib.closing(node.dial()) as sock:
        name = "%s:%d" % sock.getsockname()
        rows = node.gateway.ask_json("show tcp ESTABLISHED")["connections"]
        expect(any(row["remote"] == name for row in rows), f"no {name} among {rows}")
        rows = node.gateway.ask_json("show tcp SYN-SENT")["connections"]
        expect(not any(row["remote"] == name for row in rows), f"{name} in SYN-SENT")
        expect(name in node.gateway.ask(f"show tcp :{plan.HBONE_PORT}"), "not found by its port")
    _wait(lambda: node.gateway.ask_json(f"show tcp {name}")["matched"] == 0)
    expect_equal(node.gateway.ask_json(f"show tcp {name}")["matched"], 0, "when it is gone")


def why_it_waits(node: Node) -> None:
    """show tcp N says that it is the peer's window that holds it back."""
    with node.listen(APP) as listener, Peer(node) as peer:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        peer.open(1, APP)
        with accepted(listener) as app:
            peer.data(1, bytes(16_000))
            to_app = "%s:%d" % app.getsockname()
            _wait(lambda: _only(node, to_app)["limit"]["reason"] == "receive window")
            shown = _only(node, to_app)
            expect_equal(shown["limit"]["reason"], "receive window", "limit")
            expect(shown["sender"]["not_sent"] > 0, "nothing waits")
            expect(shown["sender"]["send_window"] < 4096, f"{shown['sender']['send_window']}")
            text = node.gateway.ask(f"show tcp {shown['connection']}")
            expect("reason receive window" in text and "cwnd" in text, text)


def unknown(node: Node) -> None:
    """show tcp N refuses a number that no connection has."""
    expect("no such connection" in node.gateway.ask("show tcp 4000000000"), "something was shown")


def shares(node: Node) -> None:
    """show limits has what pod and client hold, and nothing once they have let go."""
    def held(*parts: str) -> list[tuple[Any, ...]]:
        rows = node.gateway.ask_json("show limits")
        return sorted(tuple(row[part] for part in ("as", *parts)) for row in rows
                      if row["address"] in {POD.address, PEER.address})

    _wait(lambda: held() == [])
    with node.listen(APP) as listener, Peer(node) as peer:
        peer.open(1, APP)
        peer.open(3, APP)
        with accepted(listener), accepted(listener):
            expect_equal(held("address", "relayed", "tunnels"),
                         [("client", PEER.address, 2, 1), ("destination", POD.address, 2, 1)], "held")
            text = node.gateway.ask("show limits")
            expect("RELAYED LIMIT" in text and "TUNNELS LIMIT" in text, text)
    _wait(lambda: held() == [])
    expect_equal(held(), [], "when both are gone")


CASES = (as_the_kernel_has_it, found_by_state, why_it_waits, unknown, shares)
