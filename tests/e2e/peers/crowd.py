# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: Isthmus authors
"""A crowd of HTTP clients. Arguments: address, port, how many at once, how many short ones then.
The first crowd opens all its connections, is answered on each, and closes only then."""

import asyncio
import sys
import time

SHORT_AT_ONCE = 32
SECONDS = 120.0


class Crowd:
    def __init__(self, host: str, port: int) -> None:
        self.host, self.port = host, port
        self.request = f"GET /crowd HTTP/1.1\r\nhost: {host}\r\n\r\n".encode()
        self.served = 0
        self.failed: list[str] = []

    async def visit(self, leave: asyncio.Event | None = None) -> None:
        """One connection, one request; with `leave` it stays open until that is set."""
        try:
            reader, writer = await asyncio.open_connection(self.host, self.port)
            try:
                writer.write(self.request)
                head = await reader.readuntil(b"\r\n\r\n")
                if not head.startswith(b"HTTP/1.1 200 "):
                    raise ConnectionError(head.splitlines()[0].decode())
                self.served += 1
                if leave:
                    await leave.wait()
            finally:
                writer.close()
                await writer.wait_closed()
        except (OSError, EOFError) as error:
            self.failed.append(repr(error))

    async def together(self, count: int) -> None:
        leave = asyncio.Event()
        visits = [asyncio.create_task(self.visit(leave)) for _ in range(count)]
        while self.served + len(self.failed) < count:
            await asyncio.sleep(0.01)
        leave.set()
        await asyncio.gather(*visits)

    async def one_after_the_other(self, count: int) -> None:
        turns = iter(range(count))

        async def visitor() -> None:
            for _ in turns:
                await self.visit()

        await asyncio.gather(*(visitor() for _ in range(SHORT_AT_ONCE)))


async def main() -> int:
    host, port, at_once, then = sys.argv[1], *map(int, sys.argv[2:5])
    crowd = Crowd(host, port)
    started = time.monotonic()
    await asyncio.wait_for(crowd.together(at_once), SECONDS)
    between = time.monotonic()
    print(f"{crowd.served} of {at_once} connections at once served in {between - started:.1f} s")
    await asyncio.wait_for(crowd.one_after_the_other(then), SECONDS)
    taken = time.monotonic() - between
    print(f"{crowd.served - at_once} of {then} short connections served in {taken:.1f} s,"
          f" {then / taken:.0f} a second")
    for failure in crowd.failed[:5]:
        print(failure)
    return 0 if crowd.served == at_once + then else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
