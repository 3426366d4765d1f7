"""What a program and its tests say to each other: plain data over a socket. Used on both ends, inside the sandbox only.

The two run in processes of their own. A call carries its arguments as plain data and brings plain data back: None,
bool, int, float, complex, str, bytes, the built-in containers and a few value types of the standard library, rebuilt as
exactly these types. A subclass arrives as its base; `__eq__`, `__class__` and the like stay where they are. Whatever
else an object is (an instance of a class of the program, a closure, a generator) stays in its process too, and the
other end holds a `Remote` in its place.

Frames: uint32 length, JSON. A container is a list whose first item says which; nothing is unpickled, and whatever does
not fit raises `Broken`.
"""

import builtins
import io
import json
import os
import struct
import sys
from collections import Counter, OrderedDict, defaultdict, deque
from importlib import import_module

_LENGTH = struct.Struct("<I")
_LONGEST = 64 << 20  # bytes of a frame
_LONGEST_TEXT = 1000  # characters of what an exception says
_SCALARS = {type(None), bool, int, float, str}
_JSON_INTEGER = 1 << 64  # larger ones go as hexadecimal, which takes linear time and knows no limit of digits
_encoder = json.JSONEncoder(ensure_ascii=False, check_circular=False, separators=(",", ":"))
# Taken now: a program may put its own functions in their place.
_read, _write, _print_exception = os.read, os.write, sys.__excepthook__

# Value types of the standard library: how to take one apart; the type called with these arguments makes it again.
_VALUES = {
    ("collections", "Counter"): lambda v: [dict(v)],
    ("collections", "OrderedDict"): lambda v: [list(v.items())],
    ("collections", "defaultdict"): lambda v: [None, dict(v)],
    ("collections", "deque"): lambda v: [list(v), v.maxlen],
    ("decimal", "Decimal"): lambda v: [str(v)],
    ("fractions", "Fraction"): lambda v: [v.numerator, v.denominator],
    ("datetime", "timedelta"): lambda v: [v.days, v.seconds, v.microseconds],
    ("datetime", "date"): lambda v: [v.year, v.month, v.day],
    ("datetime", "time"): lambda v: [v.hour, v.minute, v.second, v.microsecond],
    ("datetime", "datetime"): lambda v: [v.year, v.month, v.day, v.hour, v.minute, v.second, v.microsecond],
    ("array", "array"): lambda v: [v.typecode, v.tolist()],
    ("builtins", "range"): lambda v: [v.start, v.stop, v.step],
    ("builtins", "complex"): lambda v: [v.real, v.imag],
    ("builtins", "slice"): lambda v: [v.start, v.stop, v.step],
}
_REBUILT = {"l": list, "t": tuple, "s": set, "f": frozenset}
_TAGS = {kind: tag for tag, kind in _REBUILT.items()}
_CHANGEABLE = (list, tuple, dict, set, bytearray, deque, Counter, OrderedDict, defaultdict)
_CHANGING = frozenset("ltdLvSsa")  # tags of arguments that a call may change, or what they hold
_FUNCTION = type(len)
_NAMED = (type, _FUNCTION, type(Ellipsis), type(NotImplemented))
_BASES = (str, int, float, list, tuple, dict, set, frozenset, bytes, bytearray)


class Broken(Exception):
    """The other end sent what is no frame, or not what was asked for."""


class Gone(BaseException):
    """The other end has ended. No test can catch it as an error of the program."""


class Remote:
    """Stands for an object of the other process. It equals no plain data and takes part in no arithmetic or ordering,
    so that no method of a program can answer a comparison; what is asked of it comes back as plain data.
    """

    __slots__ = ("_number", "_wire")

    def __init__(self, wire, number: int):
        object.__setattr__(self, "_wire", wire)
        object.__setattr__(self, "_number", number)

    def __call__(self, *arguments, **named):
        return self._wire.ask("call", self, *arguments, **named)

    def __getattr__(self, name):
        return self._wire.ask("getattr", self, name)

    def __setattr__(self, name, value):
        self._wire.ask("setattr", self, name, value)

    def __getitem__(self, key):
        return self._wire.ask("getitem", self, key)

    def __setitem__(self, key, value):
        self._wire.ask("setitem", self, key, value)

    def __iter__(self):
        found = self._wire.ask("iter", self)
        return found if isinstance(found, Remote) else iter(found)

    def __next__(self):
        return self._wire.ask("next", self)

    def __len__(self):
        return self._wire.ask("len", self)

    def __bool__(self):
        return self._wire.ask("bool", self) is True

    def __str__(self):
        return self._wire.ask("str", self)

    def __repr__(self):
        return "<object of the program>"

    def __eq__(self, other):
        return type(other) is Remote and (self._number == other._number or self._wire.ask("eq", self, other) is True)

    def __hash__(self):
        return hash(self._number)

    def __instancecheck__(self, instance):
        return type(instance) is Remote and self._wire.ask("isinstance", instance, self) is True


class Wire:
    """One end of the socket `descriptor`.

    `answer(operation, arguments, named)` does what the other end asks for; `trusting`: that end may name any built-in
    function. `references` counts the objects that came by reference, `gone` says whether the other end has ended.
    """

    def __init__(self, descriptor: int, answer, trusting: bool):
        self.descriptor, self.answer, self.trusting = descriptor, answer, trusting
        self.references = 0
        self.objects: list = []
        self.gone = False
        self.last = None  # what the last call gave
        self._numbers: dict[int, int] = {}

    def ask(self, operation: str, *arguments, **named):
        """Has the other end do something, and serves what it asks meanwhile. Raises what it raised, Broken, Gone."""
        self._send(["ask", operation, [self._encode(a) for a in arguments], _each(named, self._encode)])
        value = self.serve(arguments)
        if operation == "call":
            self.last = value
        return value

    def greet(self) -> None:
        """Tells the other end, which waits in `serve`, that this one is ready."""
        self._send(["answer", None, {}])

    def serve(self, arguments: tuple = ()):
        """Answers the other end until it answers. Changes `arguments` as the call has changed them there."""
        while True:
            message = self._receive()
            try:
                kind, *rest = message
                if kind == "ask":
                    self._answer(*rest)
                elif kind == "answer":
                    value, changes = rest
                    known = self.references
                    for index, changed in changes.items():
                        _assign(arguments[int(index)], self.decode(changed))
                    self.references = known
                    return self.decode(value)
                elif kind == "raise":
                    error = self._exception(*rest)
                else:
                    raise Broken(f"an unknown message {kind!r:.50}")
            except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RecursionError) as wrong:
                raise Broken(f"{type(wrong).__name__}: {wrong}") from None
            if kind == "raise":
                raise error

    def _answer(self, operation: str, arguments: list, named: dict) -> None:
        try:
            given = [self.decode(a) for a in arguments]
            value = self.answer(operation, given, _each(named, self.decode))
            changes = {}
            for index, (before, after) in enumerate(zip(arguments, given, strict=True)):
                if type(before) is list and before[0] in _CHANGING and (now := self._encode(after)) != before:
                    changes[index] = now
            reply = ["answer", self._encode(value), changes]
        except Exception as error:
            names = [c.__name__ for c in type(error).__mro__ if getattr(c, "__module__", "") == "builtins"]
            text = type(error).__name__ + (f": {error}" if str(error) else "")
            try:
                values = self._encode(list(error.args) if len(text) < _LONGEST_TEXT else [text[:_LONGEST_TEXT]])
            except Exception:
                values = ["l", []]
            reply = ["raise", names, values, text[:_LONGEST_TEXT], shown(error)]
        self._send(reply)

    def _exception(self, names: list, values, text: str, traceback: str) -> Exception:
        """The built-in exception nearest to the one that was raised; nothing but its name and its values came along."""
        kinds = (getattr(builtins, name, None) for name in names if type(name) is str)
        kind = next(k for k in (*kinds, Exception) if isinstance(k, type) and issubclass(k, Exception))
        try:
            error = kind(*self.decode(values))
        except Exception:
            error = Exception(str(text))
        error.of_program = (str(text), str(traceback))
        return error

    def _send(self, message: list) -> None:
        try:
            data = _encoder.encode(message).encode("utf-8", "surrogatepass")
        except ValueError:  # an integer with more digits than are written
            raise Broken("a value that can't be sent") from None
        if len(data) > _LONGEST:
            raise Broken("more data than a call may carry")
        data = memoryview(_LENGTH.pack(len(data)) + data)
        try:
            while data:
                data = data[_write(self.descriptor, data) :]
        except OSError:
            self.gone = True
            raise Gone from None

    def _receive(self):
        (length,) = _LENGTH.unpack(self._exactly(_LENGTH.size))
        if length > _LONGEST:
            raise Broken(f"a frame of {length} bytes")
        data = self._exactly(length)
        try:
            return json.loads(data.decode("utf-8", "surrogatepass"))
        except (ValueError, RecursionError) as error:
            raise Broken(f"a frame that is no JSON: {error}") from None

    def _exactly(self, count: int) -> bytes:
        data = bytearray()
        while len(data) < count:
            try:
                part = _read(self.descriptor, min(count - len(data), 1 << 20))
            except OSError:
                part = b""
            if not part:
                self.gone = True
                raise Gone
            data += part
        return bytes(data)

    def _encode(self, value):
        kind = type(value)
        if kind in _SCALARS:
            return ["i", hex(value)] if kind is int and not -_JSON_INTEGER < value < _JSON_INTEGER else value
        if kind in _TAGS:
            tag = _TAGS[kind]
            types = set(map(type, value))
            if types <= _SCALARS and (int not in types or _small(value)):
                return [tag.upper(), list(value)]
            try:
                return [tag, [self._encode(item) for item in value]]
            except RecursionError:
                return self._reference(value)
        if kind is dict:
            return ["d", self._encode(list(value)), self._encode(list(value.values()))]
        if kind in (bytes, bytearray):
            return ["b" if kind is bytes else "a", value.decode("latin-1")]
        if kind is Remote:
            return ["o", value._number]
        if kind is type({}.keys()):
            return ["k", self._encode(list(value))]
        module, name = getattr(kind, "__module__", ""), kind.__qualname__
        known = (module, name) in _VALUES and getattr(sys.modules.get(module), name, None) is kind
        if known and getattr(value, "tzinfo", None) is None:
            return ["v", module, name, self._encode(_VALUES[module, name](value))]
        if kind in _NAMED and (kind is not _FUNCTION or not self.trusting):
            name = value.__name__ if kind in (type, _FUNCTION) else str(value)
            if getattr(builtins, name, None) is value:
                return ["n", name]
        if module != "enum" and (base := next((b for b in _BASES if issubclass(kind, b)), None)):
            plain = base.__new__(base, value) if base in (str, int, float, bytes, tuple, frozenset) else base(value)
            return self._encode(plain)
        return self._reference(value)

    def _reference(self, value) -> list:
        number = self._numbers.setdefault(id(value), len(self.objects))
        if number == len(self.objects):
            self.objects.append(value)  # kept, so that its id stays its own
        return ["m", number]

    def decode(self, data):
        """The value of what the other end encoded. Raises Broken, or what goes wrong with data that make no sense."""
        if type(data) is not list:
            if type(data) in _SCALARS:
                return data
            raise Broken("data of an unknown form")
        tag, *rest = data
        if tag in ("L", "T", "S", "F"):
            if not set(map(type, rest[0])) <= _SCALARS:
                raise Broken("data of an unknown form")
            return _REBUILT[tag.lower()](rest[0])
        if tag in _REBUILT:
            return _REBUILT[tag]([self.decode(item) for item in rest[0]])
        if tag == "d":
            return dict(zip(self.decode(rest[0]), self.decode(rest[1]), strict=True))
        if tag == "i":
            return int(rest[0], 16)
        if tag in ("b", "a"):
            data = rest[0].encode("latin-1")
            return data if tag == "b" else bytearray(data)
        if tag == "k":
            return dict.fromkeys(self.decode(rest[0])).keys()
        if tag == "v":
            module, name, arguments = rest
            if (module, name) not in _VALUES:
                raise Broken(f"a value of an unknown type {name!r:.50}")
            return getattr(import_module(module), name)(*self.decode(arguments))
        if tag == "n":
            found = getattr(builtins, rest[0])
            if type(found) in _NAMED and (type(found) is not _FUNCTION or self.trusting):
                return found
        if tag == "m" and type(rest[0]) is int:  # an object of the other end
            self.references += 1
            return Remote(self, rest[0])
        if tag == "o" and type(rest[0]) is int and rest[0] >= 0:  # one of this end comes back
            return self.objects[rest[0]]
        raise Broken(f"data of an unknown kind {tag!r:.50}")


def shown(error: BaseException) -> str:
    """The traceback as Python prints it, from the program's first line on."""
    traceback = within_program(error)
    kept, sys.stderr = sys.stderr, io.StringIO()
    try:
        _print_exception(type(error), error.with_traceback(traceback), traceback)
        return sys.stderr.getvalue()[-3000:]
    finally:
        sys.stderr = kept


def within_program(error: BaseException):
    """The part of the error's traceback that begins in the program; None if it never got there."""
    traceback = error.__traceback__
    while traceback and traceback.tb_frame.f_code.co_filename != "program.py":
        traceback = traceback.tb_next
    return traceback


def _each(named: dict, function) -> dict:
    return {name: function(value) for name, value in named.items()}


def _small(values) -> bool:
    return all(type(v) is not int or -_JSON_INTEGER < v < _JSON_INTEGER for v in values)


def _assign(old, new) -> None:
    """Makes `old`, an argument, what a call in the other process has made of its copy."""
    if type(old) is not type(new):
        return
    if type(old) in (list, tuple) and len(old) == len(new):
        for index, (mine, theirs) in enumerate(zip(old, new, strict=True)):
            if type(mine) is type(theirs) and type(mine) in _CHANGEABLE:
                _assign(mine, theirs)
            elif type(old) is list:
                old[index] = theirs
    elif type(old) in (list, bytearray):
        old[:] = new
    elif type(old) in _CHANGEABLE and type(old) is not tuple:
        old.clear()
        (old.extend if hasattr(old, "extend") else old.update)(new)
