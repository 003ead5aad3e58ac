# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: Isthmus authors
"""The tests that docs/tcp.md names are there."""

from __future__ import annotations

import re
import subprocess

from tests.runner import programs
from tests.runner.report import Report

PAGE = "docs/tcp.md"


def tests_of(program: programs.Program) -> set[str]:
    """Suite.Name of each test of a gtest program, without the prefix and suffix of parameters."""
    listing = subprocess.run([*programs.unprivileged(), *program.command, "--gtest_list_tests"],
                             capture_output=True, text=True, check=False, cwd=program.cwd,
                             timeout=program.timeout)
    suite, found = "", set()
    for line in listing.stdout.splitlines():
        if match := re.fullmatch(r"(?:\w+/)?(\w+)\.", line.split("#")[0].strip()):
            suite = match[1]
        elif match := re.fullmatch(r"  (\w+)(?:/\S+)?\s*(?:#.*)?", line):
            found.add(f"{suite}.{match[1]}")
    return found


def tcp_check(report: Report, chosen: list[programs.Program]) -> None:
    named = set(re.findall(r"`([A-Z]\w+\.[A-Z]\w+)`", (programs.ROOT / PAGE).read_text()))
    there = set().union(*(tests_of(program) for program in chosen))
    if missing := sorted(named - there):
        report.fail("docs-tcp", f"{PAGE} names tests that are not there: " + ", ".join(missing))
    else:
        report.ok("docs-tcp", f"{len(named)} tests")
