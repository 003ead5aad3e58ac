# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: Isthmus authors
"""Many short connections, and requests and responses over long ones."""

from __future__ import annotations

import functools
import socket
import threading
import time

import kernel
from cells import cell
from peer import Peer, PeerError
from transfer import check, next_port

COUNT, PARALLEL = 5000, 64
REQUEST = b"x" * 100


def _client(port: int, count: int, v6: bool, failures: list[str]) -> None:
    for _ in range(count):
        try:
            with kernel.connect(port, v6) as sock:
                sock.sendall(REQUEST)
                sock.shutdown(socket.SHUT_WR)
                got = 0
                while data := sock.recv(4096):
                    got += len(data)
                check(got == len(REQUEST), f"{got} bytes came back")
        except (OSError, AssertionError) as error:
            failures.append(f"{error!r}")


def _serve(listener: socket.socket, count: int, failures: list[str]) -> None:
    for _ in range(count):
        try:
            sock, _ = listener.accept()
            with sock:
                sock.settimeout(kernel.PATIENCE)
                while data := sock.recv(4096):
                    sock.sendall(data)
        except OSError as error:
            failures.append(f"{error!r}")


def _wait_closed(peer: Peer, count: int) -> None:
    limit = time.monotonic() + 10
    while (stats := peer.stats())["closed"] + stats["failed"] < count:
        if time.monotonic() > limit:
            raise PeerError(f"{stats['closed']} of {count} closed, {stats['failed']} failed,"
                            f" {stats['living']} living")
        time.sleep(0.01)


def kernel_opens(peer: Peer, *, count: int, v6: bool = False, loss: float = 0) -> str:
    """Each: connect, 100 bytes, FIN, 100 bytes back, FIN."""
    port, failures = next_port(), list[str]()
    before = peer.stats()
    peer.listen(port, quiet=True, echo=True, digest=False)
    if loss:
        peer.impair(delay=100, loss=loss)
    threads = [threading.Thread(target=_client, args=(port, count // 8, v6, failures))
               for _ in range(8)]
    started = time.monotonic()
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        seconds = time.monotonic() - started
        _wait_closed(peer, before["closed"] + before["failed"] + count // 8 * 8)
    finally:
        peer.do("unimpair")
    return _judge(peer, before, failures, count // 8 * 8, seconds)


def we_open(peer: Peer, *, count: int, v6: bool = False, loss: float = 0) -> str:
    port, failures = next_port(), list[str]()
    before = peer.stats()
    if loss:
        peer.impair(delay=100, loss=loss)
    with kernel.listen(port, v6) as listener:
        server = threading.Thread(target=_serve, args=(listener, count, failures))
        server.start()
        started = time.monotonic()
        try:
            peer.connect(kernel.V6 if v6 else kernel.V4, port, count=count, parallel=PARALLEL,
                         quiet=True, request=len(REQUEST), rounds=1, digest=False)
            server.join(kernel.PATIENCE)
            seconds = time.monotonic() - started
            _wait_closed(peer, before["closed"] + before["failed"] + count)
        finally:
            peer.do("unimpair")
    return _judge(peer, before, failures, count, seconds)


def _judge(peer: Peer, before: dict[str, int], failures: list[str], count: int,
           seconds: float) -> str:
    check(not failures, f"{len(failures)} failed for the kernel, first {failures[:1]}")
    after = peer.stats()
    failed = after["failed"] - before["failed"]
    check(failed == 0, f"{failed} failed for us")
    check(after["closed"] - before["closed"] == count, "not all closed")
    check(after["living"] == 0, f"{after['living']} connections are left")
    moved = after["bytes_received"] - before["bytes_received"]
    check(moved == count * len(REQUEST), f"{moved} bytes came")
    return (f"{count / seconds:.0f}/s, again {after['retransmissions'] - before['retransmissions']}"
            f" ({after['timeouts'] - before['timeouts']} RTO), {after['time_waits']} in TIME-WAIT")


def kernel_asks(peer: Peer, *, size: int, rounds: int, v6: bool = False) -> str:
    port, message = next_port(), b"q" * size
    peer.listen(port, echo=True)
    times = []
    with kernel.connect(port, v6) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(rounds):
            asked = time.monotonic()
            sock.sendall(message)
            left = size
            while left:
                left -= len(sock.recv(left))
            times.append(time.monotonic() - asked)
    ours = peer.ended(port=port)
    check(ours["end"] == "closed" and ours["taken"] == size * rounds, f"{ours['end']}")
    times.sort()
    p50, p99 = (times[len(times) * percent // 100] * 1e6 for percent in (50, 99))
    check(p50 < 10_000, f"median {p50:.0f} us")
    return f"p50 {p50:.0f} us, p99 {p99:.0f} us"


def we_ask(peer: Peer, *, size: int, rounds: int, v6: bool = False) -> str:
    port, failures = next_port(), list[str]()
    with kernel.listen(port, v6) as listener:
        server = threading.Thread(target=_serve, args=(listener, 1, failures))
        server.start()
        connection = peer.connect(kernel.V6 if v6 else kernel.V4, port, request=size, rounds=rounds)
        ours = peer.ended(connection=connection)
        server.join(kernel.PATIENCE)
    check(not failures and ours["end"] == "closed", f"{ours['end']} {failures}")
    check(ours["rounds"] == rounds and ours["taken_sha256"] == ours["sent_sha256"], "wrong answers")
    check(ours["p50"] < 10_000, f"median {ours['p50']} us")
    return f"p50 {ours['p50']} us, p99 {ours['p99']} us"


cell("connections", f"{COUNT} short ones, kernel opens",
     functools.partial(kernel_opens, count=COUNT))
cell("connections", f"{COUNT} short ones, we open", functools.partial(we_open, count=COUNT))
cell("connections", "1000 short ones, IPv6, kernel opens",
     functools.partial(kernel_opens, count=1000, v6=True))
cell("connections", "1000 short ones, IPv6, we open",
     functools.partial(we_open, count=1000, v6=True))
cell("connections", "400 short ones, loss 1 %, kernel opens",
     functools.partial(kernel_opens, count=400, loss=0.01))
cell("connections", "400 short ones, loss 1 %, we open",
     functools.partial(we_open, count=400, loss=0.01))
for size in (1, 1000, 20_000):
    cell("connections", f"requests of {size} bytes, kernel asks",
         functools.partial(kernel_asks, size=size, rounds=1000))
    cell("connections", f"requests of {size} bytes, we ask",
         functools.partial(we_ask, size=size, rounds=1000))
