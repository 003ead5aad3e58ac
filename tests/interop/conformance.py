# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: Isthmus authors
"""h2spec, all of its cases and the strict one, against port 15008 with a client certificate."""

from __future__ import annotations

import os
import subprocess
import xml.etree.ElementTree as xml
from pathlib import Path

from tests.e2e import plan
from tests.e2e.topology.node import ROOT
from tests.interop.node import PEER, POD, Node
from tests.runner.report import Report

SOURCE = Path(__file__).parent / "h2spec"
PROGRAM = ROOT / "build/peers/h2spec-mtls"
CASES = 146
# Some cases race with the server: one that asks for an answer after a frame that ends the
# connection, say. What fails once is asked again; what fails each time has failed.
RUNS = 3


def build() -> None:
    """Go fetches h2spec by the versions and sums in go.mod and go.sum."""
    PROGRAM.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["go", "build", "-o", PROGRAM, "."], cwd=SOURCE, check=True, timeout=600,
                   env={**os.environ, "GOFLAGS": "-mod=readonly -buildvcs=false"})


def _once(node: Node) -> dict[str, str]:
    """Each case's name with what went wrong, nothing for a pass."""
    junit = node.lab.state / "h2spec.xml"
    certificate, key = node.pem(PEER.name)
    node.network.run(PROGRAM, "-host", POD.address, "-port", str(plan.HBONE_PORT), "-cert",
                     certificate, "-key", key, "-junit", junit, timeout=300)
    results = {}
    for suite in xml.parse(junit).iter("testsuite"):
        for number, case in enumerate(suite.iter("testcase"), 1):
            wrong = [part.tag + ": " + " ".join("".join(part.itertext()).split())
                     for part in case if part.tag in ("failure", "error", "skipped")]
            name = f"{case.get('package')} {number} {case.get('classname')}"
            results[name] = "; ".join(wrong)
    return results


def check(report: Report, node: Node) -> None:
    build()
    wrong = results = _once(node)
    runs = 1
    while any(wrong.values()) and runs < RUNS:
        again = _once(node)
        wrong = {name: again.get(name, "vanished") for name, why in wrong.items() if why}
        runs += 1
    failed = {name: why for name, why in wrong.items() if why}
    for name, why in failed.items():
        report.fail(f"h2spec {name}", why)
    if len(results) != CASES:
        report.fail("h2spec", f"ran {len(results)} cases, not {CASES}")
    report.add(len(results) - len(failed), 0, 0)
    print(f"  h2spec: {len(results) - len(failed)} of {CASES} cases passed, in {runs} run(s)",
          flush=True)
