"""Plain data: the types whose values cross the wire as copies, and how each is taken apart and put together.

Nothing is unpickled: only the constructors named here ever run, on plain data.
"""

import sys
from importlib import import_module
from operator import attrgetter


class Kind:
    """`take` turns a value into a list of its parts. A value that can change is made by `make(parts)`, of which only
    the first may be looked at, and then filled by `fill(value, parts)`; any other is made by `make(parts)` alone.
    `tag` names the kind in messages; `base`: the type; `keeps`: whether both ends remember which copy is whose."""

    def __init__(self, tag: str, base: type, take, make, fill=None):
        self.tag, self.base, self.take, self.make, self.fill = tag, base, take, make, fill
        self.keeps = fill is not None or base in (tuple, frozenset)


# By the methods of the types themselves: a subclass may have others.
def _fill_list(value, parts) -> None:
    list.__setitem__(value, slice(None), parts)


def _fill_set(value, parts) -> None:
    set.clear(value)
    set.update(value, parts)


def _fill_dict(value, parts, base=dict) -> None:
    base.clear(value)
    half = len(parts) // 2
    base.update(value, zip(parts[:half], parts[half:], strict=True))


def _fill_ordered(value, parts) -> None:
    _fill_dict(value, parts, sys.modules["collections"].OrderedDict)


def _fill_defaultdict(value, parts) -> None:
    value.default_factory = parts[0]
    _fill_dict(value, parts[1:])


def _fill_deque(value, parts) -> None:
    value.clear()
    value.extend(parts[1:])


def _fill_bytes(value, parts) -> None:
    value[:] = parts[0].encode("latin-1")


def _fill_array(value, parts) -> None:
    value[:] = type(value)(parts[0], parts[1:])


def _take_file(value) -> list:
    if value.closed:
        return [None, 0]
    content = value.getvalue()
    return [content if type(content) is str else content.decode("latin-1"), value.tell()]


def _fill_file(value, parts) -> None:
    content, place = parts
    if content is None:
        return value.close()
    value.seek(0)
    value.truncate()
    value.write(content if hasattr(value, "newlines") else content.encode("latin-1"))
    value.seek(place)


def _take_dict(value) -> list:
    return [*dict.keys(value), *dict.values(value)]


def _view(take_part):
    def make(parts):
        return take_part(dict(zip(parts[: len(parts) // 2], parts[len(parts) // 2 :], strict=True)))

    return make


def _take_view(view) -> list:
    return _take_dict(dict(view.mapping))


_BUILT_IN = (
    Kind("l", list, lambda v: [*list.__iter__(v)], lambda parts: [], _fill_list),
    Kind("d", dict, _take_dict, lambda parts: {}, _fill_dict),
    Kind("s", set, lambda v: [*set.__iter__(v)], lambda parts: set(), _fill_set),
    Kind("a", bytearray, lambda v: [bytearray.decode(v, "latin-1")], lambda parts: bytearray(), _fill_bytes),
    Kind("t", tuple, lambda v: [*tuple.__iter__(v)], tuple),
    Kind("f", frozenset, lambda v: [*frozenset.__iter__(v)], frozenset),
    Kind("b", bytes, lambda v: [bytes.decode(v, "latin-1")], lambda parts: parts[0].encode("latin-1")),
    Kind("str", str, lambda v: [str.__str__(v)], lambda parts: str(parts[0])),
    Kind("int", int, lambda v: [int.__int__(v)], lambda parts: int(parts[0])),
    Kind("float", float, lambda v: [float.__float__(v)], lambda parts: float(parts[0])),
    Kind("dict_keys", type({}.keys()), _take_view, _view(dict.keys)),
    Kind("dict_values", type({}.values()), _take_view, _view(dict.values)),
    Kind("dict_items", type({}.items()), _take_view, _view(dict.items)),
)
_DATE, _TIME = ("year", "month", "day"), ("hour", "minute", "second", "microsecond", "tzinfo")
# Types of modules that need not be imported: how a value is taken apart; put together by the type's constructor, or by
# the function in the third place. Those in the last places can change.
LAZY = {
    ("builtins", "range"): (attrgetter("start", "stop", "step"),),
    ("builtins", "slice"): (attrgetter("start", "stop", "step"),),
    ("builtins", "complex"): (attrgetter("real", "imag"),),
    ("decimal", "Decimal"): (lambda v: [str(v)],),
    ("fractions", "Fraction"): (attrgetter("numerator", "denominator"),),
    ("datetime", "timedelta"): (attrgetter("days", "seconds", "microseconds"),),
    ("datetime", "date"): (attrgetter(*_DATE),),
    ("datetime", "time"): (attrgetter(*_TIME, "fold"), lambda kind, parts: kind(*parts[:-1], fold=parts[-1])),
    ("datetime", "datetime"): (attrgetter(*_DATE, *_TIME, "fold"), lambda kind, p: kind(*p[:-1], fold=p[-1])),
    ("datetime", "timezone"): (lambda v: v.__getinitargs__(),),
    ("zoneinfo", "ZoneInfo"): (lambda v: [v.key],),
    ("uuid", "UUID"): (lambda v: [v.hex],),
    ("pathlib", "PurePosixPath"): (lambda v: [str(v)],),
    ("pathlib", "PosixPath"): (lambda v: [str(v)],),
    ("collections", "Counter"): (_take_dict, lambda kind, parts: kind(), _fill_dict),
    ("collections", "OrderedDict"): (lambda v: [*v, *v.values()], lambda kind, parts: kind(), _fill_ordered),
    ("collections", "defaultdict"): (
        lambda v: [v.default_factory, *_take_dict(v)],
        lambda kind, parts: kind(),
        _fill_defaultdict,
    ),
    ("collections", "deque"): (lambda v: [v.maxlen, *v], lambda kind, parts: kind(maxlen=parts[0]), _fill_deque),
    ("array", "array"): (lambda v: [v.typecode, *v], lambda kind, parts: kind(parts[0]), _fill_array),
    ("_io", "StringIO"): (_take_file, lambda kind, parts: kind(), _fill_file),
    ("_io", "BytesIO"): (_take_file, lambda kind, parts: kind(), _fill_file),
}
_by_type = {kind.base: kind for kind in _BUILT_IN}
_by_tag = {kind.tag: kind for kind in _BUILT_IN}


def of_type(kind: type) -> Kind | None:
    """The kind of the values of exactly this type."""
    if kind in _by_type:
        return _by_type[kind]
    place = getattr(kind, "__module__", ""), kind.__qualname__
    if type(place[0]) is str and place in LAZY and getattr(sys.modules.get(place[0]), place[1], None) is kind:
        return _known(place)
    return None


def of_subclass(kind: type) -> Kind | None:
    """The kind of the closest base class of `kind` that has one."""
    return next((found for base in kind.__mro__[1:-1] if (found := of_type(base))), None)


def of_tag(tag) -> Kind:
    """Raises LookupError for a tag that names no kind."""
    if tag in _by_tag:
        return _by_tag[tag]
    module, _, name = tag.partition(".")
    if (module, name) not in LAZY:
        raise LookupError(f"a value of an unknown type {tag!r:.50}")
    return _known((module, name))


def _known(place: tuple[str, str]) -> Kind:
    base = getattr(import_module(place[0]), place[1])
    take, *rest = LAZY[place]
    make = rest[0] if rest else lambda kind, parts: kind(*parts)
    kind = Kind(".".join(place), base, lambda v: list(take(v)), lambda parts: make(base, parts), *rest[1:])
    _by_type[base] = _by_tag[kind.tag] = kind
    return kind
