# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: Isthmus authors
"""Starts what runs in the pods: applications and their Envoys."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

from tests.e2e import plan
from tests.e2e.peers import envoy
from tests.e2e.topology.lab import Lab, Namespace, Process, wait_for
from tests.e2e.topology.node import ROOT

VENV = ROOT / "build/peers/venv/bin"
APPLICATIONS = Path(__file__).parent
PYTHON = "/usr/bin/python3"

SIDECAR_CAPTURE = f"""
    table ip sidecar {{
      chain output {{
        type nat hook output priority -100;
        meta skuid {envoy.USER} return
        oifname "lo" return
        meta l4proto tcp redirect to :15001
      }}
      chain prerouting {{
        type nat hook prerouting priority dstnat;
        iifname != "eth0" return
        tcp dport {plan.HBONE_PORT} return
        meta l4proto tcp redirect to :15006
      }}
    }}"""


class Pods:
    """The pods' processes. Certificates must be there before an Envoy starts."""

    def __init__(self, lab: Lab, netns: dict[plan.Pod, Namespace], certificates: Path,
                 file: Path) -> None:
        self.lab, self.netns, self.certificates, self.file = lab, netns, certificates, file
        self._listening: list[tuple[Namespace, int]] = []
        self._envoys: list[Process] = []

    def access_log(self, pod: plan.Pod) -> Path:
        return self.lab.logs / f"{pod.name}.access"

    def start(self) -> None:
        for pod in (plan.NEIGHBOUR, plan.HTTPBIN_PLAIN, plan.HTTPBIN_HBONE, plan.HTTPBIN,
                    plan.STRICT):
            self._listen(pod, plan.HTTPBIN_PORT, "httpbin", VENV / "gunicorn", "--bind",
                         f"0.0.0.0:{plan.HTTPBIN_PORT}", "--worker-class", "gthread", "--threads",
                         "8", "--backlog", "2048", "httpbin:app")
        for pod in (plan.HTTPBIN_PLAIN, plan.HTTPBIN_HBONE, plan.HTTPBIN, plan.HELLOWORLD,
                    plan.NEIGHBOUR):
            self._listen(pod, plan.FILES_PORT, "files", PYTHON, APPLICATIONS / "files.py",
                         str(plan.FILES_PORT), self.file)
        self._listen(plan.HELLOWORLD, plan.HELLOWORLD_PORT, "hello", PYTHON,
                     APPLICATIONS / "helloworld.py", "0.0.0.0", str(plan.HELLOWORLD_PORT))
        for pod in plan.PODS:
            if pod.kind is plan.Kind.WAYPOINT:
                self._start_envoy(pod, envoy.waypoint)
            elif pod.kind is not plan.Kind.AMBIENT:
                self.netns[pod].nft(SIDECAR_CAPTURE)
                self._start_envoy(pod, envoy.sidecar)

    def start_outside(self, netns: Namespace) -> None:
        address, port = plan.OUTSIDE_BACKEND
        netns.start("outside-hello", PYTHON, APPLICATIONS / "helloworld.py", address, str(port))
        self._listening.append((netns, port))

    def ready(self) -> None:
        """Waits until everything that was started takes connections."""
        for netns, port in self._listening:
            wait_for(f"port {port} of {netns.name}", lambda: listens(netns, port), 60)
        for process in self._envoys:
            wait_for(process.name, lambda: envoy_ready(process), 60)

    def _listen(self, pod: plan.Pod, port: int, name: str, *command: str | Path) -> None:
        self.netns[pod].start(f"{pod.name}-{name}", *command,
                              environment={"PYTHONDONTWRITEBYTECODE": "1"})
        self._listening.append((self.netns[pod], port))

    def _start_envoy(self, pod: plan.Pod,
                     shape: Callable[[plan.Pod, Path, Path], envoy.Config]) -> None:
        log = self.access_log(pod)
        self._envoys.append(start_envoy(self.netns[pod], shape(pod, self.certificates, log), log))


def start_envoy(netns: Namespace, config: envoy.Config, access_log: Path) -> Process:
    """Starts an Envoy in a pod; envoy_ready() tells when it takes connections."""
    access_log.touch()
    os.chown(access_log, envoy.USER, envoy.USER)
    file = netns.lab.state / f"envoy-{netns.name}.json"
    file.write_text(json.dumps(config, indent=1))
    return netns.start(
        f"{netns.name}-envoy", VENV / "envoy", "-c", file, "--concurrency", "1",
        "--disable-hot-restart", "--drain-time-s", "5", "--log-level", "info",
        "--file-flush-interval-msec", "100", user=envoy.USER)


def envoy_ready(process: Process) -> bool:
    return "starting workers" in process.output()


def listens(netns: Namespace, port: int) -> bool:
    return bool(netns.run("ss", "-Hltn", f"sport = :{port}").stdout.strip())
