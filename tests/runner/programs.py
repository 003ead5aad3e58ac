# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: Isthmus authors
"""Builds a flavour and runs its gtest programs as an unprivileged user."""

from __future__ import annotations

import concurrent.futures
import json
import os
import shutil
import subprocess
import tempfile
import time
import xml.etree.ElementTree as xml
from dataclasses import dataclass
from pathlib import Path

from tests.runner.report import Report

ROOT = Path(__file__).resolve().parents[2]
USER, GROUP = "nobody", "nogroup"
PRIVILEGED = "privileged"  # the suite of programs that need root
SKIPPED = 77  # a script's exit status for that, as meson has it


@dataclass(frozen=True)
class Program:
    """One meson test: a gtest executable with its arguments."""

    name: str
    suites: tuple[str, ...]
    command: tuple[str, ...]
    timeout: int
    cwd: str | None


def build(flavour: str, *targets: str) -> bool:
    """True when the flavour (or the targets of it) is built; the compiler's words are printed."""
    started = time.monotonic()
    log = ROOT / "build" / f"{flavour}.log"
    log.parent.mkdir(exist_ok=True)
    with log.open("w") as out:
        done = subprocess.run([ROOT / "scripts/build", flavour, *targets], stdout=out,
                              stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, check=False)
    print(f"build {flavour}: {time.monotonic() - started:.0f} s", flush=True)
    if done.returncode != 0:
        print("\n".join(log.read_text(errors="replace").splitlines()[-60:]), flush=True)
    return done.returncode == 0


def programs(flavour: str) -> list[Program]:
    """The meson tests of a configured flavour."""
    listing = subprocess.run(["meson", "introspect", "--tests", ROOT / "build" / flavour],
                             capture_output=True, text=True, check=True)
    return [Program(test["name"], tuple(suite.split(":")[-1] for suite in test["suite"]),
                    tuple(test["cmd"]), test["timeout"] or 600, test["workdir"])
            for test in json.loads(listing.stdout)]


def unprivileged() -> list[str]:
    """The command prefix that gives up root, keeping only the right to reach the programs."""
    prefix = ["setpriv", f"--reuid={USER}", f"--regid={GROUP}", "--clear-groups"]
    reachable = subprocess.run([*prefix, "test", "-r", ROOT / "meson.build"], check=False)
    if reachable.returncode == 0:
        return [*prefix, "--inh-caps=-all", "--bounding-set=-all"]
    return [*prefix, "--inh-caps=-all,+dac_read_search", "--ambient-caps=-all,+dac_read_search"]


def run(report: Report, flavour: str, chosen: list[Program], slower: int = 1,
        arguments: tuple[str, ...] = (), long: bool = False) -> None:
    """Runs programs, as many at once as there are processors, and counts their test cases."""
    prefix = unprivileged()
    # Kernel interfaces are made with privileges, in a network namespace that nobody else is in.
    isolated = ["unshare", "--net"]
    with tempfile.TemporaryDirectory(prefix="isthmus-test-") as scratch:
        shutil.chown(scratch, USER, GROUP)
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            for program in chosen:
                wrapper = isolated if PRIVILEGED in program.suites else prefix
                pool.submit(_run_one, report, flavour, program, wrapper, Path(scratch), slower,
                            arguments, long)


def _run_one(report: Report, flavour: str, program: Program, prefix: list[str], scratch: Path,
             slower: int, arguments: tuple[str, ...], long: bool) -> None:
    name = program.name if flavour == "release" else f"{flavour}:{program.name}"
    try:
        results = scratch / f"{program.name}.xml"
        environment = {
            "PATH": os.environ["PATH"], "HOME": str(scratch), "TMPDIR": str(scratch),
            "XDG_RUNTIME_DIR": str(scratch), "GTEST_OUTPUT": f"xml:{results}",
            "ASAN_OPTIONS": "detect_leaks=1:detect_stack_use_after_return=1",
            "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
        }
        if flavour == "sanitize":  # ten times slower: fewer seeds, and no rates over minutes
            environment |= {"ISTHMUS_SEEDS": "150", "GTEST_FILTER": "-Goodput.*"}
        elif long:  # every seed that is promised, not the subset
            environment["ISTHMUS_LONG"] = "1"
        log = ROOT / "build" / flavour / f"{program.name}.log"
        started = time.monotonic()
        with log.open("w") as out:
            try:
                status = subprocess.run(
                    [*prefix, *program.command, *arguments], env=environment,
                    cwd=program.cwd or ROOT / "build" / flavour, timeout=program.timeout * slower,
                    stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
                    check=False).returncode
            except subprocess.TimeoutExpired:
                status = None
        _count(report, name, status, results, log, time.monotonic() - started,
               "interop" in program.suites)
    except Exception as error:  # A broken runner must not look like a passing test.
        report.fail(name, f"could not be run: {error!r}")


def _count(report: Report, name: str, status: int | None, results: Path, log: Path,
           seconds: float, tells: bool) -> None:
    """tells: its words are figures, worth printing even when all is well."""
    words = log.read_text(errors="replace").splitlines()
    if not results.exists() and status in (0, SKIPPED):  # a script: one test, says why it skips
        if status == 0:
            report.ok(name)
        else:
            report.skip(name, words[-1] if words else "no reason given")
        return
    passed: list[str] = []
    failed: list[str] = []
    skipped: list[tuple[str, str]] = []
    for case in xml.parse(results).iter("testcase") if results.exists() else []:
        label = f"{name} {case.get('classname')}.{case.get('name')}"
        if case.find("failure") is not None:
            failed.append(label)
        elif case.get("result") == "skipped" or case.get("status") == "notrun":
            mark = case.find("skipped")
            skipped.append((label, "disabled" if mark is None else mark.get("message", "")))
        else:
            passed.append(label)
    for label, why in skipped:
        report.skip(label, why.strip().splitlines()[-1] if why.strip() else "no reason given")
    for label in failed:
        report.fail(label, f"see {log.relative_to(ROOT)}")
    report.add(len(passed), 0, 0)
    print(f"  {name}: {len(passed)} passed, {len(failed)} failed, {len(skipped)} skipped"
          f" ({seconds:.1f} s)", flush=True)
    if status != 0:
        if not failed:
            report.fail(name, "ran out of time" if status is None else f"ended with {status}")
        print("\n".join(words[-40:]), flush=True)
    elif not passed and not failed and not skipped:
        report.fail(name, "ran no test case")
    elif tells:
        print("\n".join(f"    {line}" for line in words), flush=True)
