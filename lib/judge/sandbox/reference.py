"""Stand-ins for what lives in the other process: `Reference`, and classes and values that Python must see as such.

In the tests' process, no method of a program may decide a comparison with plain data: what a test compares with could
be the answer. So an object of the program equals no plain data, and has no order, membership or arithmetic with it. An
object that the test itself has made of a class, `V(1)`, knows membership, and arithmetic (`V(1) * 2`) whose result is
an object; that result in turn is no number and has no truth value. If the prompt calls V a class, V's operators compare
such an object with plain data too: that is what the test asks about. All this ends when a call returns the object.
"""

from typing import Any

BINARY = ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and", "or", "xor", "lshift", "rshift")
ORDER = ("lt", "le", "gt", "ge")
_PLAIN = {  # operations with a single object, or with keys; the results may be plain data
    **{f"__{name}__": name for name in ("call", "getitem", "setitem", "delitem", "next", "len", "str", "int", "float")},
    **{f"__{name}__": name for name in ("complex", "index", "round", "trunc", "floor", "ceil", "format", "bytes")},
    **{
        f"__{name}__": name for name in ("reversed", "neg", "pos", "abs", "invert", "enter", "aiter", "anext", "aenter")
    },
    **{f"__{name}__": name for name in ("dir", "copy", "fspath", "subclasscheck")},
    "__getattr__": "getattr",
    "__setattr__": "setattr",
    "__delattr__": "delattr",
}
_NUMBERS = {"int", "float", "complex", "index", "round", "trunc", "floor", "ceil", "neg", "pos", "abs", "invert", "len"}
# What a mirror of a program's class asks of the program, if the class defines it: nothing that sees a test's data.
SAFE = {f"__{name}__" for name in ("call", "getitem", "setitem", "delitem", "len", "iter", "next", "str", "repr")}
SAFE |= {f"__{name}__" for name in ("bool", "missing", "enter", "exit", "reversed")}


class Reference:
    """An object of the other process, by its number. `made`: "made" by a test of a class, "named" if the prompt calls
    that a class, "derived" by arithmetic with plain data, or ""."""

    __slots__ = ("__weakref__", "_far_hash", "_far_made", "_far_number", "_far_wire")

    def __init__(self, wire, number: int):
        set_slot = object.__setattr__
        set_slot(self, "_far_wire", wire)
        set_slot(self, "_far_number", number)
        set_slot(self, "_far_made", "")
        set_slot(self, "_far_hash", None)

    def __del__(self):
        self._far_wire.encoding.released.append(self._far_number)

    def _far_operate(self, operation: str, left, right):
        """An operation with two operands, one of which is this object."""
        wire, other = self._far_wire, right if left is self else left
        between_objects = wire.trusting or reference_of(other) is not None
        compares = operation in ("eq", *ORDER)
        if not between_objects and compares and self._far_made == "named":
            return wire.ask(operation, left, right) is True
        if not between_objects and (compares or not self._far_made):
            return NotImplemented
        made = self._far_made or getattr(other, "_far_made", "")
        result = wire.ask(operation, left, right)
        if made and type(result) is Reference:
            set_made(result, made if between_objects else "derived")
        elif not between_objects:
            raise TypeError(f"{operation} of an object of the program and plain data gave plain data")
        return result

    def __eq__(self, other):
        return other is self or self._far_operate("eq", self, other) is True

    def __hash__(self):
        if self._far_hash is None:
            object.__setattr__(self, "_far_hash", int(self._far_wire.ask("hash", self)))
        return self._far_hash

    def __contains__(self, item):
        if self._far_wire.trusting or self._far_made in ("made", "named") or reference_of(item) is not None:
            return self._far_wire.ask("contains", self, item) is True
        return any(part is item or part == item for part in self)

    def __iter__(self):
        iterator = self._far_wire.ask("iter", self)
        return iterator if isinstance(iterator, Reference) else iter(iterator)

    def __bool__(self):
        if self._far_made == "derived":
            raise TypeError("the truth of what the program computed from a test's data")
        return self._far_wire.ask("bool", self) is True

    def __repr__(self):
        return self._far_wire.ask("repr", self) if self._far_wire.open else "<object of the program>"

    def __str__(self):
        return self._far_wire.ask("str", self) if self._far_wire.open else "<object of the program>"

    def __exit__(self, kind, error, _):
        return self._far_wire.ask("exit", self, kind, error, None)

    def __aexit__(self, kind, error, _):
        return self._far_wire.ask("aexit", self, kind, error, None)

    def __deepcopy__(self, _):
        return self._far_wire.ask("deepcopy", self)

    def __await__(self):
        return self._far_wire.awaited(self).__await__()

    def __instancecheck__(self, instance):
        return reference_of(instance) is not None and self._far_wire.ask("isinstance", instance, self) is True

    def __mro_entries__(self, bases):
        raise TypeError("a class of the test can't be derived from a class of the program")


set_made = Reference._far_made.__set__


def _forward(operation: str):
    def method(self, *arguments, **named):
        result = self._far_wire.ask(operation, self, *arguments, **named)
        if self._far_made == "derived" and operation in _NUMBERS:
            if type(result) is not Reference:
                raise TypeError(f"{operation} of what the program computed from a test's data")
            set_made(result, "derived")
        return result

    return method


def _operator(operation: str, reflected: bool = False):
    def method(self, other):
        return self._far_operate(operation, other, self) if reflected else self._far_operate(operation, self, other)

    return method


for _name, _operation in _PLAIN.items():
    if _name not in vars(Reference):
        setattr(Reference, _name, _forward(_operation))
for _name in BINARY:
    setattr(Reference, f"__{_name}__", _operator(_name))
    setattr(Reference, f"__r{_name}__", _operator(_name, True))
    setattr(Reference, f"__i{_name}__", _operator(f"i{_name}"))
for _name in ORDER:
    setattr(Reference, f"__{_name}__", _operator(_name))


def _far(mirrored) -> Any:
    """The stand-in behind a mirror."""
    return vars(mirrored)["_far_reference"]


class Mirror(type):
    """The type of local classes that stand for classes of the other process which Python must see as classes: those of
    exceptions, and those derived from types of plain data. Making an instance, and attributes, are left to the other
    process; an instance that comes from there has the base's content, which decides comparisons."""

    def __call__(cls, *arguments, **named):
        return _far(cls)(*arguments, **named)

    def __getattr__(cls, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(_far(cls), name)

    def __iter__(cls):
        return iter(_far(cls))

    def __len__(cls):
        return len(_far(cls))

    def __getitem__(cls, key):
        return _far(cls)[key]


def mirror(reference: Reference, name: str, bases: tuple, fields: list, defined: list) -> Mirror:
    """A mirror of the class behind `reference`. `fields`: of a namedtuple; `defined`: methods that the class has beside
    those of its bases."""
    if fields:
        from collections import namedtuple

        bases = (namedtuple(name, fields), *bases[1:])
    asks = {n: _asking(n) for n in defined if n in SAFE or not n.startswith("_")}
    return Mirror(
        name, bases, {"__getattr__": _attribute, "_far_reference": reference, "__module__": "solution", **asks}
    )


def _attribute(self, name):
    if name.startswith("__") or "_far_reference" not in self.__dict__:
        raise AttributeError(name)
    return getattr(reference_of(self), name)


def _asking(name: str):
    """A method of a mirror that the other process runs."""

    def method(self, *arguments, **named):
        reference = reference_of(self)
        ours = getattr(Reference, name, None)
        return ours(reference, *arguments, **named) if ours else getattr(reference, name)(*arguments, **named)

    return method


def reference_of(value) -> Reference | None:
    """The reference behind a stand-in; None for any other value."""
    kind = type(value)
    if kind is Reference:
        return value
    if kind is Mirror or type(kind) is Mirror or issubclass(kind, BaseException):
        return vars(value).get("_far_reference")
    return None
