# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: Isthmus authors
"""Moves bytes that nobody stores: they are made, hashed and dropped on the way.

    move.py serve PORT
    move.py to HOST PORT --up BYTES --down BYTES [--count N] [--rate BYTES_A_SECOND]

Each connection says `UP DOWN RATE`, is answered `ready`, sends UP bytes, is told their SHA-256, and
is sent DOWN bytes and their SHA-256; then the client ends, and the server. All of a run's
connections are ready before one of them sends. Prints the seconds that it took; a wrong hash, a
byte too few or too many or an abort is said on standard error and is exit status 1."""

from __future__ import annotations

import argparse
import hashlib
import os
import socket
import socketserver
import sys
import threading
import time

BLOCK = 1 << 20
DIGEST = 64  # hexadecimal digits
PATIENCE = 60.0  # without a byte


def send(sock: socket.socket, total: int, rate: int) -> bytes:
    """Sends so many bytes, no two blocks of any run alike; their digest."""
    digest = hashlib.sha256()
    size = min(BLOCK, max(4096, rate // 50)) if rate else BLOCK
    block = bytearray(os.urandom(size))
    started, sent = time.monotonic(), 0
    while sent < total:
        block[:8] = sent.to_bytes(8, "big")
        piece = memoryview(block)[:total - sent]
        digest.update(piece)
        sock.sendall(piece)
        sent += len(piece)
        if rate:
            time.sleep(max(0.0, started + sent / rate - time.monotonic()))
    return digest.hexdigest().encode()


def receive(sock: socket.socket, total: int) -> bytes:
    """Takes exactly so many bytes; their digest."""
    digest = hashlib.sha256()
    buffer = memoryview(bytearray(BLOCK))
    left = total
    while left > 0:
        got = sock.recv_into(buffer[:min(left, BLOCK)])
        if got == 0:
            raise ConnectionError(f"ended {left} of {total} bytes before its end")
        digest.update(buffer[:got])
        left -= got
    return digest.hexdigest().encode()


def receive_text(sock: socket.socket, size: int) -> bytes:
    """Exactly so many bytes. MSG_WAITALL would not wait: a socket with a timeout does not block."""
    text = b""
    while len(text) < size:
        piece = sock.recv(size - len(text))
        if not piece:
            raise ConnectionError(f"ended after {text!r}")
        text += piece
    return text


class Handler(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        sock: socket.socket = self.request
        sock.settimeout(PATIENCE)
        line = b""
        while not line.endswith(b"\n"):
            line += receive_text(sock, 1)
        up, down, rate = map(int, line.split())
        sock.sendall(b"ready\n")
        sock.sendall(receive(sock, up))
        sock.sendall(send(sock, down, rate))
        # Who closes first is the client: an Envoy in front of a server that closes first throws
        # away what it still has to send, and resets.
        if sock.recv(1):
            raise ConnectionError("more bytes arrived than were to come")


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 1024


class Run:
    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments = arguments
        self.all_ready = threading.Barrier(arguments.count)
        self.failures: list[str] = []

    def connection(self) -> None:
        try:
            with socket.create_connection((self.arguments.host, self.arguments.port),
                                          PATIENCE) as sock:
                self._move(sock)
        except (OSError, threading.BrokenBarrierError) as error:
            self.all_ready.abort()
            self.failures.append(repr(error))

    def _move(self, sock: socket.socket) -> None:
        up, down, rate = self.arguments.up, self.arguments.down, self.arguments.rate
        sock.sendall(f"{up} {down} {rate}\n".encode())
        if receive_text(sock, 6) != b"ready\n":
            raise ConnectionError("an answer of another kind")
        self.all_ready.wait(PATIENCE)
        sent = send(sock, up, rate)
        if receive_text(sock, DIGEST) != sent:
            raise ConnectionError("other bytes arrived than were sent")
        received = receive(sock, down)
        if receive_text(sock, DIGEST) != received:
            raise ConnectionError("other bytes came than were sent")
        sock.shutdown(socket.SHUT_WR)
        if sock.recv(1):
            raise ConnectionError("more bytes came than were sent")


def main() -> int:
    parser = argparse.ArgumentParser()
    modes = parser.add_subparsers(dest="mode", required=True)
    serve = modes.add_parser("serve")
    serve.add_argument("port", type=int)
    to = modes.add_parser("to")
    to.add_argument("host")
    to.add_argument("port", type=int)
    for name, default in (("--up", 0), ("--down", 0), ("--rate", 0), ("--count", 1)):
        to.add_argument(name, type=int, default=default)
    arguments = parser.parse_args()
    if arguments.mode == "serve":
        Server(("0.0.0.0", arguments.port), Handler).serve_forever()
    run = Run(arguments)
    started = time.monotonic()
    threads = [threading.Thread(target=run.connection) for _ in range(arguments.count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(f"{time.monotonic() - started:.3f}")
    for failure in run.failures[:5]:
        print(failure, file=sys.stderr)
    return 1 if run.failures else 0


if __name__ == "__main__":
    sys.exit(main())
