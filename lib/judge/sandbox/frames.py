"""The protocol between judge and sandbox: frames of one JSON object and raw bytes over a stream socket.

Layout, little endian: uint32 length of the JSON text, uint32 length of the payload, JSON text, payload. File
descriptors travel with the first byte of a frame. Nothing is unpickled; a frame that breaks a rule raises FrameError.
"""

import array
import io
import json
import os
import struct

_LENGTHS = struct.Struct("<II")
_MAX_HEADER, _MAX_PAYLOAD = 1 << 20, 1 << 28
_SOL_SOCKET, _SCM_RIGHTS = 1, 1


class FrameError(Exception):
    """The other side ended or sent something that is not a frame."""


class Bytes(io.BytesIO):
    """Frames in memory, for `send` and `receive`."""

    sendall = io.BytesIO.write
    recv_into = io.BytesIO.readinto


def send(sock, header: dict, payload: bytes = b"", descriptors: tuple[int, ...] = (), payload_file=None) -> None:
    """Sends one frame, blocking. `payload_file`: descriptor and size of a file whose content is sent without entering
    this process's memory. Raises OSError if the other side is gone."""
    text = json.dumps(header).encode()
    size = payload_file[1] if payload_file else len(payload)
    data = _LENGTHS.pack(len(text), size) + text
    if descriptors:
        sent = sock.sendmsg([data], [(_SOL_SOCKET, _SCM_RIGHTS, array.array("i", descriptors))])
        data = data[sent:]
    sock.sendall(data)
    if payload:
        sock.sendall(payload)
    sent = 0
    while payload_file and sent < size:
        sent += os.sendfile(sock.fileno(), payload_file[0], sent, size - sent)


def receive(sock) -> tuple[dict, bytes]:
    """Receives one frame without descriptors, blocking. Raises FrameError if it is incomplete or malformed, OSError."""
    return _body(sock, _exactly(sock, _LENGTHS.size))


def receive_descriptors(sock, count: int) -> tuple[dict, bytes, list[int]]:
    """Receives one frame that carries `count` descriptors."""
    received = array.array("i")
    prefix, ancillary, _, _ = sock.recvmsg(_LENGTHS.size, 64)
    for level, kind, data in ancillary:
        if (level, kind) == (_SOL_SOCKET, _SCM_RIGHTS):
            received.frombytes(data[: len(data) // 4 * 4])
    prefix += _exactly(sock, _LENGTHS.size - len(prefix)) if prefix else b""
    if not prefix:
        raise FrameError("the other side is gone")
    if len(received) != count:
        raise FrameError(f"a frame with {len(received)} descriptors where {count} belong")
    return *_body(sock, prefix), list(received)


def _body(sock, prefix: bytes | bytearray) -> tuple[dict, bytes]:
    header_length, payload_length = _LENGTHS.unpack(prefix)
    if header_length > _MAX_HEADER or payload_length > _MAX_PAYLOAD:
        raise FrameError(f"a frame of {header_length} + {payload_length} bytes is too long")
    try:
        header = json.loads(bytes(_exactly(sock, header_length)))
    except ValueError as error:
        raise FrameError(f"a frame whose header is not JSON: {error}") from None
    if not isinstance(header, dict):
        raise FrameError("a frame whose header is not an object")
    return header, bytes(_exactly(sock, payload_length))


def _exactly(sock, count: int) -> bytearray:
    data = bytearray(count)
    view = memoryview(data)
    while view:
        received = sock.recv_into(view)
        if received == 0:
            raise FrameError("the other side is gone")
        view = view[received:]
    return data
