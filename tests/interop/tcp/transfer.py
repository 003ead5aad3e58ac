# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: Isthmus authors
"""One connection that carries bytes one way or both, opened by either end, and what both saw."""

from __future__ import annotations

import itertools
import socket
import threading
import time
from dataclasses import dataclass
from typing import Any

import kernel
from kernel import Stream, TcpInfo
from peer import Json, Peer

_ports = itertools.count(5000)


def next_port() -> int:
    """A port that no connection of this run has had."""
    return next(_ports)


def check(condition: bool, what: str) -> None:
    if not condition:
        raise AssertionError(what)


@dataclass(frozen=True)
class Outcome:
    size: int  # bytes, each way that carried any
    seconds: float
    ours: Json
    kernel: TcpInfo

    def __str__(self) -> str:
        ours = self.ours
        return (f"{self.size * 8 / self.seconds / 1e6:5.0f} Mbit/s, again: kernel"
                f" {self.kernel.retransmits}, ours {ours['retransmissions']} ({ours['timeouts']}"
                f" RTO, {ours['tail_probes']} TLP, {ours['spurious']} spurious)")


class KernelSide(threading.Thread):
    """The kernel's application: sends, takes to the end, closes."""

    def __init__(self, sock: socket.socket, size: int) -> None:
        super().__init__(daemon=True)
        self.sock, self.size = sock, size
        self.sent, self.taken = Stream(), Stream()
        self.info: TcpInfo | None = None
        self.error: Exception | None = None

    def run(self) -> None:
        try:
            drainer = threading.Thread(target=kernel.drain, args=(self.sock, self.taken))
            if self.size:
                drainer.start()
                kernel.pour(self.sock, self.size, self.sent)
                drainer.join(kernel.PATIENCE)
            else:
                kernel.drain(self.sock, self.taken)
                self.sock.shutdown(socket.SHUT_WR)
            self.info = TcpInfo.of(self.sock)
        except Exception as error:  # told by the caller's thread
            self.error = error
        finally:
            self.sock.close()


def transfer(peer: Peer, *, size: int, kernel_opens: bool = True, kernel_sends: bool = False,
             we_send: bool = False, v6: bool = False, cc: str = "", options: Json | None = None,
             part: Json | None = None, **buffers: int) -> Outcome:
    """Bytes one way or both. Every byte is checked at both ends, and the kernel's own counts."""
    port = next_port()
    doing: dict[str, Any] = {"send": size if we_send else 0, "wait_for_fin": not we_send,
                             **(part or {})}
    connection = 0
    if kernel_opens:
        peer.listen(port, options, **doing)
        sock = kernel.connect(port, v6, cc, **buffers)
    else:
        with kernel.listen(port, v6, cc, **buffers) as listener:
            connection = peer.connect(kernel.V6 if v6 else kernel.V4, port, options, **doing)
            sock, _ = listener.accept()
            sock.settimeout(kernel.PATIENCE)
    before = kernel.counters()
    started = time.monotonic()
    side = KernelSide(sock, size if kernel_sends else 0)
    side.start()
    ours = peer.ended(port=port) if kernel_opens else peer.ended(connection=connection)
    seconds = time.monotonic() - started
    side.join(kernel.PATIENCE)
    if side.error is not None:
        raise side.error
    check(side.info is not None, "the kernel's side does not end")
    assert side.info is not None
    check(ours["end"] == "closed", f"our end: {ours['end']}")
    check(side.taken.length == ours["sent"] == (size if we_send else 0),
          f"the kernel took {side.taken.length}, we sent {ours['sent']}")
    check(side.sent.length == ours["taken"] == (size if kernel_sends else 0),
          f"the kernel sent {side.sent.length}, we took {ours['taken']}")
    check(side.taken.sha256 == ours["sent_sha256"], "what the kernel took is not what we sent")
    check(side.sent.sha256 == ours["taken_sha256"], "what we took is not what the kernel sent")
    # The peer's FIN counts as a byte here, once it was taken.
    check(side.info.bytes_received - side.taken.length in (0, 1),
          f"tcp_info: {side.info.bytes_received} bytes received, {side.taken.length} read")
    reneged = kernel.counters()["TCPSACKReneging"] - before["TCPSACKReneging"]
    check(reneged == 0, f"to the kernel we seem to have reneged {reneged} times")
    return Outcome(size, seconds, ours, side.info)
