"""The server's side of Socket Mode: a small WebSocket (RFC 6455) on a socket that the HTTP server hands over.

It speaks the part of the protocol that a Socket Mode client needs: text frames with JSON, ping and pong, close.
"""

import base64
import hashlib
import json
import random
import socket
import struct
import threading
import uuid
from contextlib import suppress
from typing import BinaryIO

from demo.slack_state import APP_ID, Json

_ACCEPT_SALT = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # fixed by RFC 6455, section 1.3
TEXT, CLOSE, PING, PONG = 0x1, 0x8, 0x9, 0xA
FRAME_AT_MOST = 1_000_000


def accept_key(key: str) -> str:
    """Return the Sec-WebSocket-Accept header for a client's key."""
    return base64.b64encode(hashlib.sha1((key + _ACCEPT_SALT).encode(), usedforsecurity=False).digest()).decode()


def frame(opcode: int, data: bytes) -> bytes:
    """Return one whole frame, unmasked as a server has to send it."""
    if len(data) < 126:
        size = struct.pack("!B", len(data))
    elif len(data) < 65_536:
        size = struct.pack("!BH", 126, len(data))
    else:
        size = struct.pack("!BQ", 127, len(data))
    return bytes([0x80 | opcode]) + size + data


def read_frame(stream: BinaryIO) -> tuple[int, bytes]:
    """Read one frame; raises ConnectionError at the end of the stream or at a frame that no honest client sends."""
    first, second = _exactly(stream, 2)
    size = second & 0x7F
    if size == 126:
        (size,) = struct.unpack("!H", _exactly(stream, 2))
    elif size == 127:
        (size,) = struct.unpack("!Q", _exactly(stream, 8))
    if size > FRAME_AT_MOST:
        raise ConnectionError("a frame of more than a megabyte")
    mask = _exactly(stream, 4) if second & 0x80 else b"\0\0\0\0"
    data = _exactly(stream, size)
    return first & 0x0F, bytes(byte ^ mask[index % 4] for index, byte in enumerate(data))


def _exactly(stream: BinaryIO, size: int) -> bytes:
    data = stream.read(size)
    if len(data) < size:
        raise ConnectionError("the client went away")
    return data


class Link:
    """One open Socket Mode connection."""

    def __init__(self, connection: socket.socket, stream: BinaryIO) -> None:
        self._connection = connection
        self._stream = stream
        self._sending = threading.Lock()
        self._waiting: dict[str, threading.Event] = {}
        self._acks: dict[str, Json] = {}

    def send(self, body: Json) -> None:
        """Send a JSON message; raises OSError where the connection is gone."""
        self._send_frame(TEXT, json.dumps(body).encode())

    def _send_frame(self, opcode: int, data: bytes) -> None:
        with self._sending:
            self._connection.sendall(frame(opcode, data))

    def ask(self, kind: str, payload: Json, patience: float, retry: int = 0, reason: str = "") -> Json | None:
        """Send an envelope and return the acknowledgement, or None if none came within `patience` seconds."""
        name, arrived = str(uuid.uuid4()), threading.Event()
        self._waiting[name] = arrived
        envelope: Json = {"envelope_id": name, "type": kind, "payload": payload}
        envelope["accepts_response_payload"] = kind != "events_api"
        if kind == "events_api":
            envelope |= {"retry_attempt": retry, "retry_reason": reason}
        try:
            self.send(envelope)
            arrived.wait(patience)
        finally:
            del self._waiting[name]
        return self._acks.pop(name, None)

    def serve(self) -> None:
        """Read until the client goes away; call it in the connection's own thread."""
        with suppress(OSError):
            while True:
                opcode, data = read_frame(self._stream)
                if opcode == PING:
                    self._send_frame(PONG, data)
                elif opcode == TEXT:
                    self._receive(data)
                elif opcode == CLOSE:
                    self._send_frame(CLOSE, data[:2])
                    return

    def _receive(self, data: bytes) -> None:
        try:
            body = json.loads(data)
            name = body["envelope_id"]
        except (ValueError, KeyError, TypeError):
            return
        if arrived := self._waiting.get(name):
            self._acks[name] = body
            arrived.set()

    def close(self) -> None:
        """Cut the connection without a word, as a network does."""
        with suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)


class Links:
    """All open Socket Mode connections of the app. Each payload goes to one of them at random, as in Slack."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: list[Link] = []
        self._tickets: set[str] = set()

    def new_ticket(self) -> str:
        """Return the secret part of a WebSocket URL, which is good for one connection."""
        ticket = str(uuid.uuid4())
        with self._lock:
            self._tickets.add(ticket)
        return ticket

    def take_ticket(self, ticket: str) -> bool:
        """Spend a ticket; False where it is unknown or spent."""
        with self._lock:
            known = ticket in self._tickets
            self._tickets.discard(ticket)
        return known

    def serve(self, link: Link) -> None:
        """Say hello and serve a new connection until it ends."""
        with self._lock:
            count = len(self._open) + 1
        hello = {"type": "hello", "num_connections": count, "connection_info": {"app_id": APP_ID}}
        with suppress(OSError):
            link.send(hello | {"debug_info": {"host": "stand-in", "approximate_connection_time": 18060}})
            with self._lock:
                self._open.append(link)
            link.serve()
        with self._lock:
            if link in self._open:
                self._open.remove(link)

    def any(self) -> Link | None:
        """Return one open connection at random, or None."""
        with self._lock:
            return random.choice(self._open) if self._open else None

    def __len__(self) -> int:
        with self._lock:
            return len(self._open)

    def refresh(self) -> None:
        """Ask every connection to come again, as Slack does every few hours."""
        self._to_all({"type": "disconnect", "reason": "refresh_requested", "debug_info": {"host": "stand-in"}})

    def _to_all(self, body: Json) -> None:
        with self._lock:
            links = list(self._open)
        for link in links:
            with suppress(OSError):
                link.send(body)

    def cut(self) -> None:
        """Cut every connection without a word."""
        with self._lock:
            links, self._open = self._open, []
        for link in links:
            link.close()
