"""How a program and its tests, in processes of their own, call each other: plain data over a socket.

A call carries its arguments as plain data and brings plain data back (see `encoding`). `__eq__`, `__class__` and the
like of the program's objects never take part in a comparison with plain data. Messages: uint32 length, JSON.
"""

import builtins
import io
import json
import os
import struct
import sys
from collections import Counter, OrderedDict, defaultdict, deque

from encoding import CHANGING, Encoding, ProtocolError

_LENGTH = struct.Struct("<I")
_LONGEST = 64 << 20  # bytes of a message
_LONGEST_TEXT = 1000  # characters of an exception's text
_MUTABLE = (list, tuple, dict, set, bytearray, deque, Counter, OrderedDict, defaultdict)  # tuples: what they hold
_json_encoder = json.JSONEncoder(ensure_ascii=False, check_circular=False, separators=(",", ":"))
_OURS = os.path.dirname((lambda: None).__code__.co_filename) + "/"  # on a server there are no files
# Bound at import: a program may replace these functions.
_write, _print_exception = os.write, sys.__excepthook__


class PeerGone(BaseException):
    """The other end has ended. No test can catch this as an error of the program."""


class Wire:
    """One end of the socket `descriptor`. `answer(operation, arguments, named)` does what the other end asks for;
    `trusting`: see `Encoding`. `gone`: whether the other end has ended; `last`: the result of the last call."""

    def __init__(self, descriptor: int, answer, trusting: bool):
        self.descriptor, self.answer = descriptor, answer
        self.encoding = Encoding(self.ask, trusting)
        self.gone, self.last = False, None
        self._reader = io.BufferedReader(io.FileIO(descriptor, closefd=False))

    def ask(self, operation: str, *arguments, **named):
        """Has the other end do something, and serves what it asks meanwhile. Raises what the operation raised,
        ProtocolError, PeerGone."""
        encode = self.encoding.encode
        self._send(["ask", operation, [encode(a) for a in arguments], {n: encode(a) for n, a in named.items()}])
        value = self.serve(arguments)
        if operation == "call":
            self.last = value
        return value

    def greet(self) -> None:
        """Tells the other end, which waits in `serve`, that this end is ready."""
        self._send(["answer", None, {}])

    def serve(self, arguments: tuple = ()):
        """Does what the other end asks until it answers. Changes `arguments` as the call changed them there."""
        while True:
            message = self._receive()
            try:
                kind, *rest = message
                if kind == "ask":
                    self._answer(*rest)
                elif kind == "answer":
                    value, changes = rest
                    references = self.encoding.references
                    for index, changed in changes.items():
                        _update(arguments[int(index)], self.encoding.decode(changed))
                    self.encoding.references = references
                    return self.encoding.decode(value)
                elif kind == "raise":
                    error = self._exception(*rest)
                else:
                    raise ProtocolError(f"an unknown message {kind!r:.50}")
            except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RecursionError) as wrong:
                raise ProtocolError(f"{type(wrong).__name__}: {wrong}") from None
            if kind == "raise":
                raise error

    def _answer(self, operation: str, arguments: list, named: dict) -> None:
        encode, decode = self.encoding.encode, self.encoding.decode
        try:
            values = [decode(a) for a in arguments]
            result = self.answer(operation, values, {name: decode(a) for name, a in named.items()})
            changes = {}
            for index, (before, value) in enumerate(zip(arguments, values, strict=True)):
                if type(before) is list and before[0] in CHANGING and (after := encode(value)) != before:
                    changes[index] = after
            reply = ["answer", encode(result), changes]
        except Exception as error:
            names = [c.__name__ for c in type(error).__mro__ if getattr(c, "__module__", "") == "builtins"]
            text = type(error).__name__ + (f": {error}" if str(error) else "")
            try:
                parts = encode(list(error.args) if len(text) < _LONGEST_TEXT else [text[:_LONGEST_TEXT]])
            except Exception:
                parts = ["l", []]
            reply = ["raise", names, parts, text[:_LONGEST_TEXT], _formatted(error)]
        self._send(reply)

    def _exception(self, names: list, values, text: str, traceback: str) -> Exception:
        """The built-in exception closest to the one that was raised; only its name and its values were sent."""
        kinds = (getattr(builtins, name, None) for name in names if type(name) is str)
        kind = next(k for k in (*kinds, Exception) if isinstance(k, type) and issubclass(k, Exception))
        try:
            error = kind(*self.encoding.decode(values))
        except Exception:
            error = Exception(str(text))
        error.__dict__["of_program"] = (str(text), str(traceback))
        return error

    def _send(self, message: list) -> None:
        try:
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


def _update(argument, changed) -> None:
    """Changes `argument` into what a call in the other process has made of its copy."""
    kind = type(argument)
    if kind is not type(changed):
        return
    if kind in (list, tuple) and len(argument) == len(changed):
        for index, (item, new) in enumerate(zip(argument, changed, strict=True)):
            if type(item) is type(new) and type(item) in _MUTABLE:
                _update(item, new)
            elif kind is list:
                argument[index] = new
    elif kind in (list, bytearray):
        argument[:] = changed
    elif kind in _MUTABLE and kind is not tuple:
        argument.clear()
        (argument.extend if hasattr(argument, "extend") else argument.update)(changed)
