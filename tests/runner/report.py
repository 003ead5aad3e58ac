# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: Isthmus authors
"""What every part of the test run counts and prints."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field


@dataclass
class Report:
    """Counts tests; prints what a reader wants to see: failures, skips and one line a group."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0
    failures: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def ok(self, name: str, detail: str = "") -> None:
        self._count(name, "PASS", detail)

    def fail(self, name: str, why: str) -> None:
        self._count(name, "FAIL", why)

    def skip(self, name: str, why: str) -> None:
        self._count(name, "SKIP", why)

    def add(self, passed: int, failed: int, skipped: int) -> None:
        """Counts a group whose lines the caller printed."""
        with self._lock:
            self.passed += passed
            self.failed += failed
            self.skipped += skipped

    def _count(self, name: str, verdict: str, detail: str) -> None:
        with self._lock:
            self.passed += verdict == "PASS"
            self.failed += verdict == "FAIL"
            self.skipped += verdict == "SKIP"
            if verdict == "FAIL":
                self.failures.append(name)
            print(f"{verdict} {name}" + (f": {detail}" if detail else ""), flush=True)

    def close(self) -> int:
        """Prints the closing line; returns the exit code."""
        if self.failures:
            print("failed: " + ", ".join(self.failures))
        print(f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped", flush=True)
        return 0 if self.failed == 0 else 1
