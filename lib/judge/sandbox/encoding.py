"""Python values as JSON and back, for two processes that don't trust each other.

None, bool, int, float, complex, str, bytes, the built-in containers and some value types of the standard library
arrive as exactly these types; an instance of a subclass arrives as its base. Any other object (an instance of a
program's class, a closure, a generator) stays in its process, and the other end gets a `Reference`.

A JSON list is a tagged value: its first item names the type. Nothing is unpickled; malformed data raises
ProtocolError, or TypeError, ValueError, LookupError and the like, which `wire` turns into it.
"""

import builtins
import sys
from importlib import import_module

from reference import Reference

_SCALARS = {type(None), bool, int, float, str}
_JSON_INTEGER = 1 << 64  # larger integers are sent as hexadecimal, which takes linear time and has no limit of digits

# Value types of the standard library: the arguments with which the type makes an equal value.
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
_CONTAINERS = {"l": list, "t": tuple, "s": set, "f": frozenset}
_TAGS = {kind: tag for tag, kind in _CONTAINERS.items()}
CHANGING = frozenset("ltdLvSsa")  # tags of arguments that a call may change, or whose content it may change
_FUNCTION = type(len)
_NAMED = (type, _FUNCTION, type(Ellipsis), type(NotImplemented))
_BASES = (str, int, float, list, tuple, dict, set, frozenset, bytes, bytearray)


class ProtocolError(Exception):
    """The other end sent something that is not a message, or not what was asked for."""


class Encoding:
    """`ask`: how a `Reference` asks the other end; `trusting`: the other end may name any built-in function.
    `objects`: those to which the other end holds references; `references`: how many references arrived here."""

    def __init__(self, ask, trusting: bool):
        self.ask, self.trusting, self.references = ask, trusting, 0
        self.objects: list = []
        self._numbers: dict[int, int] = {}  # id of an object -> its place in `objects`

    def encode(self, value):
        kind = type(value)
        if kind in _SCALARS:
            return ["i", hex(value)] if kind is int and not -_JSON_INTEGER < value < _JSON_INTEGER else value
        if kind in _TAGS:
            tag = _TAGS[kind]
            types = set(map(type, value))
            if types <= _SCALARS and (int not in types or _all_short(value)):
                return [tag.upper(), list(value)]
            try:
                return [tag, [self.encode(item) for item in value]]
            except RecursionError:
                return self._reference(value)
        if kind is dict:
            return ["d", self.encode(list(value)), self.encode(list(value.values()))]
        if kind in (bytes, bytearray):
            return ["b" if kind is bytes else "a", value.decode("latin-1")]
        if kind is Reference:
            return ["o", value._number]
        if kind is type({}.keys()):
            return ["k", self.encode(list(value))]
        module, name = getattr(kind, "__module__", ""), kind.__qualname__
        known = (module, name) in _VALUES and getattr(sys.modules.get(module), name, None) is kind
        if known and getattr(value, "tzinfo", None) is None:
            return ["v", module, name, self.encode(_VALUES[module, name](value))]
        if kind in _NAMED and (kind is not _FUNCTION or not self.trusting):
            name = value.__name__ if kind in (type, _FUNCTION) else str(value)
            if getattr(builtins, name, None) is value:
                return ["n", name]
        if module != "enum" and (base := next((b for b in _BASES if issubclass(kind, b)), None)):
            return self.encode(base(value))
        return self._reference(value)

    def _reference(self, value) -> list:
        number = self._numbers.setdefault(id(value), len(self.objects))
        if number == len(self.objects):
            self.objects.append(value)  # keeps the object alive, so that its id stays unique
        return ["m", number]

    def decode(self, data):
        """The value of what the other end encoded. Raises ProtocolError, or whatever malformed data cause."""
        if type(data) is not list:
            if type(data) in _SCALARS:
                return data
            raise ProtocolError("data of an unknown form")
        tag, value, *rest = data
        if tag in ("L", "T", "S", "F"):
            if not set(map(type, value)) <= _SCALARS:
                raise ProtocolError("data of an unknown form")
            return _CONTAINERS[tag.lower()](value)
        if tag in _CONTAINERS:
            return _CONTAINERS[tag]([self.decode(item) for item in value])
        if tag == "d":
            return dict(zip(self.decode(value), self.decode(rest[0]), strict=True))
        if tag == "i":
            return int(value, 16)
        if tag in ("b", "a"):
            return (bytes if tag == "b" else bytearray)(value.encode("latin-1"))
        if tag == "k":
            return dict.fromkeys(self.decode(value)).keys()
        if tag == "v":
            name, arguments = rest
            if (value, name) not in _VALUES:
                raise ProtocolError(f"a value of an unknown type {name!r:.50}")
            return getattr(import_module(value), name)(*self.decode(arguments))
        if tag == "n":
            named = getattr(builtins, value)
            if type(named) in _NAMED and (type(named) is not _FUNCTION or self.trusting):
                return named
        if tag == "m" and type(value) is int:  # an object of the other end
            self.references += 1
            return Reference(self.ask, value)
        if tag == "o" and type(value) is int and value >= 0:  # an object of this end comes back
            return self.objects[value]
        raise ProtocolError(f"data of an unknown kind {tag!r:.50}")


def _all_short(values) -> bool:
    return all(type(v) is not int or -_JSON_INTEGER < v < _JSON_INTEGER for v in values)
