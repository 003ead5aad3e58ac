# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: Isthmus authors
"""The quickstart as a newcomer runs it, then its paths again with two workers, bulk and crowds."""

from __future__ import annotations

import re
import subprocess

from tests.e2e import bulk, paths
from tests.e2e.gateway.process import BINARY
from tests.e2e.topology.lab import Lab
from tests.e2e.trial import Case, attempt
from tests.e2e.world import World
from tests.runner.programs import ROOT
from tests.runner.report import Report

WORKERS = 2
QUICKSTART_SECONDS = 600
LAST = "stopped"  # it ends the gateways


def run(report: Report, everything: bool, pieces: list[str]) -> None:
    """All of it, or the paths whose name has one of the pieces."""
    ordered = sorted((*paths.PATHS, *bulk.PATHS), key=lambda path: path.name == LAST)
    chosen = [path for path in ordered
              if everything or any(piece in f"e2e-{path.name}" for piece in pieces)]
    if not chosen:
        return
    if not BINARY.exists():
        report.skip("e2e", f"{BINARY.relative_to(ROOT)} is not built")
        return
    if everything:
        _quickstart(report)
    _two_workers(report, chosen)


def _quickstart(report: Report) -> None:
    """Its exit status must agree with what it printed."""
    log = ROOT / "build" / "quickstart.log"
    with log.open("w") as out:
        try:
            status = subprocess.run([ROOT / "scripts/quickstart"], stdout=out,
                                    stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                                    timeout=QUICKSTART_SECONDS, check=False).returncode
        except subprocess.TimeoutExpired:
            status = None
    printed = log.read_text(errors="replace")
    verdicts = re.findall(r"^(PASS|FAIL) ([\w-]+): (.*)", printed, re.MULTILINE)
    for verdict, name, title in verdicts:
        if verdict == "PASS":
            report.ok(f"quickstart-{name}", title)
        else:
            report.fail(f"quickstart-{name}", title)
    if len(verdicts) != len(paths.PATHS):
        report.fail("quickstart", f"tried {len(verdicts)} of {len(paths.PATHS)} paths, ended with"
                                  f" {status}")
    elif (status == 0) != all(verdict == "PASS" for verdict, *_ in verdicts):
        report.fail("quickstart", f"ended with {status}")
    if status != 0:
        print("\n".join(printed.splitlines()[-150:]), flush=True)


def _two_workers(report: Report, chosen: list[Case]) -> None:
    with Lab() as lab:
        try:
            world = World(lab, WORKERS)
            world.start()
        except Exception as error:  # no world, no paths; the reason is in it
            report.fail("e2e", f"the nodes do not come up: {error}")
            return
        for path in chosen:
            if attempt(world, path):
                report.ok(f"e2e-{path.name}", f"with {WORKERS} workers")
            else:
                report.fail(f"e2e-{path.name}", f"with {WORKERS} workers")
