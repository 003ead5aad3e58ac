# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: Isthmus authors
"""A lab is what one run owns: network namespaces with a prefix of its own, a state folder, and the
processes that it started. Closing it removes all of them; a lab whose run was cut off is removed by
the next one."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

STATE = Path("/run/isthmus-lab")


class LabError(Exception):
    """Something of the lab could not be made; says what and why."""


def run(*command: str | Path, check: bool = True, timeout: float = 60, stdin: str | None = None,
        ) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end. With `check` a failure raises LabError with its words."""
    words = [str(word) for word in command]
    done = subprocess.run(words, capture_output=True, text=True, input=stdin or "",
                          timeout=timeout, check=False, errors="replace")
    if check and done.returncode != 0:
        raise LabError(f"{' '.join(words)}: {done.stderr.strip() or done.stdout.strip()}")
    return done


def birth(pid: int) -> int | None:
    """When a process started, in ticks since boot: with the pid it names a process for good."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return None


def end(pid: int, born: int | None, patience: float = 5.0) -> None:
    """Ends one process (SIGTERM, then SIGKILL) if it still is the one that was born then."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        if born is None or birth(pid) != born:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, sign)
        limit = time.monotonic() + patience
        while birth(pid) == born and time.monotonic() < limit:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
            time.sleep(0.02)


class Process:
    """A process that a lab started."""

    def __init__(self, lab: Lab, name: str, popen: subprocess.Popen[bytes], log: Path) -> None:
        self.lab, self.name, self.popen, self.log = lab, name, popen, log

    @property
    def pid(self) -> int:
        return self.popen.pid

    @property
    def alive(self) -> bool:
        return self.popen.poll() is None

    def stop(self, patience: float = 10.0, sign: int = signal.SIGTERM) -> int | None:
        """Ends it; its exit status, or None when it had to be killed."""
        if self.alive:
            self.popen.send_signal(sign)
            try:
                self.popen.wait(patience)
            except subprocess.TimeoutExpired:
                self.popen.kill()
                self.popen.wait()
                return None
        return self.popen.returncode

    def output(self) -> str:
        return self.log.read_text(errors="replace")


class Namespace:
    """A network namespace of the lab."""

    def __init__(self, lab: Lab, name: str) -> None:
        self.lab, self.name = lab, name
        self.full = f"{lab.prefix}{name}"
        run("ip", "netns", "add", self.full)
        self.ip("link set lo up")

    @property
    def path(self) -> str:
        return f"/run/netns/{self.full}"

    def ip(self, *lines: str) -> None:
        """Runs `ip` commands in it, in one go."""
        run("ip", "-n", self.full, "-batch", "-", stdin="\n".join(lines) + "\n")

    def nft(self, rules: str) -> None:
        run("ip", "netns", "exec", self.full, "nft", "-f", "-", stdin=rules)

    def sysctl(self, *settings: str) -> None:
        run("ip", "netns", "exec", self.full, "sysctl", "-qw", *settings)

    def run(self, *command: str | Path, check: bool = True, timeout: float = 60,
            stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        return run("ip", "netns", "exec", self.full, *command, check=check, timeout=timeout,
                   stdin=stdin)

    def start(self, name: str, *command: str | Path, user: int | None = None,
              environment: dict[str, str] | None = None) -> Process:
        """Starts a process in it; `user` runs it under that uid and gid."""
        as_user = () if user is None else ("setpriv", f"--reuid={user}", f"--regid={user}",
                                           "--clear-groups")
        return self.lab.start(name, "ip", "netns", "exec", self.full, *as_user, *command,
                              environment=environment)


class Lab:
    """What one run owns. Use as a context manager, or call close()."""

    def __init__(self, keep: bool = False) -> None:
        """With `keep` closing leaves everything up, for Lab.sweep(kept=True) to remove."""
        Lab.sweep()
        self.keep = keep
        self.prefix = f"isthmus-{os.getpid()}-"
        self.state = STATE / str(os.getpid())
        self.logs = self.state / "logs"
        self.processes: list[Process] = []
        self.namespaces: dict[str, Namespace] = {}
        shutil.rmtree(self.state, ignore_errors=True)
        self.logs.mkdir(parents=True)
        self.logs.chmod(0o777)
        (self.state / "owner").write_text(str(birth(os.getpid())))

    def __enter__(self) -> Lab:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def namespace(self, name: str) -> Namespace:
        self.namespaces[name] = Namespace(self, name)
        return self.namespaces[name]

    def start(self, name: str, *command: str | Path,
              environment: dict[str, str] | None = None) -> Process:
        log = self.logs / f"{name}.log"
        with log.open("ab") as out:
            popen = subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL,
                                     stdout=out, stderr=subprocess.STDOUT, start_new_session=True,
                                     env={**os.environ, **(environment or {})})
        process = Process(self, name, popen, log)
        self.processes.append(process)
        self.remember(popen.pid)
        return process

    def remember(self, pid: int) -> None:
        """Records a process that another lab may have to end."""
        with self._pids("a") as pids:
            pids.write(f"{pid} {birth(pid)}\n")

    def remember_daemon(self, pidfile: Path) -> None:
        self.remember(int(pidfile.read_text()))

    def _pids(self, mode: str) -> IO[str]:
        return (self.state / "pids").open(mode)

    def close(self) -> None:
        if self.keep:
            (self.state / "kept").touch()
            return
        _remove(self.state)

    @staticmethod
    def sweep(kept: bool = False) -> None:
        """Removes labs whose run is gone, and with `kept` those that were left up on purpose."""
        for state in STATE.iterdir() if STATE.is_dir() else ():
            pid = int(state.name)
            owner = state / "owner"
            owned = owner.exists() and str(birth(pid)) == owner.read_text()
            if not owned and (kept or not (state / "kept").exists()):
                _remove(state)


def _remove(state: Path) -> None:
    pids = state / "pids"
    lines = pids.read_text().split("\n") if pids.exists() else []
    # Last started, first ended: captures outlive what they watch only by accident.
    known = [tuple(map(int, line.split())) for line in reversed(lines)
             if line and "None" not in line]
    for pid, born in known:
        if birth(pid) == born:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
    for pid, born in known:
        end(pid, born)
    prefix = f"isthmus-{state.name}-"
    for line in run("ip", "netns", "list").stdout.splitlines():
        name = line.split()[0]
        if name.startswith(prefix):
            run("ip", "netns", "del", name, check=False)
    shutil.rmtree(state, ignore_errors=True)


def wait_for(what: str, ready: Callable[[], bool], seconds: float = 10.0) -> None:
    """Polls a callable until it is true; LabError with `what` when time is up."""
    limit = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > limit:
            raise LabError(f"{what}: not within {seconds:.0f} s")
        time.sleep(0.05)
