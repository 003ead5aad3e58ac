# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: Isthmus authors
"""scripts/test: all parts in order, counted together."""

from __future__ import annotations

import argparse
import sys
import time

from tests.runner import conf, docs, e2e, interop, lint, programs, readme
from tests.runner.report import Report

PARTS = ("lint", "unit", "sim", "interop", *interop.SUITES, "sanitize", "conf", "e2e", "readme")
# A whole run is to end within twenty minutes on two processors, from nothing; clang-tidy comes last
# and reads what it can in the time that is left of these, and in a minute at the least.
SECONDS, TIDY_SECONDS = 1080.0, 60.0


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/test")
    parser.add_argument("--long", action="store_true", help="no time limits")
    parser.add_argument("names", nargs="*", help="parts, or pieces of test names")
    arguments = parser.parse_args()
    report = Report()
    started = time.monotonic()

    parts = [name for name in arguments.names if name in PARTS]
    pieces = [name for name in arguments.names if name not in PARTS]

    def wanted(part: str) -> bool:
        return part in parts or not arguments.names

    def chosen(flavour: str, suite: str) -> list[programs.Program]:
        return [program for program in programs.programs(flavour) if suite in program.suites
                and (wanted(suite) or any(piece in program.name for piece in pieces))]

    if wanted("lint"):
        lint.format_check(report)
        lint.scripts_check(report)
        lint.reasons_check(report)
    if not programs.build("release"):
        report.fail("build", "see build/release.log")
        return report.close()
    report.ok("build")
    for suite in ("unit", "sim", "interop"):
        programs.run(report, "release", chosen("release", suite), slower=4 if arguments.long else 1,
                     long=arguments.long)
    if wanted("unit"):
        docs.tcp_check(report, [program for program in programs.programs("release")
                                if {"unit", "sim"} & set(program.suites)])
    for suite in interop.SUITES:
        if wanted(suite):
            interop.run(report, suite, arguments.long)
    if wanted("sanitize"):
        _sanitize(report)
    if wanted("conf"):
        conf.check(report)
    e2e.run(report, wanted("e2e"), pieces)
    if wanted("readme"):
        readme.check(report)
    if wanted("lint"):
        left = max(TIDY_SECONDS, SECONDS - (time.monotonic() - started))
        lint.tidy(report, None if arguments.long else left)
    print(f"{time.monotonic() - started:.0f} s")
    return report.close()


def _sanitize(report: Report) -> None:
    """Units and simulator again, with the address and undefined behaviour sanitizers."""
    tests = [test for test in programs.programs("release") if {"unit", "sim"} & set(test.suites)]
    if not tests:
        return
    folder = programs.ROOT / "build"
    targets = [test.command[0].removeprefix(f"{folder}/release/") for test in tests]
    if not programs.build("sanitize", *targets):
        report.fail("build sanitize", "see build/sanitize.log")
        return
    report.ok("build sanitize")
    programs.run(report, "sanitize",
                 [test for test in programs.programs("sanitize")
                  if {"unit", "sim"} & set(test.suites)], slower=4)


if __name__ == "__main__":
    sys.exit(main())
