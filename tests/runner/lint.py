# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: Isthmus authors
"""Format, clang-tidy, shellcheck, and reasons that nothing counts. A file that clang-tidy passed is not read again until it, or
a header of the project that it includes, changes."""

from __future__ import annotations

import concurrent.futures
import hashlib
import json
import os
import re
import subprocess
import time
from pathlib import Path

from tests.runner.programs import ROOT
from tests.runner.report import Report

SOURCES = ("lib", "drivers", "app", "tests", "bench")


def sources(*suffixes: str) -> list[Path]:
    return sorted(path for folder in SOURCES for path in (ROOT / folder).rglob("*")
                  if path.suffix in suffixes)


def format_check(report: Report) -> None:
    files = sources(".h", ".cc")
    done = subprocess.run(["clang-format-14", "--dry-run", "--Werror", *files],
                          capture_output=True, text=True, check=False)
    if done.returncode == 0:
        report.ok("lint-format", f"{len(files)} files")
        return
    wrong = sorted({line.split(":")[0] for line in done.stderr.splitlines() if ": error:" in line})
    report.fail("lint-format", "clang-format-14 -i " +
                " ".join(os.path.relpath(path, ROOT) for path in wrong))


def scripts_check(report: Report) -> None:
    scripts = [path for path in [ROOT / ".ci/run", *sorted((ROOT / "scripts").iterdir())]
               if path.is_file() and path.open("rb").readline().startswith(b"#!/usr/bin/env bash")]
    done = subprocess.run(["shellcheck", *scripts], capture_output=True, text=True, check=False)
    if done.returncode == 0:
        report.ok("lint-scripts", f"{len(scripts)} files")
    else:
        report.fail("lint-scripts", done.stdout)


def reasons_check(report: Report) -> None:
    """Every reason that reason.def names can be given by some code; what explains them to people
    gives none."""
    names = re.findall(r"^ISTHMUS_REASON\((\w+), (\w+),", (ROOT / "lib/stats/reason.def").read_text(),
                       re.MULTILINE)
    code = "".join(path.read_text() for path in sources(".h", ".cc")
                   if path.relative_to(ROOT).parts[0] in ("lib", "drivers", "app")
                   and path.relative_to(ROOT) != Path("lib/flow/walk.cc"))
    given = set(re.findall(r"\bReason::(\w+)", code))
    unused = [f"{room}_{name}" for room, name in names if f"{room}_{name}" not in given]
    if unused:
        report.fail("lint-reasons", "in reason.def, but nothing counts " + ", ".join(unused))
    else:
        report.ok("lint-reasons", f"{len(names)} reasons")


def tidy(report: Report, seconds: float | None) -> None:
    """Reads every file that the build compiles, those changed last first; with a limit, what was
    not reached is a skip."""
    folder = ROOT / "build" / "tidy"  # configured, never built: each file by itself
    if not (folder / "compile_commands.json").exists():
        subprocess.run(["meson", "setup", folder, ROOT], stdout=subprocess.DEVNULL, check=True,
                       env={**os.environ, "CC": "clang-14", "CXX": "clang++-14"})
    commands = json.loads((folder / "compile_commands.json").read_text())
    files = {}
    for command in commands:
        file = Path(os.path.normpath(Path(command["directory"]) / command["file"]))
        if file.is_relative_to(ROOT) and not file.is_relative_to(folder):
            searched = [Path(os.path.normpath(folder / path))
                        for path in re.findall(r" -I(\S+)", command["command"])]
            files[file] = _inputs(file, searched)
    order = sorted(files, key=lambda file: -file.stat().st_mtime)
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "isthmus" / "tidy"
    cache.mkdir(parents=True, exist_ok=True)
    end = None if seconds is None else time.monotonic() + seconds

    def check(file: Path) -> tuple[Path, str | None]:
        """The complaint, "" when clean, None when time was up."""
        stamp = cache / _digest(files[file])
        if stamp.exists():
            return file, ""
        if end is not None and time.monotonic() > end:
            return file, None
        done = subprocess.run(["clang-tidy-14", "--quiet", "-p", folder, file],
                              capture_output=True, text=True, check=False)
        if done.returncode == 0:
            stamp.touch()
            return file, ""
        return file, done.stdout or done.stderr

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        results = list(pool.map(check, order))
    left = [file for file, complaint in results if complaint is None]
    wrong = [(file, complaint) for file, complaint in results if complaint]
    for file, complaint in wrong:
        report.fail(f"lint-tidy {file.relative_to(ROOT)}", complaint)
    if not wrong:
        report.ok("lint-tidy", f"{len(results) - len(left)} files")
    if left:
        report.skip("lint-tidy", f"{len(left)} files not reached in {seconds:.0f} s; --long has no"
                                 " limit")


def _inputs(file: Path, searched: list[Path]) -> list[Path]:
    """The file and the project's files that it includes, however deep."""
    found = [file]
    for path in found:
        for name in re.findall(r'^#include "([^"]+)"', path.read_text(), re.MULTILINE):
            places = (Path(os.path.normpath(folder / name)) for folder in (path.parent, *searched))
            included = next((place for place in places if place.is_file()), None)
            if included and included not in found:
                found.append(included)
    return sorted(found)


def _digest(files: list[Path]) -> str:
    digest = hashlib.sha256()
    for file in (ROOT / ".clang-tidy", ROOT / "tests" / ".clang-tidy", *files):
        digest.update(str(file.relative_to(ROOT)).encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()
