# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: Isthmus authors
"""CONNECT on the wire (RFC 9113 section 8.5): how tunnels open, end, and are refused."""

from __future__ import annotations

import contextlib
import os
import socket
import threading

import h2.config
import h2.connection
import h2.events
from hyperframe import frame as frames

from tests.interop import peer as wire
from tests.interop.cases import expect, expect_equal
from tests.interop.node import PEER, POD, SECOND, Node
from tests.interop.peer import Peer, accepted, read_exactly

APP, CLOSED = 8080, 9999


def both_ways(node: Node) -> None:
    """Bytes go both ways and the source is the client's address."""
    with node.listen(APP) as listener, Peer(node) as peer:
        peer.open(1, APP)
        with accepted(listener) as app:
            expect_equal(app.getpeername()[0], PEER.address, "the application's peer")
            peer.data(1, b"question")
            expect_equal(read_exactly(app, 8), b"question", "received by the application")
            app.sendall(b"answer")
            expect_equal(peer.read(1, 6), b"answer", "received by the peer")


def closed_by_target(node: Node) -> None:
    """The application closes first: END_STREAM alone, the other direction stays open."""
    with node.listen(APP) as listener, Peer(node) as peer:
        peer.open(1, APP)
        with accepted(listener) as app:
            app.sendall(b"last words")
            app.shutdown(socket.SHUT_WR)
            expect_equal(peer.read(1, 10), b"last words", "before the end")
            peer.data(1, b"still here")
            expect_equal(read_exactly(app, 10), b"still here", "after the application's end")
            peer.data(1, b"", end=True)
            expect_equal(app.recv(1), b"", "end of the peer's bytes")
        resets = [frame for frame in peer.quiet() if isinstance(frame, frames.RstStreamFrame)]
        expect_equal(resets, [], "RST_STREAM after a clean end")
        peer.alive()


def closed_by_client_with_data(node: Node) -> None:
    """The client's last DATA carries END_STREAM: bytes, then an end; the answer still flows."""
    with node.listen(APP) as listener, Peer(node) as peer:
        peer.open(1, APP)
        with accepted(listener) as app:
            peer.data(1, b"all of it", end=True)
            expect_equal(read_exactly(app, 9), b"all of it", "received by the application")
            expect_equal(app.recv(1), b"", "end of the peer's bytes")
            app.sendall(b"done")
            expect_equal(peer.read(1, 4), b"done", "received after the end")
        peer.ended(1)
        peer.alive()


def closed_by_empty_data(node: Node) -> None:
    """The client ends the tunnel by an empty DATA frame."""
    with node.listen(APP) as listener, Peer(node) as peer:
        peer.open(1, APP)
        with accepted(listener) as app:
            peer.data(1, b"", end=True)
            expect_equal(app.recv(1), b"", "end of the peer's bytes")
            app.sendall(b"bye")
            expect_equal(peer.read(1, 3), b"bye", "received after the end")
        peer.ended(1)
        peer.alive()


def closed_by_trailers(node: Node) -> None:
    """Trailers end the tunnel as END_STREAM does."""
    with node.listen(APP) as listener, Peer(node) as peer:
        peer.open(1, APP)
        with accepted(listener) as app:
            peer.send(peer.headers(1, [("x-checksum", "0")], ["END_STREAM"]))
            expect_equal(app.recv(1), b"", "end of the peer's bytes")
        peer.ended(1)


def early_data(node: Node) -> None:
    """DATA before the 200 reaches the application in order."""
    with node.listen(APP) as listener, Peer(node) as peer:
        peer.connect(1, f"{POD.address}:{APP}")
        peer.data(1, b"first ")
        peer.data(1, b"second", end=True)
        with accepted(listener) as app:
            expect_equal(read_exactly(app, 12), b"first second", "received by the application")
            expect_equal(app.recv(1), b"", "end of the peer's bytes")
        expect_equal(peer.answer(1), (200, False), "answer")
        peer.ended(1)


def aborted_by_target(node: Node) -> None:
    """A RST of the application becomes RST_STREAM(CONNECT_ERROR)."""
    with node.listen(APP) as listener, Peer(node) as peer:
        peer.open(1, APP)
        reset(accepted(listener))
        expect_equal(peer.was_reset(1), wire.CONNECT_ERROR, "RST_STREAM's code")
        peer.alive()


def aborted_by_client(node: Node) -> None:
    """RST_STREAM becomes a RST to the application."""
    with node.listen(APP) as listener, Peer(node) as peer:
        peer.open(1, APP)
        with accepted(listener) as app:
            peer.reset(1, wire.CANCEL)
            expect_reset(app)
        peer.alive()


def connection_lost(node: Node) -> None:
    """A connection that is cut without close_notify resets its tunnels' applications."""
    with node.listen(APP) as listener, Peer(node) as peer:
        peer.open(1, APP)
        peer.open(3, APP)
        with accepted(listener) as first, accepted(listener) as second:
            reset(peer.tls)
            expect_reset(first)
            expect_reset(second)


def many_tunnels(node: Node) -> None:
    """A hundred tunnels at once carry each their own bytes; the next is refused by its number."""
    with node.listen(APP) as listener, Peer(node) as peer:
        streams = range(1, 201, 2)
        for stream in streams:
            peer.connect(stream, f"{POD.address}:{APP}")
            peer.data(stream, b"%06d" % stream)
        apps = {}
        for _ in streams:
            app = accepted(listener)
            apps[int(read_exactly(app, 6))] = app
        for stream in streams:
            expect_equal(peer.answer(stream), (200, False), f"answer on stream {stream}")
        peer.connect(201, f"{POD.address}:{APP}")
        expect_equal(peer.was_reset(201), wire.REFUSED_STREAM, "code of one stream too many")
        for stream in reversed(streams):
            apps[stream].sendall(b"<%06d>" % stream)
        for stream in streams:
            expect_equal(peer.read(stream, 8), b"<%06d>" % stream, f"received on {stream}")
        for app in apps.values():
            app.close()
        for stream in streams:
            peer.ended(stream)
            peer.data(stream, b"", end=True)
        peer.open(203, APP)
        accepted(listener).close()


def one_after_another(node: Node) -> None:
    """Tunnels follow each other on one connection."""
    with node.listen(APP) as listener, Peer(node) as peer:
        for stream in range(1, 401, 2):
            peer.open(stream, APP)
            with accepted(listener) as app:
                peer.data(stream, b"x", end=True)
                expect_equal(read_exactly(app, 1), b"x", f"received on {stream}")
                expect_equal(app.recv(1), b"", "end of the peer's bytes")
            peer.ended(stream)


def scheme_and_path(node: Node) -> None:
    """CONNECT with :scheme or :path, or without :authority, is malformed."""
    connect, authority = (":method", "CONNECT"), (":authority", f"{POD.address}:{APP}")
    malformed = (
        [connect, authority, (":scheme", "https")],
        [connect, authority, (":path", "/")],
        [connect, (":scheme", "https"), (":path", "/"), authority],
        [connect],
        [connect, authority, authority],
        [connect, authority, (":status", "200")],
        [connect, authority, ("connection", "close")],
        [connect, authority, ("Upper", "case")],
        [connect, ("late", "pseudo"), authority],
    )
    with Peer(node) as peer:
        for stream, fields in zip(range(1, 99, 2), malformed):
            peer.send(peer.headers(stream, fields))
            expect_equal(peer.was_reset(stream), wire.PROTOCOL_ERROR, f"code for {fields}")
        peer.alive()


def extended_connect(node: Node) -> None:
    """Extended CONNECT (RFC 8441), which was never offered, is refused."""
    with Peer(node) as peer:
        peer.alive()
        expect(frames.SettingsFrame.ENABLE_CONNECT_PROTOCOL not in peer.settings,
               "ENABLE_CONNECT_PROTOCOL is offered")
        for stream, protocol in ((1, "websocket"), (3, "connect-udp")):
            peer.send(peer.headers(stream, [
                (":method", "CONNECT"), (":protocol", protocol), (":scheme", "https"),
                (":path", "/"), (":authority", f"{POD.address}:{APP}")]))
            expect_equal(peer.was_reset(stream), wire.PROTOCOL_ERROR, f"code for {protocol}")
        peer.alive()


def refused(node: Node) -> None:
    """Codes: 503 for a closed port, 400 for another pod's address and for what is no address."""
    with Peer(node) as peer:
        asked = ((f"{POD.address}:{CLOSED}", 503), (f"{SECOND.address}:{APP}", 400),
                 ("no-such-name", 400), (f"{POD.address}", 400), (f"{POD.address}:0", 400),
                 (f"{POD.address}:65536", 400), (f"[{POD.address}]:80", 400), (":80", 400))
        for stream, (authority, status) in zip(range(1, 99, 2), asked):
            peer.connect(stream, authority)
            expect_equal(peer.answer(stream), (status, True), f"answer to {authority}")
        peer.alive()


def not_connect(node: Node) -> None:
    """Any other method is answered 404 in profile 1.18, with a body under flow control."""
    with Peer(node) as peer:
        for stream, method in zip(range(1, 99, 2), ("GET", "POST", "OPTIONS", "BREW")):
            peer.send(peer.headers(stream, [(":method", method), (":scheme", "https"),
                                            (":path", "/"), (":authority", "x")], ["END_STREAM"]))
            expect_equal(peer.answer(stream), (404, False), f"answer to {method}")
            expect(len(peer.read(stream, 1)) > 4, "a body")


def short_ping(node: Node) -> None:
    """A PING that is not 8 bytes long is FRAME_SIZE_ERROR and is not answered."""
    for length in (0, 1, 7, 9):
        with Peer(node) as peer:
            peer.send_raw(bytes((0, 0, length, 6, 0, 0, 0, 0, 0)) + bytes(length))
            expect_equal(peer.goaway(), wire.FRAME_SIZE_ERROR, f"code for {length} bytes")


def hyper_h2(node: Node) -> None:
    """hyper-h2 as the client: 8 MiB each way through two tunnels, under its own windows."""
    size = 8 << 20
    sent = os.urandom(size)
    with node.listen(APP) as listener:
        tls = wire.context(node).wrap_socket(node.dial(seconds=20))
        echo = threading.Thread(target=lambda: [_echo(accepted(listener)) for _ in range(2)])
        echo.start()
        h2_peer = h2.connection.H2Connection(h2.config.H2Configuration(
            client_side=True, header_encoding="utf-8", validate_outbound_headers=False,
            normalize_outbound_headers=False))
        h2_peer.initiate_connection()
        got = _through(h2_peer, tls, sent, (1, 3))
        echo.join(20)
        tls.close()
    for stream, data in got.items():
        expect(data == sent, f"stream {stream}: {len(data)} bytes came back, not the same")


def _through(h2_peer: h2.connection.H2Connection, tls: socket.socket, sent: bytes,
             streams: tuple[int, ...]) -> dict[int, bytearray]:
    """Sends the bytes through one tunnel after the other and takes what comes back."""
    got = {stream: bytearray() for stream in streams}
    for stream in streams:
        h2_peer.send_headers(stream, [(":method", "CONNECT"),
                                      (":authority", f"{POD.address}:{APP}")])
        at, open_, done = 0, False, False
        while not done:
            while open_ and at < len(sent):
                room = min(h2_peer.local_flow_control_window(stream),
                           h2_peer.max_outbound_frame_size, len(sent) - at)
                if room == 0:
                    break
                at += room
                h2_peer.send_data(stream, sent[at - room:at], end_stream=at == len(sent))
            tls.sendall(h2_peer.data_to_send())
            piece = tls.recv(1 << 18)
            expect(piece != b"", "the connection ended")
            for event in h2_peer.receive_data(piece):
                expect(not isinstance(
                    event, h2.events.StreamReset | h2.events.ConnectionTerminated), f"{event}")
                if isinstance(event, h2.events.ResponseReceived):
                    expect_equal(dict(event.headers)[":status"], "200", "answer")
                    open_ = True
                if isinstance(event, h2.events.DataReceived):
                    got[event.stream_id] += event.data
                    h2_peer.acknowledge_received_data(event.flow_controlled_length, stream)
                done = done or isinstance(event, h2.events.StreamEnded)
    return got


def _echo(app: socket.socket) -> None:
    with app, contextlib.suppress(OSError):
        app.settimeout(20)
        while piece := app.recv(1 << 16):
            app.sendall(piece)


def reset(connection: socket.socket) -> None:
    """Closes by RST."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    # A TLS socket would say close_notify: the descriptor is closed under it.
    os.close(connection.detach())


def expect_reset(app: socket.socket) -> None:
    try:
        got = app.recv(1)
    except ConnectionResetError:
        return
    expect(False, f"the application saw {got!r}, not a RST")


def access_log(node: Node) -> None:
    """The access log has a line for a tunnel, and one for a refusal with its reason."""
    with node.listen(APP) as listener, Peer(node) as peer:
        peer.open(1, APP)
        with accepted(listener) as app:
            peer.data(1, b"four", end=True)
            read_exactly(app, 4)
            app.sendall(b"sixteen letters.")
        peer.read(1, 16)
        peer.connect(3, f"{POD.address}:{CLOSED}")
        expect_equal(peer.answer(3), (503, True), "answer")
        source = "%s:%d" % peer.tls.getsockname()
    line = node.accessed({"src.addr": source, "message": "connection complete"})
    duration = str(line.pop("duration"))
    del line["time"]
    expect(duration.endswith("ms"), f"duration {duration}")
    expect_equal(line, {
        "level": "info", "scope": "access", "message": "connection complete", "src.addr": source,
        "src.workload": PEER.name, "src.namespace": "default", "src.identity": PEER.identity,
        "src.cluster": "Kubernetes", "dst.addr": f"{POD.address}:15008",
        "dst.hbone_addr": f"{POD.address}:{APP}", "dst.workload": POD.name,
        "dst.namespace": "default", "dst.identity": POD.identity, "dst.cluster": "Kubernetes",
        "direction": "inbound", "bytes_sent": 4, "bytes_recv": 16}, "line")
    failed = node.accessed({"src.addr": source, "message": "connection failed"})
    expect_equal(failed["direction"], "inbound", "direction")
    expect_equal(failed["src.identity"], PEER.identity, "identity")
    expect_equal(failed["dst.hbone_addr"], f"{POD.address}:{CLOSED}", "what it asked for")
    expect("refused" in str(failed["error"]) and "503" in str(failed["error"]),
           f"error {failed['error']}")


CASES = (both_ways, closed_by_target, closed_by_client_with_data, closed_by_empty_data,
         closed_by_trailers, early_data, aborted_by_target, aborted_by_client, connection_lost,
         many_tunnels, one_after_another, scheme_and_path, extended_connect, refused, not_connect,
         short_ping, access_log, hyper_h2)
