# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: Isthmus authors
"""Small and large windows at either end, and receivers that stop reading for a while."""

from __future__ import annotations

import functools
import time

import kernel
from cells import cell
from kernel import Stream, TcpInfo
from peer import Peer
from transfer import check, next_port, transfer

KILOBYTE, MEGABYTE = 1 << 10, 1 << 20
STALL = 0.7  # seconds: longer than the first window probe's time


def kernels_buffer(peer: Peer, *, size: int, buffer: int, delay: int = 0) -> str:
    """We send to a kernel with SO_RCVBUF so small (it doubles it) or large."""
    if delay:
        peer.impair(delay=delay)
    try:
        outcome = transfer(peer, size=size, we_send=True, rcvbuf=buffer)
    finally:
        peer.do("unimpair")
    return f"window offered {outcome.ours['send_window']}, {outcome}"


def our_buffer(peer: Peer, *, size: int, delay: int = 0) -> str:
    """The kernel sends to us; our buffers are the process's."""
    if delay:
        peer.impair(delay=delay)
    try:
        outcome = transfer(peer, size=size, kernel_sends=True)
    finally:
        peer.do("unimpair")
    return f"{outcome}"


for buffer, size in ((0, 64 * KILOBYTE), (2 * KILOBYTE, 256 * KILOBYTE),
                     (16 * KILOBYTE, 2 * MEGABYTE), (4 * MEGABYTE, 32 * MEGABYTE)):
    cell("windows", f"kernel's SO_RCVBUF {buffer}, from us",
         functools.partial(kernels_buffer, size=size, buffer=buffer))
cell("windows", "kernel's SO_RCVBUF 4 MB, 10 ms away, from us",
     functools.partial(kernels_buffer, size=8 * MEGABYTE, buffer=4 * MEGABYTE, delay=5000))
for buffer, size in ((2 * KILOBYTE, 256 * KILOBYTE), (8 * KILOBYTE, MEGABYTE),
                     (64 * KILOBYTE, 4 * MEGABYTE), (4 * MEGABYTE, 32 * MEGABYTE)):
    cell("windows", f"our buffer {buffer}, to us", functools.partial(our_buffer, size=size),
         receive_buffer=buffer, max_receive_buffer=buffer)
cell("windows", "our buffer grows, 10 ms away, to us",
     functools.partial(our_buffer, size=16 * MEGABYTE, delay=5000))


def we_stall(peer: Peer) -> str:
    """We take nothing for a while: the kernel finds the window shut, probes it, and goes on."""
    port, size = next_port(), 6 * MEGABYTE
    peer.listen(port, wait_for_fin=True, stalled=True)
    sock, sent = kernel.connect(port), Stream()
    before = kernel.counters()["TCPWinProbe"]
    sock.setblocking(False)
    limit = time.monotonic() + STALL
    while time.monotonic() < limit:
        try:
            at = sent.length % len(kernel.PATTERN)
            piece = memoryview(kernel.PATTERN)[at:at + 65536]
            n = sock.send(piece[:size - sent.length])
            sent.add(piece[:n])
        except BlockingIOError:
            time.sleep(0.02)
    held = TcpInfo.of(sock)
    check(sent.length < size, f"the kernel could send all {size} bytes into a stalled connection")
    shown = peer.do("show", connection=peer.accepted(port))
    check(shown["receive_window"] == 0, f"we still offer {shown['receive_window']} bytes")
    check(shown["receive_queued"] == held.bytes_acked - 1, "not all that was acknowledged is here")
    probes = kernel.counters()["TCPWinProbe"] - before
    check(probes > 0, "the kernel sent no window probe")
    sock.settimeout(kernel.PATIENCE)
    peer.do("resume", connection=peer.accepted(port))
    started = time.monotonic()
    kernel.pour(sock, size, sent)
    ours = peer.ended(port=port)
    reopened = time.monotonic() - started
    check(ours["end"] == "closed" and ours["taken"] == size, f"{ours['end']}, {ours['taken']}")
    check(ours["taken_sha256"] == sent.sha256, "wrong bytes")
    check(sock.recv(1) == b"", "no FIN from us")
    sock.close()
    check(reopened < 0.5, f"{reopened:.2f} s after the window opened again")
    return f"{held.bytes_acked} bytes held, {probes} probes, the rest in {reopened * 1e3:.0f} ms"


def kernel_stalls(peer: Peer) -> str:
    """The kernel's application takes nothing for a while: we probe, and go on."""
    port, size = next_port(), 6 * MEGABYTE
    peer.listen(port, send=size)
    sock, taken = kernel.connect(port, rcvbuf=32 * KILOBYTE), Stream()
    connection = peer.accepted(port)
    before = peer.stats()["window_probes"]
    shown = peer.wait(connection, "send_window", 0)
    check(shown["limit"] == "receive window", f"held back by {shown['limit']}, so we say")
    time.sleep(STALL)
    probes = peer.stats()["window_probes"] - before
    check(probes > 0, "we sent no window probe")
    started = time.monotonic()
    kernel.drain(sock, taken)
    sock.close()
    ours = peer.ended(port=port)
    reopened = time.monotonic() - started
    check(ours["end"] == "closed" and taken.length == size, f"{ours['end']}, {taken.length}")
    check(ours["sent_sha256"] == taken.sha256, "wrong bytes")
    check(reopened < 1.5, f"{reopened:.2f} s after the window opened again")
    return f"{probes} probes, the rest in {reopened * 1e3:.0f} ms"


def one_byte_reader(peer: Peer) -> str:
    """An application that reads in small pieces gets no silly windows from us."""
    port, size = next_port(), 256 * KILOBYTE
    peer.listen(port, send=size)
    sock, taken = kernel.connect(port, rcvbuf=4 * KILOBYTE), Stream()
    before = peer.stats()["segments_sent"]
    while data := sock.recv(100):
        taken.add(data)
    sock.close()
    ours = peer.ended(port=port)
    segments = peer.stats()["segments_sent"] - before
    check(ours["sent_sha256"] == taken.sha256 and taken.length == size, "wrong bytes")
    check(size / segments > 256, f"{segments} segments for {size} bytes")
    return f"{size} bytes in {segments} segments"


cell("windows", "we stop reading", we_stall)
cell("windows", "the kernel's application stops reading", kernel_stalls)
cell("windows", "the kernel's application reads 100 bytes at a time", one_byte_reader)
