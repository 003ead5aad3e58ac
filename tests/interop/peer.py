# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: Isthmus authors
"""An HTTP/2 client that sends whatever frames a case wants, over mutual TLS."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Callable, Iterable

import hpack
from hyperframe import frame as frames

from tests.interop.cases import Broken, expect_equal
from tests.interop.node import PEER, POD, Node

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
Headers = list[tuple[str, str]]

NO_ERROR, PROTOCOL_ERROR, FLOW_CONTROL_ERROR = 0, 1, 3
STREAM_CLOSED, FRAME_SIZE_ERROR, REFUSED_STREAM, CANCEL = 5, 6, 7, 8
CONNECT_ERROR, ENHANCE_YOUR_CALM = 10, 11

INITIAL_WINDOW_SIZE = frames.SettingsFrame.INITIAL_WINDOW_SIZE


def context(node: Node, who: str = PEER.name) -> ssl.SSLContext:
    """Mutual TLS 1.3 with ALPN h2 and the mesh's root."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.minimum_version = ssl.TLSVersion.TLSv1_3
    made.check_hostname = False  # a SPIFFE id is no host name
    made.load_verify_locations(node.certificates / "ca.crt")
    made.load_cert_chain(*node.pem(who))
    made.set_alpn_protocols(["h2"])
    return made


class Peer:
    """Frames go out as they are; nothing is answered by itself but SETTINGS and PING."""

    def __init__(self, node: Node, settings: dict[int, int] | None = None,
                 connection_window: int = 0) -> None:
        self.tls = context(node).wrap_socket(node.dial())
        expect_equal(self.tls.selected_alpn_protocol(), "h2", "ALPN")
        self._encoder = hpack.Encoder()
        self._decoder = hpack.Decoder()
        self._received = b""
        # What came while something else was waited for.
        self._passed: list[frames.Frame] = []
        self.settings: dict[int, int] = {}
        first: list[frames.Frame] = [frames.SettingsFrame(settings=settings or {})]
        if connection_window:
            first.append(frames.WindowUpdateFrame(0, window_increment=connection_window))
        self.send_raw(PREFACE + b"".join(frame.serialize() for frame in first))

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.tls.close()

    def send_raw(self, data: bytes) -> None:
        self.tls.sendall(data)

    def send(self, *out: frames.Frame) -> None:
        self.send_raw(b"".join(frame.serialize() for frame in out))

    def headers(self, stream: int, fields: Headers, flags: Iterable[str] = ()) -> frames.Frame:
        return frames.HeadersFrame(stream, data=self._encoder.encode(fields),
                                   flags=["END_HEADERS", *flags])

    def connect(self, stream: int, authority: str, *fields: tuple[str, str],
                flags: Iterable[str] = ()) -> None:
        self.send(self.headers(stream, [(":method", "CONNECT"), (":authority", authority),
                                        *fields], flags))

    def data(self, stream: int, payload: bytes, end: bool = False) -> None:
        self.send(frames.DataFrame(stream, data=payload, flags=["END_STREAM"] if end else []))

    def reset(self, stream: int, code: int) -> None:
        self.send(frames.RstStreamFrame(stream, error_code=code))

    def grant(self, stream: int, increment: int) -> None:
        self.send(frames.WindowUpdateFrame(stream, window_increment=increment))

    # -- what comes ------------------------------------------------------------------------------

    def frame(self) -> frames.Frame:
        """The next frame from the wire; EOFError behind the last."""
        while True:
            if len(self._received) >= 9:
                frame, length = frames.Frame.parse_frame_header(memoryview(self._received[:9]))
                if len(self._received) >= 9 + length:
                    frame.parse_body(memoryview(self._received[9:9 + length]))
                    self._received = self._received[9 + length:]
                    self._on_frame(frame)
                    return frame
            piece = self.tls.recv(65536)
            if not piece:
                raise EOFError("close_notify")
            self._received += piece

    def _on_frame(self, frame: frames.Frame) -> None:
        if isinstance(frame, frames.SettingsFrame) and "ACK" not in frame.flags:
            self.settings |= frame.settings
            self.send(frames.SettingsFrame(flags=["ACK"]))
        if isinstance(frame, frames.PingFrame) and "ACK" not in frame.flags:
            self.send(frames.PingFrame(0, opaque_data=frame.opaque_data, flags=["ACK"]))
        if isinstance(frame, frames.HeadersFrame):
            frame.fields = dict(self._decoder.decode(frame.data))

    def wait(self, wanted: Callable[[frames.Frame], bool]) -> frames.Frame:
        """The first frame that is wanted, of those that passed and those that come."""
        for place, frame in enumerate(self._passed):
            if wanted(frame):
                return self._passed.pop(place)
        while True:
            frame = self.frame()
            if wanted(frame):
                return frame
            self._passed.append(frame)

    def answer(self, stream: int) -> tuple[int, bool]:
        """The answer's status, and whether the stream ended with it."""
        frame = self.wait(lambda frame: frame.stream_id == stream and isinstance(
            frame, frames.HeadersFrame | frames.RstStreamFrame))
        if isinstance(frame, frames.RstStreamFrame):
            raise Broken(f"stream {stream} was reset by {frame.error_code}, not answered")
        return int(frame.fields[":status"]), "END_STREAM" in frame.flags

    def open(self, stream: int, port: int) -> None:
        """A tunnel to a port of the pod."""
        self.connect(stream, f"{POD.address}:{port}")
        expect_equal(self.answer(stream), (200, False), f"answer on stream {stream}")

    def read(self, stream: int, length: int) -> bytes:
        """So many bytes of DATA, whatever the frames; the rest of a last frame as well."""
        got = b""
        while len(got) < length:
            frame = self.wait(lambda frame: frame.stream_id == stream and isinstance(
                frame, frames.DataFrame | frames.RstStreamFrame))
            if isinstance(frame, frames.RstStreamFrame):
                raise Broken(f"stream {stream} was reset by {frame.error_code}")
            got += frame.data
            if "END_STREAM" in frame.flags and len(got) < length:
                raise Broken(f"stream {stream} ended after {len(got)} bytes")
        return got

    def ended(self, stream: int) -> None:
        """END_STREAM comes, without bytes."""
        frame = self.wait(lambda frame: frame.stream_id == stream and isinstance(
            frame, frames.DataFrame | frames.RstStreamFrame))
        if not isinstance(frame, frames.DataFrame) or frame.data or "END_STREAM" not in frame.flags:
            raise Broken(f"{frame} instead of an empty DATA frame with END_STREAM")

    def was_reset(self, stream: int) -> int:
        """The code of the RST_STREAM that comes."""
        return int(self.wait(lambda frame: isinstance(frame, frames.RstStreamFrame)
                             and frame.stream_id == stream).error_code)

    def goaway(self) -> int:
        """The code of the GOAWAY that comes; then the connection ends."""
        frame = self.wait(lambda frame: isinstance(frame, frames.GoAwayFrame))
        with contextlib.suppress(EOFError, ConnectionResetError, ssl.SSLError):
            while True:
                self.frame()
        return int(frame.error_code)

    def quiet(self, seconds: float = 0.3) -> list[frames.Frame]:
        """What comes in that time, and what has passed."""
        self.tls.settimeout(seconds)
        with contextlib.suppress(TimeoutError):
            while True:
                self._passed.append(self.frame())
        self.tls.settimeout(5)
        seen, self._passed = self._passed, []
        return seen

    def alive(self) -> None:
        """A PING is answered: the connection has taken everything before it, and lives."""
        opaque = b"isthmus?"
        self.send(frames.PingFrame(0, opaque_data=opaque))
        answer = self.wait(lambda frame: isinstance(frame, frames.PingFrame))
        expect_equal((answer.opaque_data, "ACK" in answer.flags), (opaque, True), "PING's answer")


def accepted(listener: socket.socket) -> socket.socket:
    connection, _ = listener.accept()
    connection.settimeout(5)
    return connection


def read_exactly(connection: socket.socket, length: int) -> bytes:
    got = b""
    while len(got) < length:
        piece = connection.recv(min(1 << 16, length - len(got)))
        if not piece:
            raise Broken(f"the application's connection ended after {len(got)} of {length} bytes")
        got += piece
    return got
