# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: Isthmus authors
"""Our end: the program tcp_peer, started, told what to do and listened to (program.h)."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any

Json = dict[str, Any]
V4, V6 = "10.99.0.2", "fd99::2"
PATIENCE = 30.0


class PeerError(Exception):
    """Our program refused a command, or is no more."""


class Peer:
    """One run of the program, on a TAP interface of its own in this network namespace."""

    count = 0

    def __init__(self, program: Path, interface: str, **config: Any) -> None:
        Peer.count += 1
        prefix = f"interop_tcp_{os.getpid()}_{Peer.count}"
        self.log: list[str] = []
        self._process = subprocess.Popen(
            [program, "--no-huge", "-m", "384", "--no-pci", "--no-telemetry", "--no-shconf",
             "--lcores", "0@0-1", "--log-level=4", f"--file-prefix={prefix}", "--",
             json.dumps({"interface": interface, **config})],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            bufsize=1)
        self._replies: queue.Queue[Json] = queue.Queue()
        self._ends: dict[str, list[Json]] = {}
        self._news = threading.Condition()
        for reader in (self._read, self._read_errors):
            threading.Thread(target=reader, daemon=True).start()
        self._reply()

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.close()  # the end of its input is its end
            self._process.wait(5)
        except (OSError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()

    def do(self, what: str, **arguments: Any) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": what, **arguments}) + "\n")
        return self._reply()

    def listen(self, port: int, options: Json | None = None, quiet: bool = False,
               **part: Any) -> None:
        self.do("listen", port=port, part=part, options=options or {}, quiet=quiet)

    def connect(self, address: str, port: int, options: Json | None = None, count: int = 1,
                parallel: int = 1, quiet: bool = False, source: int = 0, **part: Any) -> int:
        """The number of the last connection that was opened."""
        number: int = self.do("connect", address=address, port=port, part=part,
                              options=options or {}, count=count, parallel=parallel, quiet=quiet,
                              **{"from": source})
        return number

    def accepted(self, port: int) -> int:
        """The number of the living connection that was accepted on a port."""
        for each in self.do("list"):
            if each["port"] == port:
                number: int = each["connection"]
                return number
        raise PeerError(f"nobody is connected to port {port}")

    def ended(self, *, port: int = 0, connection: int = 0, patience: float = PATIENCE) -> Json:
        """What is told of a connection at its end, by the port it was accepted on or its number."""
        key = f"port {port}" if port else f"connection {connection}"
        with self._news:
            self._news.wait_for(lambda: self._ends.get(key) or self._process.poll() is not None,
                                patience)
            if not self._ends.get(key):
                raise PeerError(f"{key} did not end in {patience:.0f} s")
            return self._ends[key].pop(0)

    def wait(self, connection: int, what: str, value: Any, patience: float = PATIENCE) -> Json:
        """Waits until `show` has that value (or satisfies that predicate) for a connection."""
        limit = time.monotonic() + patience
        while True:
            shown: Json = self.do("show", connection=connection)
            if value(shown[what]) if callable(value) else shown[what] == value:
                return shown
            if time.monotonic() > limit:
                raise PeerError(f"{what} stays {shown[what]}")
            time.sleep(0.01)

    def impair(self, mtu: int = 1500, kernels: Json | None = None, **ours: Any) -> None:
        """Puts the lossy link in between; the same in both directions unless kernels is given."""
        self.do("impair", mtu=mtu, ours=ours, kernels=ours if kernels is None else kernels)

    def stats(self) -> Json:
        stats: Json = self.do("stats")
        return stats

    def _reply(self) -> Any:
        try:
            reply = self._replies.get(timeout=PATIENCE)
        except queue.Empty:
            raise PeerError("no answer") from None
        if "error" in reply:
            raise PeerError(reply["error"] + "".join(self.log))
        return reply["reply"]

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            message = json.loads(line)
            if "event" not in message:
                self._replies.put(message)
                continue
            with self._news:
                for key in (f"port {message['port']}", f"connection {message['connection']}"):
                    self._ends.setdefault(key, []).append(message)
                self._news.notify_all()
        status = self._process.wait()
        self._replies.put({"error": f"tcp_peer ended with {status}\n"})
        with self._news:
            self._news.notify_all()

    def _read_errors(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self.log.append(line)
