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
from tests.e2e.topology.lab import Lab, LabError, wait_for
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
        self.process = None

    def start(self) -> None:
        processors = ",".join(map(str, sorted(os.sched_getaffinity(0))))
        lcores = ",".join(f"{lcore}@({processors})" for lcore in range(self.workers + 1))
        self.process = self.lab.start(
            f"gateway-{self.name}", BINARY, f"--lcores={lcores}", "--no-huge", "-m", "512",
            "--no-pci", f"--file-prefix={self.lab.prefix}{self.name}", "--", "--config",
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

    def last_flow(self, *words: str) -> int | None:
        """The number of the last flow whose line has all these words, open or over."""
        first, *rest = words
        lines = [line for line in self.ask(f"show flows {first}").splitlines()
                 if all(word in line for word in rest)]
        numbers = [int(line.split()[0]) for line in lines if line.split()[0].isdigit()]
        return max(numbers, default=None)

    def usage(self) -> Usage:
        return process_usage(self.process.pid)


def process_usage(pid: int) -> Usage:
    stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return Usage((int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK"),
                 int(stat[21]) * os.sysconf("SC_PAGE_SIZE") // 1024)
