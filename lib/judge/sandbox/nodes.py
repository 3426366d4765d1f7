"""Makes objects of the nodes of a message, see `encoding`."""

import sys
from importlib import import_module
from typing import Any

import kinds
from reference import Reference, mirror, reference_of

SCALARS = {type(None), bool, int, float, str}
_SPECIAL = frozenset("mwgncue")  # tags of what is no plain data
_CONSTANTS = {("", "Ellipsis"): Ellipsis, ("", "NotImplemented"): NotImplemented}
_UNBUILT = object()


class ProtocolError(BaseException):
    """The other end sent something that is not a message, or not what was asked for."""


class Nodes:
    """Makes the objects that a message carries. First what can change, still empty, then what can't, each after its
    parts; last the content of what can change."""

    def __init__(self, encoding, nodes: list):
        self._encoding, self._nodes, self._first = encoding, nodes, encoding.next
        encoding.next += len(nodes)
        self._built = [_UNBUILT] * len(nodes)
        later, fillings = [], []
        for index, (tag, parts, *_) in enumerate(nodes):
            kind = None if tag in _SPECIAL else kinds.of_tag(tag)
            if kind is not None and kind.fill is not None:
                self._built[index] = value = kind.make(parts)
                fillings.append((index, value, kind, parts))
            elif tag in ("m", "w", "g"):
                self._built[index] = self._object(index, tag)
            else:
                later.append(index)
        for index in reversed(later):  # parts come after what consists of them, mostly
            if self._built[index] is _UNBUILT:
                self._build(index, fillings)
        for index, value, kind, parts in fillings:
            contents = self._values(parts)
            kind.fill(value, contents)
            if kind.tag == "s":
                contents = kind.take(value)
            encoding.add_copy(self._first + index, value, kind, contents)

    def value(self, data):
        """The value of what the other end encoded. Raises ProtocolError, or whatever malformed data cause."""
        if type(data) is not list:
            if type(data) in SCALARS:
                return data
            raise ProtocolError("data of an unknown form")
        if data[0] == "i":
            return int(data[1], 16)
        (number,) = data
        if type(number) is not int:
            raise ProtocolError("data of an unknown form")
        return self._encoding.known(number) if number < self._first else self._built[number - self._first]

    def error(self, data, text: str, traceback: str) -> BaseException:
        """The exception that the other end has raised. If it is not of this end, `of_program`: text and traceback."""
        error = self.value(data)
        if not isinstance(error, BaseException):
            raise ProtocolError("something else than an exception was raised")
        if reference_of(error) is not None:
            vars(error)["of_program"] = (str(text), str(traceback))
        return error

    def _values(self, parts: list) -> list:
        if type(parts) is not list:
            raise ProtocolError("parts of an unknown form")
        if set(map(type, parts)) <= SCALARS:
            return parts
        value = self.value
        return [value(part) for part in parts]

    def _build(self, index: int, fillings: list) -> None:
        stack, begun = [index], set()
        while stack:
            index = stack[-1]
            tag, parts, *rest = self._nodes[index]
            if self._built[index] is _UNBUILT:
                places = [part[0] - self._first for part in parts if type(part) is list and type(part[0]) is int]
                missing = [place for place in places if place >= 0 and self._built[place] is _UNBUILT]
                if missing and index in begun:
                    raise ProtocolError("an object that consists of itself")
                begun.add(index)
                if missing:
                    stack += missing
                    continue
                self._built[index] = self._made(index, tag, self._values(parts), rest, fillings)
            stack.pop()

    def _object(self, index: int, tag: str):
        encoding, number = self._encoding, self._first + index
        encoding.references += 1
        value = Reference(encoding.wire, number)
        if tag != "m":
            value = encoding.wire.awaited(value) if tag == "w" else _generated(_Steps(value))
        encoding.add_stand_in(number, value)
        return value

    def _made(self, index: int, tag: str, parts: list, rest: list, fillings: list):
        encoding, number = self._encoding, self._first + index
        if tag == "n":
            return _named(*parts, encoding.trusting)
        if tag not in _SPECIAL:
            kind = kinds.of_tag(tag)
            value = kind.make(parts)
            if kind.keeps:
                encoding.add_copy(number, value, kind, parts)
            return value
        reference = Reference(encoding.wire, number)
        if tag == "c":
            value = _class(reference, parts, *rest)
        elif tag == "e":
            value = _exception(*parts)
            vars(value)["_far_reference"] = reference
        elif tag == "u":
            kind, (mirrored, *content) = kinds.of_tag(rest[0]), parts
            if kind.fill is not None:
                value = type.__call__(mirrored)
                fillings.append((index, value, kind, self._nodes[index][1][1:]))
            else:
                value = kind.base.__new__(mirrored, kind.make(content))
            vars(value)["_far_reference"] = reference
        encoding.add_stand_in(number, value)
        return value


def _exception(kind: Any, arguments: tuple, held: tuple, cause):
    try:
        error = type.__call__(kind, *arguments)
    except Exception:
        error = kind.__new__(kind)
        error.args = arguments
    vars(error).update((name, value) for name, value in held if type(name) is str and not name.startswith("__"))
    error.__cause__ = cause
    return error


def _standard(module) -> bool:
    return module in sys.modules and module.partition(".")[0] in sys.stdlib_module_names


def _class(reference: Reference, bases: list, module: str, name: str, fields: list, defined: list) -> type:
    """The standard library's exception of that name, if it is loaded here, else a mirror."""
    found = vars(sys.modules[module]).get(name) if _standard(module) else None
    if isinstance(found, type) and issubclass(found, BaseException):
        return found
    if not bases or not all(isinstance(b, type) and (kinds.of_type(b) or base_of(b)) for b in bases):
        raise ProtocolError("a class that can have no mirror")
    return mirror(reference, name, tuple(bases), fields, defined)


def _named(module: str, name: str, trusting: bool):
    """What the other end means by this name: a type, or, if the other end may name it, anything."""
    if (module, name) in _CONSTANTS:
        return _CONSTANTS[module, name]
    if not trusting and module != "builtins" and (module, name) not in kinds.LAZY:
        raise ProtocolError(f"a name that is not known: {name!r:.50}")
    found = import_module(module) if not name else getattr(import_module(module), name)
    if not (trusting or isinstance(found, type)):
        raise ProtocolError(f"a name of something else than a type: {name!r:.50}")
    return found


class _Steps:
    """Iterates over a generator of the other process, which as an iterator is its stand-in here."""

    def __init__(self, reference: Reference):
        self.reference: Any = reference

    def __iter__(self):
        return self

    def __next__(self):
        return self.reference.__next__()

    def __getattr__(self, name):
        return getattr(self.reference, name)


def _generated(steps: Any):
    return (yield from steps)


def base_of(kind: type) -> Any:
    """The class whose content instances of `kind` have: an exception's, or a type of plain data; None for others."""
    if issubclass(kind, BaseException):
        return BaseException
    found = kinds.of_subclass(kind)
    return found and found.base
