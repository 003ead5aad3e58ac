# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: Isthmus authors
"""Others' suites and peers against a real gateway, in the peers' Python environment."""

from __future__ import annotations

import re
import subprocess

from tests.e2e.gateway.process import BINARY
from tests.runner.programs import ROOT
from tests.runner.report import Report

SUITES = {"interop-h2": "h2", "interop-tls": "tls", "interop-console": "console",
          "interop-envoy": "envoy"}
PYTHON = ROOT / "build/peers/venv/bin/python"
SECONDS, LONG_SECONDS = 600, 7200


def run(report: Report, suite: str, long: bool = False) -> None:
    """Its own closing line is what is counted; its exit status must agree. Shows what its cases
    say that they saw."""
    if not BINARY.exists():
        report.skip(suite, f"{BINARY.relative_to(ROOT)} is not built")
        return
    log = ROOT / "build" / f"{suite}.log"
    with log.open("w") as out:
        try:
            status = subprocess.run([PYTHON, "-m", "tests.interop", SUITES[suite],
                                     *(["--long"] if long else [])], cwd=ROOT, stdout=out,
                                    stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                                    timeout=LONG_SECONDS if long else SECONDS,
                                    check=False).returncode
        except subprocess.TimeoutExpired:
            status = None
    printed = log.read_text(errors="replace")
    closing = re.search(r"^(\d+) passed, (\d+) failed, (\d+) skipped$", printed, re.MULTILINE)
    counts = tuple(map(int, closing.groups())) if closing else (0, 0, 0)
    for name in re.findall(r"^FAIL (.*?): ", printed, re.MULTILINE):
        report.failures.append(f"{suite} {name}")
    for witnessed in re.findall(r"^PASS .*\n(?:     saw: .*\n)+", printed, re.MULTILINE):
        print(witnessed, end="")
    report.add(*counts)
    print(f"  {suite}: {counts[0]} passed, {counts[1]} failed, {counts[2]} skipped", flush=True)
    if not closing or (status == 0) != (counts[1] == 0):
        report.fail(suite, f"ended with {status}")
    if status != 0:
        print("\n".join(printed.splitlines()[-60:]), flush=True)
