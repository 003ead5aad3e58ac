# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: Isthmus authors
"""The configurations in conf/ are accepted by the program."""

from __future__ import annotations

import subprocess

from tests.e2e.gateway.process import BINARY
from tests.runner.programs import ROOT
from tests.runner.report import Report

MESH = "mesh.yaml"  # read by way of the configurations that name it


def check(report: Report) -> None:
    if not BINARY.exists():
        report.skip("conf", f"{BINARY.relative_to(ROOT)} is not built")
        return
    for file in sorted((ROOT / "conf").glob("*.yaml")):
        if file.name == MESH:
            continue
        done = subprocess.run([BINARY, "--", "--check", "--config", file], capture_output=True,
                              text=True, stdin=subprocess.DEVNULL, timeout=30, check=False)
        if done.returncode == 0:
            report.ok(f"conf/{file.name}")
        else:
            report.fail(f"conf/{file.name}", done.stdout + done.stderr)
