"""How a program and its tests, in processes of their own, call each other: plain data over a socket.

A question carries its arguments as plain data and brings plain data back (see `encoding`). `__eq__`, `__class__` and
the like of the program's objects never take part in a comparison with plain data. Messages: uint32 length, JSON of
[kind, body, nodes, changes, gone], the last three from `Encoding.finish`.
"""

import _thread
import io
import json
import os
import struct
import sys

import tasks
from encoding import Encoding
from nodes import ProtocolError

_LENGTH = struct.Struct("<I")
_LONGEST = 64 << 20  # bytes of a message
_LONGEST_TEXT = 1000  # characters of an exception's text
_json_encoder = json.JSONEncoder(ensure_ascii=False, check_circular=False, separators=(",", ":"))
_OURS = os.path.dirname((lambda: None).__code__.co_filename) + "/"  # on a server there are no files
# Bound at import: a program may replace these functions.
_write, _print_exception = os.write, sys.__excepthook__


class PeerGone(BaseException):
    """The other end has ended. No test can catch this as an error of the program."""


class Ended(BaseException):
    """The program raised an error in its own top-level code; holds that error."""


class Wire:
    """One end of the socket `descriptor`. `answer(operation, arguments, named)` does what the other end asks for;
    `trusting`: see `Encoding`. `gone`: whether the other end has ended; `last`: the result of the last call; `open`:
    whether stand-ins may ask for their text."""

    def __init__(self, descriptor: int, answer, trusting: bool):
        self.descriptor, self.answer, self.trusting = descriptor, answer, trusting
        self.encoding = Encoding(self, trusting)
        self.gone, self.last, self.open = False, None, True
        self._reader = io.BufferedReader(io.FileIO(descriptor, closefd=False))
        self._lock = _thread.RLock()  # threads of a program ask too

    def ask(self, operation: str, /, *arguments, **named):
        """Has the other end do something, and serves what it asks meanwhile. Raises what the operation raised,
        ProtocolError, PeerGone."""
        with self._lock:
            encode = self.encoding.encode
            body = [operation, [encode(a) for a in arguments], {n: encode(a) for n, a in named.items()}]
            self._send("ask", body, None)
            value = self.serve()
        if operation == "call":
            self.last = value
        return value

    def greet(self) -> None:
        """Tells the other end, which waits in `serve`, that this end is ready."""
        self._send("answer", None, None)

    def serve(self):
        """Does what the other end asks until it answers."""
        while True:
            message = self._receive()
            first = self.encoding.next
            try:
                kind, body, nodes, changes, gone = message
                new = self.encoding.receive(nodes, changes)
                if kind == "answer":
                    value = new.value(body)
                elif kind == "raise":
                    error = new.error(*body)
                elif kind == "ask":
                    operation, arguments, named = body
                    asked = [new.value(a) for a in arguments], {n: new.value(a) for n, a in named.items()}
                else:
                    raise ProtocolError(f"an unknown message {kind!r:.50}")
                del new
                self.encoding.drop(gone)
            except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RecursionError) as wrong:
                raise ProtocolError(f"{type(wrong).__name__}: {wrong}") from None
            if kind == "answer":
                return value
            if kind == "raise":
                raise error
            kind, body = self._answer(operation, *asked)
            del asked
            self._send(kind, body, first)

    def _answer(self, operation: str, arguments: list, named: dict) -> tuple[str, object]:
        try:
            return "answer", self.encoding.encode(self.answer(operation, arguments, named))
        except (PeerGone, ProtocolError, Ended):
            raise
        except BaseException as error:
            return "raise", [self.encoding.encode(error), *_described(error)]

    def awaited(self, stand_in):
        """A coroutine that awaits what the other end knows as awaitable."""
        return tasks.awaited(self.ask, stand_in)

    def _send(self, kind: str, body, first: int | None) -> None:
        try:
            message = [kind, body, *self.encoding.finish(first)]
            text = _json_encoder.encode(message).encode("utf-8", "surrogatepass")
        except ValueError:  # an integer with more digits than Python writes
            raise ProtocolError("a value that can't be sent") from None
        if len(text) > _LONGEST:
            raise ProtocolError("more data than a call may carry")
        data = memoryview(_LENGTH.pack(len(text)) + text)
        try:
            while data:
                data = data[_write(self.descriptor, data) :]
        except OSError:
            self.gone = True
            raise PeerGone from None

    def _receive(self):
        (length,) = _LENGTH.unpack(self._exactly(_LENGTH.size))
        if length > _LONGEST:
            raise ProtocolError(f"a message of {length} bytes")
        data = self._exactly(length)
        try:
            return json.loads(data.decode("utf-8", "surrogatepass"))
        except (ValueError, RecursionError) as error:
            raise ProtocolError(f"a message that is not JSON: {error}") from None

    def _exactly(self, count: int) -> bytes:
        try:
            data = self._reader.read(count)
        except OSError:
            data = b""
        if len(data) < count:
            self.gone = True
            raise PeerGone
        return data


def _described(error: BaseException) -> tuple[str, str]:
    """The text of an exception, and its traceback; which it loses, since that keeps all that its frames know."""
    try:
        if isinstance(error, SystemExit):
            code = error.code if isinstance(error.code, int) else error.code is not None
            return f"left before the test ended: exit code {code & 255}", ""
        text = type(error).__name__ + (f": {error}" if str(error) else "")
    except Exception:
        text = f"{type(error).__name__}: <exception str() failed>"
    formatted = _formatted(error)
    error.__traceback__ = None
    return text[:_LONGEST_TEXT], formatted


def within_program(error: BaseException):
    """The part of the error's traceback that begins in the program, without the judge's functions that the program
    called; None if it never got there."""
    traceback = error.__traceback__
    while traceback and traceback.tb_frame.f_code.co_filename != "program.py":
        traceback = traceback.tb_next
    step = traceback
    while step:
        while step.tb_next and step.tb_next.tb_frame.f_code.co_filename.startswith(_OURS):
            step.tb_next = step.tb_next.tb_next
        step = step.tb_next
    return traceback


def _formatted(error: BaseException) -> str:
    """The traceback as Python prints it, from the program's first line on."""
    traceback = within_program(error)
    stderr, sys.stderr = sys.stderr, io.StringIO()
    try:
        _print_exception(type(error), error.with_traceback(traceback), traceback)
        return sys.stderr.getvalue()[-3000:]
    finally:
        sys.stderr = stderr
