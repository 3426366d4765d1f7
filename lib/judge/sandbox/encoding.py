"""Python values as JSON and back, for two processes that don't trust each other.

A message carries new objects as *nodes*, [tag, parts, ...], so that depth, sharing and cycles are no problem. Both ends
number objects alike, in the order of their nodes. A value is a JSON scalar, or [number of an object], or
["i", hexadecimal]. Plain data (see `kinds`) arrive as copies of exactly these types. While both ends hold a copy, each
message also carries how the sender has changed its own: a list that a call changes has changed here too, and a list
that comes back is the list that was sent. Any other object stays in its process; the other end gets a stand-in.

Nothing is unpickled; malformed data raises ProtocolError, or TypeError, ValueError, LookupError and the like, which
`wire` turns into it.
"""

import contextlib
import sys
import types
from operator import is_
from weakref import WeakValueDictionary

import kinds
from nodes import SCALARS, Nodes, base_of
from reference import SAFE, Mirror, Reference, reference_of, set_made

_NO_INTEGERS = SCALARS - {int}
_JSON_INTEGER = 1 << 64  # larger integers are sent as hexadecimal, which takes linear time and has no limit of digits
_LONGEST_TEXT = 100_000  # characters of an exception
_CREDIT = 10_000_000  # parts of copies that may be looked at for changes, beyond those of the current call
_NEVER_SENT = (types.FrameType, types.TracebackType, types.CodeType)
_FUNCTIONS = (types.FunctionType, types.BuiltinFunctionType)
_references = sys.getrefcount  # bound at import: a program may replace it


class Late:
    """Stands for what the tests will define under this name."""

    def __init__(self, name: str, namespace: dict):
        self.name, self.namespace = name, namespace


class Encoding:
    """`trusting`: the other end may name any function of the standard library. `objects`: those for which the other end
    has stand-ins. `released`: numbers of stand-ins that have gone. `references`, `updates`: how many stand-ins without
    content, and how many changes, arrived."""

    def __init__(self, wire, trusting: bool):
        self.wire, self.trusting = wire, trusting
        self.references, self.updates, self.next = 0, 0, 0
        self.objects: dict[int, object] = {}
        self.released: list[int] = []
        self._numbers: dict[int, int] = {}  # id of an object of these tables -> its number
        self._copies: dict[int, list] = {}  # number -> [object, its kind, its parts when both ends agreed]
        self._stand_ins: WeakValueDictionary = WeakValueDictionary()
        self._classes: dict[int, type] = {}
        self._waiting: list = []  # [number, object] whose nodes the message in the making still lacks
        self._passing: list = []  # objects that have a number for this message only
        self._credit, self._volume = _CREDIT, 0

    # Sending

    def encode(self, value):
        """`value` as JSON; whatever it consists of will be among the nodes of the message, see `finish`."""
        kind = type(value)
        if kind in _NO_INTEGERS:
            return value
        if kind is int:
            return value if -_JSON_INTEGER < value < _JSON_INTEGER else ["i", hex(value)]
        number = self._numbers.get(id(value))
        if number is None:
            if (stand_in := reference_of(value)) is not None:
                return [stand_in._far_number]
            number = self._numbers[id(value)] = self.next
            self.next += 1
            self._waiting.append((number, value))
        return [number]

    def finish(self, first: int | None) -> list:
        """The rest of the message: nodes, changes of copies, numbers that this end no longer holds. `first`: for an
        answer, the number of the first copy that came with the question."""
        nodes = self._nodes()
        changes = self._changes(first)
        nodes += self._nodes()
        gone, self.released = self.released, []
        for number in list(self._copies):
            if number not in self.objects and _references(self._copies[number][0]) == 2:  # this table, and the argument
                self._forget(number)
                gone.append(number)
        for value in self._passing:
            self._numbers.pop(id(value), None)
        self._passing.clear()
        return [nodes, changes, gone]

    def _nodes(self) -> list:
        nodes = []
        while self._waiting:
            objects, self._waiting = self._waiting, []
            nodes += [self._node(number, value) for number, value in objects]
        return nodes

    def _node(self, number: int, value) -> list:
        kind = kinds.of_type(type(value))
        if kind is None:
            return self._stand_in(number, value)
        parts = kind.take(value)
        self._keep(number, value, kind, parts)
        return [kind.tag, self._parts(parts)]

    def _keep(self, number: int, value, kind: kinds.Kind, parts: list) -> None:
        if kind.keeps:
            self._copies[number] = [value, kind, parts]
            self._volume += len(parts)
        else:
            self._passing.append(value)

    def _parts(self, parts: list) -> list:
        if set(map(type, parts)) <= _NO_INTEGERS:
            return parts
        encode = self.encode
        return [encode(part) for part in parts]

    def _stand_in(self, number: int, value) -> list:
        kind = type(value)
        if (name := self._name(value)) is not None:
            self._passing.append(value)
            return ["n", name]
        if isinstance(value, _NEVER_SENT):
            raise TypeError(f"a {kind.__name__} can't be handed over")
        self.objects[number] = value
        if issubclass(kind, BaseException):
            if getattr(kind, "__module__", "") == "builtins":
                self._passing.append(value)
            return ["e", self._parts([kind, *_content(value)])]
        if issubclass(kind, type) and (base := base_of(value)) is not None:
            bases = [b for b in value.__bases__ if issubclass(b, BaseException)] or [base]
            fields = list(getattr(value, "_fields", ())) if base is tuple else []
            names = {name for c in value.__mro__ if c not in base.__mro__ for name in vars(c)} - {*fields}
            names = sorted(name for name in names if hasattr(base, name) or name in SAFE)
            return ["c", self._parts(bases), str(getattr(value, "__module__", "")), value.__name__, fields, names]
        if issubclass(kind, types.CoroutineType | types.GeneratorType):
            return ["w" if issubclass(kind, types.CoroutineType) else "g", []]
        base = base_of(kind)
        if base is None or issubclass(kind, type):
            return ["m", []]
        content = kinds.of_type(base)
        assert content is not None  # a base is a type with a kind
        parts = content.take(value)
        self._keep(number, value, content, parts)
        return ["u", self._parts([kind, *parts]), content.tag]

    def _name(self, value) -> list | None:
        """How the other end can find `value` in the standard library, if it may."""
        if value is Ellipsis or value is NotImplemented:
            return ["", str(value)]
        if isinstance(value, types.ModuleType):
            return [value.__name__, ""] if not self.trusting and value.__name__ in sys.stdlib_module_names else None
        if not isinstance(value, type) and (self.trusting or not isinstance(value, _FUNCTIONS)):
            return None
        module, name = getattr(value, "__module__", ""), getattr(value, "__name__", "")
        found = vars(sys.modules[module]).get(name) if type(module) is str and module in sys.modules else None
        known = module == "builtins" or (module in sys.stdlib_module_names and not self.trusting)
        return [module, name] if found is value and (known or (module, name) in kinds.LAZY) else None

    def _changes(self, first: int | None) -> list:
        numbers = list(self._copies)
        if self._volume > self._credit:
            numbers = [] if first is None else [number for number in numbers if number >= first]
        else:
            self._credit -= self._volume
        changes = []
        for number in numbers:
            value, kind, before = copy = self._copies[number]
            if kind.fill is not None and not _same(parts := kind.take(value), before):
                changes.append([number, self._parts(parts)])
                self._volume += len(parts) - len(before)
                copy[2] = parts
        return changes

    def _forget(self, number: int) -> None:
        copy = self._copies.pop(number, None)
        value = self.objects.get(number) if copy is None else copy[0]
        if copy is not None:
            self._volume -= len(copy[2])
        if copy is None or number not in self.objects:
            self.objects.pop(number, None)
            self._numbers.pop(id(value), None)

    # Receiving

    def receive(self, nodes: list, changes: list) -> Nodes:
        """Takes in new objects and changes. Returns what decodes the message's values."""
        new = Nodes(self, nodes)
        for number, parts in changes:
            copy = self._copies[number]
            value, kind, before = copy
            copy[2] = [new.value(part) for part in parts]
            kind.fill(value, copy[2])
            if kind.tag == "s":  # in the order in which it will be taken apart
                copy[2] = kind.take(value)
            self._volume += len(parts) - len(before)
            self.updates += 1
        return new

    def drop(self, gone: list) -> None:
        """Forgets what the other end no longer holds. Call it when the message's values are decoded."""
        for number in gone:
            self._forget(number)

    def has_handed_over(self, value) -> bool:
        """Whether the other end has a stand-in for `value`."""
        return self.objects.get(self._numbers.get(id(value), -1)) is value

    def known(self, number: int):
        """The object of either end with this number. Raises LookupError."""
        if number in self._copies:
            return self._copies[number][0]
        if number in self.objects:
            value = self.objects[number]
            if type(value) is Late and value.name in value.namespace:
                self._numbers.pop(id(value), None)
                value = self.objects[number] = value.namespace[value.name]
                self._numbers.setdefault(id(value), number)
            return value
        if number in self._classes:
            return self._classes[number]
        value = self._stand_ins[number]
        if type(value) is Reference:
            self.references += 1
            set_made(value, "")
        return value

    def add_copy(self, number: int, value, kind: kinds.Kind, parts: list) -> None:
        self._keep(number, value, kind, parts)
        if kind.keeps:
            self._numbers[id(value)] = number
        else:
            self._passing.clear()

    def add_stand_in(self, number: int, value) -> None:
        if type(value) is Mirror:
            self._classes[number] = value
        else:
            with contextlib.suppress(TypeError):  # nothing refers weakly to a tuple or a built-in exception
                self._stand_ins[number] = value


def _same(parts: list, before: list) -> bool:
    if len(parts) != len(before):
        return False
    return all(map(is_, parts, before)) or all(
        one is two or (type(one) is type(two) and type(one) in SCALARS and one == two)
        for one, two in zip(parts, before, strict=True)
    )


def _content(error: BaseException) -> list:
    """Arguments, attributes and cause of an exception."""
    try:
        long = len(str(error)) > _LONGEST_TEXT
    except Exception:
        long = False
    arguments = (str(error)[:_LONGEST_TEXT],) if long else error.args
    if isinstance(error, BaseExceptionGroup):  # its constructor reads the exceptions, which a list would still lack
        arguments = (error.message, tuple(error.exceptions))
    held = [(k, v) for k, v in vars(error).items() if k not in ("_far_reference", "of_program")]
    return [tuple(arguments), tuple(held), error.__cause__ or error.__context__]
