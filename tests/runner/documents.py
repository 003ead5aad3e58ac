# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: Isthmus authors
"""What the tree says of the program must be so: configurations in conf/ are accepted, and
docs/console.md is what the program prints of its commands."""

from __future__ import annotations

import subprocess

from tests.e2e.gateway.process import BINARY
from tests.runner.programs import ROOT
from tests.runner.report import Report

MESH = "mesh.yaml"  # read by way of the configurations that name it


def check(report: Report) -> None:
    if not BINARY.exists():
        report.skip("documents", f"{BINARY.relative_to(ROOT)} is not built")
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
    page = ROOT / "docs/console.md"
    printed = subprocess.run([BINARY, "--", "--dump-commands"], capture_output=True, text=True,
                             stdin=subprocess.DEVNULL, timeout=30, check=False).stdout
    if page.exists() and page.read_text() == printed:
        report.ok("docs/console.md")
    else:
        report.fail("docs/console.md", "is not what isthmus -- --dump-commands prints")
