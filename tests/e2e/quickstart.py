# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: Isthmus authors
"""scripts/quickstart: brings the plan up, tries every path and says what was seen."""

from __future__ import annotations

import argparse
import signal
import sys
import time

from tests.e2e import paths
from tests.e2e.topology.lab import Lab
from tests.e2e.trial import attempt
from tests.e2e.world import World


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/quickstart")
    parser.add_argument("--keep", action="store_true", help="leave everything up")
    parser.add_argument("--clean", action="store_true", help="remove what --keep left, and end")
    parser.add_argument("--only", action="append", metavar="NAME", default=[],
                        choices=[path.name for path in paths.PATHS], help="try this path alone")
    parser.add_argument("--workers", type=int, default=1, help="workers of each gateway")
    arguments = parser.parse_args()
    # A terminated run cleans up as an interrupted one does.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    if arguments.clean:
        Lab.sweep(kept=True)
        return 0

    chosen = [path for path in paths.PATHS
              if path.name in arguments.only or not arguments.only]
    started = time.monotonic()
    failed = []
    with Lab(keep=arguments.keep) as lab:
        world = World(lab, arguments.workers)
        world.start()
        print(f"five nodes, {len(world.pods)} pods and {len(world.gateways)} gateways are up"
              f" ({time.monotonic() - started:.0f} s)\n", flush=True)
        for path in chosen:
            if not attempt(world, path):
                failed.append(path.name)
        if arguments.keep:
            _keep(world)
    print(f"{len(chosen) - len(failed)} of {len(chosen)} paths PASS"
          f" ({time.monotonic() - started:.0f} s)" +
          (f", FAIL: {', '.join(failed)}" if failed else ""))
    return 1 if failed else 0


def _keep(world: World) -> None:
    for gateway in world.gateways.values():
        if not gateway.process.alive:
            gateway.start()
    lab = world.lab
    print(f"""kept: {lab.state} has configurations, logs and certificates.
  a shell in a pod       ip netns exec {lab.prefix}sleep bash
  the gateway of node a  socat - UNIX-CONNECT:{world.gateways[next(iter(world.gateways))].socket}
  all of it away         scripts/quickstart --clean
""")


if __name__ == "__main__":
    sys.exit(main())
