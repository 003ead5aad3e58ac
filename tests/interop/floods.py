# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: Isthmus authors
"""The known floods of HTTP/2 and TLS against a real gateway: each is cut off by its code and
counted by its reason, while a tunnel of somebody else goes on."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from tests.e2e.topology.lab import wait_for
from tests.interop import peer as wire
from tests.interop.cases import expect, expect_equal
from tests.interop.node import POD, Node
from tests.interop.peer import PREFACE, Peer, accepted, read_exactly

APP, CLOSED = 8080, 9999
# The docs' table says how many each takes; these are a few times as many.
MANY = 3000
AUTHORITY = f"{POD.address}:{CLOSED}"

Frames = Iterator[bytes]


def _raw(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return (len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big")
            + payload)


DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = (
    0, 1, 2, 3, 4, 6, 7, 8, 9)
END_HEADERS, ACK, PADDED = 4, 1, 8


def _connect() -> bytes:
    """A CONNECT's header block in literals, so that no table is needed."""
    name = AUTHORITY.encode()
    return b"\x02\x07CONNECT\x01" + bytes((len(name),)) + name


def rapid_reset(_: Peer) -> Frames:
    for stream in range(1, 2 * MANY, 2):
        yield (_raw(HEADERS, END_HEADERS, stream, _connect())
               + _raw(RST_STREAM, 0, stream, (8).to_bytes(4, "big")))


def made_you_reset(_: Peer) -> Frames:
    for stream in range(1, 2 * MANY, 2):
        yield (_raw(HEADERS, END_HEADERS, stream, _connect())
               + _raw(WINDOW_UPDATE, 0, stream, bytes(4)))


def continuations(_: Peer) -> Frames:
    yield _raw(HEADERS, 0, 1, _connect())
    for _i in range(MANY):
        yield _raw(CONTINUATION, 0, 1)


def endless_block(_: Peer) -> Frames:
    yield _raw(HEADERS, 0, 1, _connect())
    for _i in range(8):
        yield _raw(CONTINUATION, 0, 1, b"\x00\x01a\x7f\x80\x3f" + bytes(16_000))


def hpack_bomb(_: Peer) -> Frames:
    # A value of 4000 bytes enters the table and is then named by a byte each time.
    bomb = b"\x40\x01a\x7f\xa1\x1e" + b"x" * 4000 + b"\xbe" * 4000
    yield _raw(HEADERS, END_HEADERS, 1, _connect() + bomb)


def pings(_: Peer) -> Frames:
    for _i in range(MANY):
        yield _raw(PING, 0, 0, bytes(8))


def settings(_: Peer) -> Frames:
    for _i in range(MANY):
        yield _raw(SETTINGS, 0, 0)


def long_settings(_: Peer) -> Frames:
    yield _raw(SETTINGS, 0, 0, b"".join(b"\0\4" + (n % 99).to_bytes(4, "big") for n in range(2000)))


def acks(_: Peer) -> Frames:
    for _i in range(MANY):
        yield _raw(SETTINGS, ACK, 0) + _raw(PING, ACK, 0, bytes(8))


def goaways(_: Peer) -> Frames:
    for _i in range(MANY):
        yield _raw(GOAWAY, 0, 0, bytes(8))


def priorities(_: Peer) -> Frames:
    for _i in range(MANY):
        yield _raw(PRIORITY, 0, 3, (1).to_bytes(4, "big") + b"\1")


def unknown(_: Peer) -> Frames:
    for _i in range(MANY):
        yield _raw(0xf0, 0, 0, b"grease")


def empty_data(peer: Peer) -> Frames:
    peer.open(1, APP)
    for _i in range(MANY):
        yield _raw(DATA, 0, 1)


def padding(peer: Peer) -> Frames:
    peer.open(1, APP)
    for _i in range(200):
        yield _raw(DATA, PADDED, 1, b"\xff" + bytes(255))


def window_updates(peer: Peer) -> Frames:
    peer.open(1, APP)
    for _i in range(MANY):
        yield _raw(WINDOW_UPDATE, 0, 1, (1).to_bytes(4, "big"))


@dataclass(frozen=True)
class Flood:
    title: str
    frames: Callable[[Peer], Frames]
    reason: str


FLOODS = (
    Flood("rapid reset", rapid_reset, "rapid_reset"),
    Flood("MadeYouReset", made_you_reset, "forced_resets"),
    Flood("CONTINUATION without end", continuations, "continuation_flood"),
    Flood("a header block without end", endless_block, "header_list"),
    Flood("an HPACK bomb", hpack_bomb, "header_list"),
    Flood("PING", pings, "ping_flood"),
    Flood("SETTINGS", settings, "settings_flood"),
    Flood("SETTINGS with thousands of entries", long_settings, "settings_flood"),
    Flood("ACKs that nothing asked for", acks, "ignored_frames"),
    Flood("GOAWAY", goaways, "ignored_frames"),
    Flood("PRIORITY", priorities, "ignored_frames"),
    Flood("unknown frames", unknown, "ignored_frames"),
    Flood("empty DATA", empty_data, "empty_frames"),
    Flood("DATA of nothing but padding", padding, "empty_frames"),
    Flood("WINDOW_UPDATE", window_updates, "window_update_flood"),
)


class _Bystander:
    """Somebody else's tunnel, which says a byte and hears it back all the time."""

    def __init__(self, node: Node, listener: socket.socket) -> None:
        self._peer = Peer(node)
        self._peer.open(1, APP)
        self._app = accepted(listener)
        self._stop = threading.Event()
        self.rounds, self.slowest = 0, 0.0
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> _Bystander:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._peer.close()
        self._app.close()

    def _run(self) -> None:
        with contextlib.suppress(OSError, EOFError):
            while not self._stop.is_set():
                begun = time.monotonic()
                self._peer.data(1, b"?")
                read_exactly(self._app, 1)
                self._app.sendall(b"!")
                self._peer.read(1, 1)
                self.slowest = max(self.slowest, time.monotonic() - begun)
                self.rounds += 1


def flood(node: Node, attack: Flood) -> None:
    before = node.reasons("h2").get(attack.reason, 0)
    with node.listen(APP) as listener, _Bystander(node, listener) as bystander:
        with Peer(node) as peer:
            peer.alive()
            # It may be cut off in the middle; then its GOAWAY waits in front of the end.
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                for piece in attack.frames(peer):
                    peer.send_raw(piece)
            expect_equal(peer.goaway(), wire.ENHANCE_YOUR_CALM, "GOAWAY's code")
        seen = bystander.rounds
        wait_for("the bystander's next rounds", lambda: bystander.rounds > seen + 5, 5)
        expect(bystander.slowest < 2, f"the bystander waited {bystander.slowest:.2f} s")
    expect_equal(node.reasons("h2").get(attack.reason, 0), before + 1, f"{attack.reason} counted")


def _until_closed(connection: socket.socket, say: Callable[[socket.socket], None]) -> float:
    """Says something each half second until the gateway has had enough; how long that took."""
    begun = time.monotonic()
    connection.settimeout(0.5)
    while time.monotonic() - begun < 40:
        try:
            say(connection)
            if connection.recv(4096) == b"":
                break
        except TimeoutError:
            continue
        except OSError:
            break
    return time.monotonic() - begun


def slow_loris(node: Node) -> None:
    """Who dribbles its handshake, preface or headers is closed after ten seconds"""
    def handshake() -> float:
        hello = iter(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc" + bytes(600))
        return _until_closed(node.dial(), lambda to: to.sendall(bytes((next(hello),))))

    def silence() -> float:
        return _until_closed(node.dial(), lambda to: None)

    def preface() -> float:
        tls = wire.context(node).wrap_socket(node.dial())
        letters = iter(PREFACE[:-1])
        return _until_closed(
            tls, lambda to: [to.sendall(bytes((letter,))) for letter in [next(letters, 0)]
                             if letter] and None)

    def headers() -> float:
        peer = Peer(node)
        peer.alive()  # its SETTINGS are acknowledged
        peer.send_raw(_raw(HEADERS, 0, 1, _connect()))
        return _until_closed(peer.tls, lambda to: None)

    before = {room: node.reasons(room) for room in ("h2", "hbone")}
    with ThreadPoolExecutor() as pool:
        running = {each.__name__: pool.submit(each)
                   for each in (handshake, silence, preface, headers)}
    taken = {name: future.result() for name, future in running.items()}
    expect(all(9 < seconds < 15 for seconds in taken.values()), f"seconds until closed: {taken}")
    for room, reason, count in (("hbone", "handshake_timeout", 2), ("h2", "bad_preface", 1),
                                ("h2", "slow_headers", 1)):
        expect_equal(node.reasons(room).get(reason, 0) - before[room].get(reason, 0), count, reason)


def cases(node: Node) -> list[tuple[str, Callable[[], None]]]:
    return [*((f"flood: {each.title}", lambda each=each: flood(node, each)) for each in FLOODS),
            (f"flood: {slow_loris.__doc__}", lambda: slow_loris(node))]
