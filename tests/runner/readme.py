# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: Isthmus authors
"""README.md promises that its commands work as they stand. The long ones are what this run itself
does (the quickstart as the part e2e, the tests as the whole); every other one is run here."""

from __future__ import annotations

import re
import subprocess

from tests.runner.programs import ROOT
from tests.runner.report import Report

OURS = {"scripts/quickstart": "run by e2e", "scripts/test": "this run"}
SECONDS = 600


def check(report: Report) -> None:
    readme = ROOT / "README.md"
    if not readme.exists():
        report.skip("readme", "there is no README.md")
        return
    blocks = re.findall(r"^```(?:sh|bash|shell)\n(.*?)^```", readme.read_text(),
                        re.MULTILINE | re.DOTALL)
    commands = [line for block in blocks for line in block.splitlines()
                if line.strip() and not line.startswith("#")]
    missing = [command for command in OURS
               if not any(_plain(line) == command for line in commands)]
    if missing:
        report.fail("readme", f"does not show {', '.join(missing)}")
    for line in commands:
        if _plain(line) in OURS:
            report.ok(f"readme: {line}", OURS[_plain(line)])
            continue
        done = subprocess.run(["bash", "-euo", "pipefail", "-c", _plain(line)], cwd=ROOT,
                              capture_output=True, text=True, stdin=subprocess.DEVNULL,
                              timeout=SECONDS, check=False)
        if done.returncode == 0:
            report.ok(f"readme: {line}")
        else:
            report.fail(f"readme: {line}", (done.stdout + done.stderr)[-2000:])


def _plain(line: str) -> str:
    """Without sudo, which this run has no need of, and without a remark."""
    return line.partition("  #")[0].strip().removeprefix("sudo ")
