import os
import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.judge.sandbox import frames


@pytest.fixture
def ends():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        for end in (ours, theirs):
            end.settimeout(5)
        yield ours, theirs


def test_a_frame_arrives_as_it_was_sent(ends):
    frames.send(ends[0], {"test": 3, "text": "ä\udc80"}, b"\x00raw")
    assert frames.receive(ends[1]) == ({"test": 3, "text": "ä\udc80"}, b"\x00raw")


def test_descriptors_ride_along(ends):
    source, other = os.memfd_create("a"), os.memfd_create("b")
    os.write(source, b"inside")
    frames.send(ends[0], {"a": 1}, b"x", (source, other))
    header, payload, received = frames.receive_descriptors(ends[1], 2)
    assert (header, payload) == ({"a": 1}, b"x")
    assert os.pread(received[0], 10, 0) == b"inside"
    for descriptor in (source, other, *received):
        os.close(descriptor)


def test_a_frame_without_the_descriptors_that_belong_to_it_is_refused(ends):
    frames.send(ends[0], {})
    with pytest.raises(frames.FrameError, match="0 descriptors where 2"):
        frames.receive_descriptors(ends[1], 2)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x01",
        struct.pack("<II", 2**31, 0),
        struct.pack("<II", 2, 2**31) + b"{}",
        struct.pack("<II", 2, 0) + b"{",
        struct.pack("<II", 2, 0) + b"{[",
        struct.pack("<II", 2, 0) + b"[]",
        struct.pack("<II", 2, 5) + b"{}abc",
        struct.pack("<II", 4, 0) + b"\xff\xfe{}",
    ],
)
def test_anything_else_is_an_error_and_nothing_more(ends, data):
    ends[0].sendall(data)
    ends[0].close()
    with pytest.raises(frames.FrameError):
        frames.receive(ends[1])


@given(st.binary(max_size=200))
def test_noise_never_breaks_the_reader(data):
    ours, theirs = socket.socketpair()
    with theirs:
        with ours:
            ours.sendall(data)
        try:
            header, payload = frames.receive(theirs)
        except frames.FrameError:
            return
    assert isinstance(header, dict)
    assert isinstance(payload, bytes)
