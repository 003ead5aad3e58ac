# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: Isthmus authors
"""A running gateway: started with a configuration, asked through its console, stopped."""

from __future__ import annotations

import json
import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.e2e.gateway import yaml
from tests.e2e.topology.lab import Lab, LabError, Process, wait_for
from tests.e2e.topology.node import ROOT

BINARY = ROOT / "build/release/app/isthmus/isthmus"


@dataclass(frozen=True)
class Usage:
    """What a process has taken so far."""

    cpu_seconds: float
    resident_kb: int


class Gateway:
    def __init__(self, lab: Lab, name: str, config: dict[str, Any], workers: int = 1) -> None:
        """Writes the configuration; start() starts it. Workers share all processors with the pods
        and with each other, so none is pinned to one."""
        self.lab, self.name, self.workers = lab, name, workers
        self.config = lab.state / f"gateway-{name}.yaml"
        self.config.write_text(yaml.dump(config))
        self.socket = Path(config["console"]["socket"])
        self._process: Process | None = None

    @property
    def process(self) -> Process:
        if self._process is None:
            raise LabError(f"gateway {self.name} was never started")
        return self._process

    def start(self) -> None:
        processors = ",".join(map(str, sorted(os.sched_getaffinity(0))))
        lcores = ",".join(f"{lcore}@({processors})" for lcore in range(self.workers + 1))
        self._process = self.lab.start(
            f"gateway-{self.name}", BINARY, f"--lcores={lcores}", "--no-pci", "--", "--config",
            self.config)
        wait_for(f"gateway {self.name}", self._ready, 30)

    def _ready(self) -> bool:
        if not self.process.alive:
            raise LabError(f"gateway {self.name} ended: {self.process.output()[-2000:]}")
        try:
            return bool(self.ask("show workers"))
        except OSError:
            return False

    def stop(self) -> int | None:
        """SIGTERM; the exit status, None when it had to be killed."""
        return self.process.stop()

    def ask(self, command: str) -> str:
        """One console command over the UNIX socket; its answer."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as console:
            console.settimeout(10)
            console.connect(str(self.socket))
            console.sendall(command.encode() + b"\n")
            console.shutdown(socket.SHUT_WR)
            answer = b""
            while piece := console.recv(65536):
                answer += piece
        return answer.decode(errors="replace")

    def ask_json(self, command: str) -> Any:
        return json.loads(self.ask(f"{command} json"))

    def last_flow(self, client: str, destination: str = "") -> int | None:
        """The number of the last flow, open or over, between these beginnings of ADDRESS:PORT."""
        return max((row["flow"] for row in self.ask_json(f"show flows {client}")
                    if row["client"].startswith(client)
                    and row["destination"].startswith(destination)), default=None)

    def holds(self) -> dict[str, int]:
        """What it keeps for connections; all of it must go when they are gone. Tunnels stay on
        purpose, and an accepted one is a flow."""
        tunnels = self.ask_json("show tunnels")
        accepted = [row for row in tunnels if row["role"] == "server"]
        tcp = self.ask_json("show tcp")
        waiting = self.ask_json("show tcp TIME-WAIT")["matched"]
        return {
            "mbufs": sum(row["in_use"] for row in self.ask_json("show pools")),
            "flows": sum(row["flows"] for row in self.ask_json("show workers")) - len(accepted),
            "streams": sum(row["streams"] for row in tunnels),
            "connections": tcp["matched"] - waiting - len(tunnels),
        }

    def usage(self) -> Usage:
        return process_usage(self.process.pid)


def process_usage(pid: int) -> Usage:
    stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return Usage((int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK"),
                 int(stat[21]) * os.sysconf("SC_PAGE_SIZE") // 1024)
