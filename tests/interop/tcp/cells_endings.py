# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: Isthmus authors
"""How connections begin and end otherwise: refused, opened from both ends, half closed, reset, and
peers that vanish."""

from __future__ import annotations

import errno
import socket
import struct
import threading
import time
from collections.abc import Callable

import kernel
import peer as our
from cells import cell
from kernel import Stream
from peer import Json, Peer, PeerError
from transfer import check, next_port

KILOBYTE = 1 << 10
TCP_USER_TIMEOUT = 18


def _reset_on_close(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _error(what: Callable[[], object]) -> str:
    """The name of the errno that a call ends with, or 'none'."""
    try:
        what()
    except OSError as error:
        return "ETIMEDOUT" if error.errno is None else errno.errorcode[error.errno]
    return "none"


def _living(peer: Peer) -> None:
    limit = time.monotonic() + 5
    while (living := peer.stats()["living"]) != 0:
        if time.monotonic() > limit:
            raise PeerError(f"{living} connections are left")
        time.sleep(0.01)


def kernel_refused(peer: Peer) -> str:
    result = _error(lambda: kernel.connect(next_port()))
    check(result == "ECONNREFUSED", result)
    return result


def we_are_refused(peer: Peer) -> str:
    ours = peer.ended(connection=peer.connect(kernel.V4, next_port()))
    check(ours["end"] == "refused", ours["end"])
    return f"{ours['end']} in {ours['microseconds']} us"


def nobody_answers_us(peer: Peer) -> str:
    peer.do("cut", cut=True)
    try:
        ours = peer.ended(connection=peer.connect(kernel.V4, next_port(),
                                                  {"handshake_timeout": 1500}))
    finally:
        peer.do("cut", cut=False)
    check(ours["end"] == "timed out", ours["end"])
    return f"{ours['end']} in {ours['microseconds'] / 1e6:.2f} s, {ours['retransmissions']} again"


def kernel_half_closes(peer: Peer) -> str:
    """FIN first, then the whole answer: the other direction lives on."""
    port, size = next_port(), 300 * KILOBYTE
    peer.listen(port, echo=True)
    sock, sent, taken = kernel.connect(port), Stream(), Stream()
    drainer = threading.Thread(target=kernel.drain, args=(sock, taken))
    drainer.start()
    kernel.pour(sock, size, sent)
    drainer.join(kernel.PATIENCE)
    sock.close()
    ours = peer.ended(port=port)
    check(taken.sha256 == sent.sha256 and taken.length == size, "wrong bytes")
    check(ours["end"] == "closed" and ours["peer_closed"], ours["end"])
    return f"{size} bytes came back"


def we_half_close(peer: Peer) -> str:
    """Our FIN at once; the kernel goes on sending for a while."""
    port, size = next_port(), 4000 * KILOBYTE
    peer.listen(port)
    sock, sent = kernel.connect(port), Stream()
    check(sock.recv(1) == b"", "no FIN")
    connection = peer.accepted(port)
    peer.wait(connection, "state", "FIN-WAIT-2")
    kernel.pour(sock, size, sent)
    sock.close()
    ours = peer.ended(port=port)
    check(ours["taken_sha256"] == sent.sha256 and ours["taken"] == size, "wrong bytes")
    check(ours["end"] == "closed", ours["end"])
    return f"{size} bytes after our FIN"


def both_close(peer: Peer) -> str:
    """FINs cross on a link of 20 ms: CLOSING at both ends."""
    port = next_port()
    peer.listen(port, keep_open=True)
    sock = kernel.connect(port)
    connection = peer.accepted(port)
    peer.wait(connection, "state", "ESTABLISHED")
    peer.impair(delay=20_000)
    try:
        peer.do("shutdown", connection=connection)
        sock.shutdown(socket.SHUT_WR)
        check(sock.recv(1) == b"", "no FIN")
        ours = peer.ended(port=port)
    finally:
        peer.do("unimpair")
    sock.close()
    check(ours["end"] == "closed", ours["end"])
    return "closed"


def both_open(peer: Peer) -> str:
    """SYNs cross (RFC 9293 MUST-10): one connection, bytes both ways."""
    port, source, size = next_port(), next_port(), 100 * KILOBYTE
    sock, sent, taken = kernel.stream_socket(False), Stream(), Stream()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((kernel.V4, port))
    peer.impair(delay=20_000)
    try:
        connection = peer.connect(kernel.V4, port, source=source, send=size)
        sock.connect((our.V4, source))
        drainer = threading.Thread(target=kernel.drain, args=(sock, taken))
        drainer.start()
        kernel.pour(sock, size, sent)
        drainer.join(kernel.PATIENCE)
        ours = peer.ended(connection=connection)
    finally:
        peer.do("unimpair")
    sock.close()
    check(ours["end"] == "closed" and ours["taken_sha256"] == sent.sha256
          and ours["sent_sha256"] == taken.sha256, f"{ours['end']}, or wrong bytes")
    return f"{size} bytes each way"


def kernel_resets(peer: Peer) -> str:
    port = next_port()
    peer.listen(port, keep_open=True)
    sock = kernel.connect(port)
    sock.sendall(b"x" * 1000)
    _reset_on_close(sock)
    sock.close()
    ours = peer.ended(port=port)
    check(ours["end"] == "reset", ours["end"])
    return f"{ours['end']} after {ours['taken']} bytes"


def kernel_resets_in_bulk(peer: Peer) -> str:
    """RST while our data is on its way, and none of it read."""
    port = next_port()
    peer.listen(port, send=64 << 20)
    sock = kernel.connect(port)
    sock.recv(100_000)
    sock.close()  # with unread bytes: RST
    ours = peer.ended(port=port)
    check(ours["end"] == "reset", ours["end"])
    return f"{ours['end']} after {ours['sent']} bytes"


def we_reset(peer: Peer) -> str:
    port = next_port()
    peer.listen(port, keep_open=True)
    sock = kernel.connect(port)
    connection = peer.accepted(port)
    peer.wait(connection, "state", "ESTABLISHED")
    peer.do("abort", connection=connection)
    result = _error(lambda: sock.recv(1))
    sock.close()
    check(result == "ECONNRESET", result)
    check(peer.ended(port=port)["end"] == "aborted", "not aborted")
    return result


def we_reset_in_bulk(peer: Peer) -> str:
    port = next_port()
    peer.listen(port, abort_at=1_000_000)
    sock, sent = kernel.connect(port), Stream()
    result = _error(lambda: kernel.pour(sock, 64 << 20, sent))
    sock.close()
    check(result in ("ECONNRESET", "EPIPE"), result)
    ours = peer.ended(port=port)
    check(ours["end"] == "aborted", ours["end"])
    return f"{result} after {sent.length} bytes, we took {ours['taken']}"


def kernel_vanishes(peer: Peer, options: Json, send: int) -> str:
    """The link is cut: our user timeout or keepalive ends the connection."""
    port = next_port()
    peer.listen(port, options, keep_open=True, send=send)
    sock = kernel.connect(port)
    connection = peer.accepted(port)
    peer.wait(connection, "state", "ESTABLISHED")
    if send:
        sock.recv(send // 4)
    peer.do("cut", cut=True)
    started = time.monotonic()
    try:
        ours = peer.ended(port=port, patience=8)
    finally:
        peer.do("cut", cut=False)
    _reset_on_close(sock)
    sock.close()
    check(ours["end"] == "timed out", ours["end"])
    return f"{ours['end']} in {time.monotonic() - started:.2f} s, {ours['retransmissions']} again"


def we_vanish(peer: Peer) -> str:
    """The kernel's TCP_USER_TIMEOUT ends its side; ours hears of it when the link is back."""
    port = next_port()
    peer.listen(port, {"user_timeout": 60_000}, keep_open=True)
    sock = kernel.connect(port)
    sock.setsockopt(socket.IPPROTO_TCP, TCP_USER_TIMEOUT, 800)
    peer.wait(peer.accepted(port), "state", "ESTABLISHED")
    peer.do("cut", cut=True)
    sock.sendall(b"x" * 1000)
    started = time.monotonic()
    result = _error(lambda: sock.recv(1))
    seconds = time.monotonic() - started
    peer.do("cut", cut=False)
    check(result == "ETIMEDOUT", result)
    sock.close()
    # We still think that it is open, until what we send is answered by RST.
    connection = peer.accepted(port)
    peer.do("shutdown", connection=connection)
    ours = peer.ended(port=port)
    check(ours["end"] == "reset", ours["end"])
    return f"{result} after {seconds:.2f} s, then {ours['end']}"


def link_returns(peer: Peer) -> str:
    """Cut for a second in mid-transfer, both ways: everything arrives all the same."""
    port, size = next_port(), 8 << 20
    peer.listen(port, send=size)
    sock, sent, taken = kernel.connect(port), Stream(), Stream()
    peer.impair(delay=1000, bits_per_second=200_000_000)
    drainer = threading.Thread(target=kernel.drain, args=(sock, taken))
    pourer = threading.Thread(target=kernel.pour, args=(sock, size, sent))
    try:
        drainer.start()
        pourer.start()
        time.sleep(0.1)
        peer.do("cut", cut=True)
        time.sleep(1)
        peer.do("cut", cut=False)
        started = time.monotonic()
        drainer.join(kernel.PATIENCE)
        pourer.join(kernel.PATIENCE)
        ours = peer.ended(port=port)
    finally:
        peer.do("unimpair")
    sock.close()
    check(ours["end"] == "closed" and ours["sent_sha256"] == taken.sha256
          and ours["taken_sha256"] == sent.sha256, f"{ours['end']}, or wrong bytes")
    return (f"done {time.monotonic() - started:.2f} s after the cut, {ours['timeouts']} RTO,"
            f" {ours['retransmissions']} again")


def urgent(peer: Peer) -> str:
    """The kernel's MSG_OOB byte is data here, in its place (as the gateway promises)."""
    port, stream = next_port(), Stream()
    peer.listen(port, wait_for_fin=True)
    sock = kernel.connect(port)
    for data, flags in ((b"before", 0), (b"!", socket.MSG_OOB), (b"after", 0)):
        sock.send(data, flags)
        stream.add(data)
    sock.shutdown(socket.SHUT_WR)
    check(sock.recv(1) == b"", "no FIN")
    sock.close()
    ours = peer.ended(port=port)
    check(ours["taken_sha256"] == stream.sha256, f"{ours['taken']} bytes, or others")
    return f"{ours['taken']} bytes"


def reused(peer: Peer) -> str:
    """The same tuple again and again, through our TIME-WAIT (RFC 6191)."""
    port, source = next_port(), next_port()
    peer.listen(port, echo=False, digest=False)
    for _ in range(20):
        with kernel.stream_socket(False) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((kernel.V4, source))
            sock.connect((our.V4, port))
            check(sock.recv(1) == b"", "no FIN")  # we close first: TIME-WAIT is ours
            sock.shutdown(socket.SHUT_WR)
        check(peer.ended(port=port)["end"] == "closed", "not closed")
    return "20 connections of one tuple"


for name, run in (
        ("kernel is refused", kernel_refused),
        ("we are refused", we_are_refused),
        ("nobody answers our SYN", nobody_answers_us),
        ("both open at once", both_open),
        ("kernel closes its half first", kernel_half_closes),
        ("we close our half first", we_half_close),
        ("both close at once", both_close),
        ("kernel resets", kernel_resets),
        ("kernel resets in bulk", kernel_resets_in_bulk),
        ("we reset", we_reset),
        ("we reset in bulk", we_reset_in_bulk),
        ("we vanish, its user timeout", we_vanish),
        ("the link is cut for a second", link_returns),
        ("urgent data", urgent),
        ("one tuple, again and again", reused)):
    cell("endings", name, run)
cell("endings", "kernel vanishes, our user timeout",
     lambda peer: kernel_vanishes(peer, {"user_timeout": 1000}, 1 << 20))
cell("endings", "kernel vanishes, our keepalive",
     lambda peer: kernel_vanishes(peer, {"keepalive_idle": 300, "keepalive_interval": 200}, 0))
cell("endings", "nothing is left", lambda peer: _living(peer) or f"{peer.stats()['mbufs_in_use']}"
     " mbufs in use")
