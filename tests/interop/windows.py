# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: Isthmus authors
"""Flow control at its edges (RFC 9113 sections 5.2 and 6.9), with a real application behind."""

from __future__ import annotations

import contextlib
import os
import ssl
import time

from hyperframe import frame as frames

from tests.interop import peer as wire
from tests.interop.cases import expect, expect_equal
from tests.interop.node import Node
from tests.interop.peer import INITIAL_WINDOW_SIZE, Peer, accepted, read_exactly

APP = 8080
LARGEST = (1 << 31) - 1
DEFAULT = 65_535
FRAME = 16_384


def _data_in(seen: list[frames.Frame], stream: int) -> bytes:
    return b"".join(frame.data for frame in seen
                    if isinstance(frame, frames.DataFrame) and frame.stream_id == stream)


def one_byte_window(node: Node) -> None:
    """A window of one byte is filled byte by byte, never overrun."""
    with node.listen(APP) as listener, Peer(node, {INITIAL_WINDOW_SIZE: 1}) as peer:
        peer.open(1, APP)
        with accepted(listener) as app:
            app.sendall(b"abcde")
            got = peer.read(1, 1)
            expect_equal(_data_in(peer.quiet(), 1), b"", "beyond a window of one byte")
            for _ in range(4):
                peer.grant(1, 1)
                got += peer.read(1, 1)
            expect_equal(got, b"abcde", "received")


def zero_window(node: Node) -> None:
    """A window of nothing holds bytes back, and an end needs no window."""
    with node.listen(APP) as listener, Peer(node, {INITIAL_WINDOW_SIZE: 0}) as peer:
        peer.open(1, APP)
        peer.open(3, APP)
        with accepted(listener) as first, accepted(listener) as second:
            first.sendall(b"held")
            second.close()
            peer.ended(3)
            expect_equal(_data_in(peer.quiet(), 1), b"", "into no window")
            peer.grant(1, 100)
            expect_equal(peer.read(1, 4), b"held", "after the window opened")


def negative_window(node: Node) -> None:
    """SETTINGS that shrink a used window below nothing are paid back before more is sent."""
    with node.listen(APP) as listener, Peer(node, {INITIAL_WINDOW_SIZE: 1000}) as peer:
        peer.open(1, APP)
        with accepted(listener) as app:
            app.sendall(b"a" * 1000)
            peer.read(1, 1000)
            peer.send(frames.SettingsFrame(settings={INITIAL_WINDOW_SIZE: 100}))
            peer.alive()
            app.sendall(b"b" * 300)
            peer.grant(1, 900)  # the window is 0 now
            expect_equal(_data_in(peer.quiet(), 1), b"", "into a window that is not positive")
            peer.grant(1, 1)
            expect_equal(peer.read(1, 1), b"b", "into one byte of window")
            peer.send(frames.SettingsFrame(settings={INITIAL_WINDOW_SIZE: 1000}))
            expect_equal(peer.read(1, 299), b"b" * 299, "after SETTINGS opened the window")


def connection_window(node: Node) -> None:
    """The connection's window stops every stream and opens for all of them."""
    with node.listen(APP) as listener, Peer(node, {INITIAL_WINDOW_SIZE: LARGEST}) as peer:
        peer.open(1, APP)
        peer.open(3, APP)
        with accepted(listener) as first, accepted(listener) as second:
            first.sendall(b"1" * 100_000)
            second.sendall(b"3" * 100_000)
            seen = peer.quiet()
            got = {stream: len(_data_in(seen, stream)) for stream in (1, 3)}
            expect_equal(sum(got.values()), DEFAULT, "bytes in the connection's first window")
            peer.grant(0, 200_000)
            for stream, already in got.items():
                peer.read(stream, 100_000 - already)


def stream_overrun(node: Node) -> None:
    """DATA beyond a stream's window resets the stream alone: FLOW_CONTROL_ERROR."""
    with node.listen(APP) as listener, Peer(node) as peer:
        peer.open(1, APP)
        peer.open(3, APP)
        with accepted(listener) as stuck, accepted(listener) as other:
            window = peer.settings[INITIAL_WINDOW_SIZE]
            granted = _flood(peer, 1, window)
            expect_equal(peer.was_reset(1), wire.FLOW_CONTROL_ERROR, "RST_STREAM's code")
            expect(granted >= window, f"only {granted} bytes were taken")
            peer.data(3, b"alive")
            expect_equal(read_exactly(other, 5), b"alive", "on the other stream")
            stuck.close()


def _flood(peer: Peer, stream: int, window: int) -> int:
    """Sends more than the window of a stream whose application does not read; how much of it the
    window was when it was overrun."""
    room = window
    connection = DEFAULT
    sent = 0
    while room >= 0:
        for frame in peer.quiet(0.02):
            if isinstance(frame, frames.WindowUpdateFrame):
                if frame.stream_id == stream:
                    room += frame.window_increment
                elif frame.stream_id == 0:
                    connection += frame.window_increment
        burst = min(64, connection // FRAME)
        expect(burst > 0, "the connection's window closed with its stream's")
        for _ in range(burst):
            peer.data(stream, bytes(FRAME))
            room -= FRAME
            connection -= FRAME
            sent += FRAME
            if room < 0:
                break
    return sent


def connection_overrun(node: Node) -> None:
    """Unread bytes close the connection's window at last; DATA beyond it ends the connection."""
    before = node.reasons("h2").get("flow_control", 0)
    with node.listen(APP) as listener, Peer(node) as peer:
        streams = range(1, 161, 2)
        apps = []
        for stream in streams:
            peer.open(stream, APP)
            apps.append(accepted(listener))  # and nobody reads
        room = {0: DEFAULT} | dict.fromkeys(streams, peer.settings[INITIAL_WINDOW_SIZE])
        taken = 0
        for stream in streams:
            while room[stream] >= FRAME and _has_room(peer, room):
                peer.data(stream, bytes(FRAME))
                room[stream] -= FRAME
                room[0] -= FRAME
                taken += FRAME
            if room[stream] >= FRAME:
                break
        expect(room[0] < FRAME, f"the connection took {taken} bytes that nobody reads, and more")
        unused = next(stream for stream in streams if room[stream] > room[0] + FRAME)
        # It may be cut off in the middle, before its GOAWAY is read.
        with contextlib.suppress(ConnectionError, ssl.SSLEOFError):
            peer.data(unused, bytes(FRAME))
            expect_equal(peer.goaway(), wire.FLOW_CONTROL_ERROR, "GOAWAY's code")
        expect_equal(node.reasons("h2").get("flow_control", 0), before + 1, "overruns counted")
        for app in apps:
            app.close()


def _has_room(peer: Peer, room: dict[int, int]) -> bool:
    """Waits a little for the connection's window to open."""
    for seconds in (0.01, 1.0):
        if room[0] >= FRAME:
            break
        for frame in peer.quiet(seconds):
            if isinstance(frame, frames.WindowUpdateFrame) and frame.stream_id in room:
                room[frame.stream_id] += frame.window_increment
    return room[0] >= FRAME


def window_overflow(node: Node) -> None:
    """A window above 2^31-1 resets the stream, or ends the connection."""
    with node.listen(APP) as listener, Peer(node) as peer:
        peer.open(1, APP)
        with accepted(listener) as app:
            peer.grant(1, LARGEST)
            expect_equal(peer.was_reset(1), wire.FLOW_CONTROL_ERROR, "RST_STREAM's code")
            app.close()
        peer.grant(0, LARGEST)
        expect_equal(peer.goaway(), wire.FLOW_CONTROL_ERROR, "GOAWAY's code")


def settings_overflow(node: Node) -> None:
    """SETTINGS that lift a stream's window above 2^31-1 end the connection."""
    with node.listen(APP) as listener, Peer(node) as peer:
        peer.open(1, APP)
        with accepted(listener):
            peer.grant(1, LARGEST - DEFAULT)
            peer.alive()
            peer.send(frames.SettingsFrame(settings={INITIAL_WINDOW_SIZE: DEFAULT + 1}))
            expect_equal(peer.goaway(), wire.FLOW_CONTROL_ERROR, "GOAWAY's code")


def zero_increment(node: Node) -> None:
    """WINDOW_UPDATE by nothing: PROTOCOL_ERROR of the stream, or of the connection."""
    with node.listen(APP) as listener, Peer(node) as peer:
        peer.open(1, APP)
        with accepted(listener):
            peer.send_raw(bytes((0, 0, 4, 8, 0, 0, 0, 0, 1, 0, 0, 0, 0)))
            expect_equal(peer.was_reset(1), wire.PROTOCOL_ERROR, "RST_STREAM's code")
        peer.send_raw(bytes((0, 0, 4, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0)))
        expect_equal(peer.goaway(), wire.PROTOCOL_ERROR, "GOAWAY's code")


def slow_reader(node: Node) -> None:
    """An application that does not read stalls its own tunnel: the other moves 16 MiB meanwhile."""
    with node.listen(APP) as listener, Peer(node, {INITIAL_WINDOW_SIZE: LARGEST},
                                            LARGEST - DEFAULT) as peer:
        peer.open(1, APP)
        peer.open(3, APP)
        with accepted(listener) as stuck, accepted(listener) as other:
            stuck.settimeout(5)
            # Up to its window, which nobody reads.
            room = {0: DEFAULT, 1: peer.settings[INITIAL_WINDOW_SIZE],
                    3: peer.settings[INITIAL_WINDOW_SIZE]}
            _fill(peer, room, 1, room[1])
            payload = os.urandom(FRAME)
            left, got = 16 << 20, 0
            limit = time.monotonic() + 20
            while left:
                expect(time.monotonic() < limit, f"the other tunnel stalls, {left} bytes left")
                burst = min(left, 32 * FRAME)
                _fill(peer, room, 3, burst, payload)
                left -= burst
                got += len(read_exactly(other, burst))
            expect_equal(got, 16 << 20, "bytes through the other tunnel")


def _fill(peer: Peer, room: dict[int, int], stream: int, length: int,
          payload: bytes = bytes(FRAME)) -> None:
    """Sends so many bytes as windows open, whole frames at a time."""
    while length:
        size = min(length, FRAME)
        while room[0] < size or room[stream] < size:
            update = peer.wait(lambda frame: isinstance(frame, frames.WindowUpdateFrame))
            if update.stream_id in room:
                room[update.stream_id] += update.window_increment
        peer.data(stream, payload[:size])
        room[0] -= size
        room[stream] -= size
        length -= size


CASES = (one_byte_window, zero_window, negative_window, connection_window, stream_overrun,
         connection_overrun, window_overflow, settings_overflow, zero_increment, slow_reader)
