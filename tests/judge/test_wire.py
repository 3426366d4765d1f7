"""The wire between tests and program: plain data arrive as they are, all else by reference; noise breaks nothing."""

import contextlib
import json
import math
import socket
import threading
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from datetime import date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction

import pytest
from encoding import Encoding
from hypothesis import given, settings
from hypothesis import strategies as st
from nodes import ProtocolError
from operations import OPERATIONS
from reference import Reference
from wire import PeerGone, Wire

scalars = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(st.characters()) | st.binary()
)
hashable = st.recursive(scalars, lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3), max_leaves=5)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.tuples(inner, inner) | st.dictionaries(hashable, inner, max_size=3),
    max_leaves=12,
) | st.sets(hashable, max_size=4)


def refuse(operation, arguments, named):
    raise TypeError(operation)


def round_trip(value):
    sender, receiver = Encoding(None, trusting=True), Encoding(None, trusting=False)
    message = [sender.encode(value), *sender.finish(None)]
    data, nodes, changes, _ = json.loads(json.dumps(message, ensure_ascii=False))
    return receiver.receive(nodes, changes).value(data)


def same(left, right) -> bool:
    """Equal, and of exactly the same types all the way down."""
    if type(left) is not type(right):
        return False
    if type(left) in (list, tuple):
        return len(left) == len(right) and all(map(same, left, right))
    if type(left) is dict:
        return left == right and all(map(same, left.values(), right.values()))
    return left == right


@given(values)
def test_plain_data_arrive_as_they_were(value):
    assert same(round_trip(value), value)


@pytest.mark.parametrize(
    "value",
    [
        *(10**5000, -(10**5000), 2**64, -(2**63), 1.5e300, -0.0, math.inf, 3 + 4j, range(2, 9, 3), slice(1, None, 2)),
        *("\ud83d\ude00", "\x00", "\ud800", b"\x00\xff", bytearray(b"ab"), [True, 1, 1.0], {1: "a", None: 2}.keys()),
        *(Counter("abca"), OrderedDict([(2, 1), (1, 2)]), deque([1, 2], 5), defaultdict(list, {1: [2]})),
        *(Decimal("1.10"), Fraction(1, 3), date(2024, 2, 29), datetime(2024, 2, 29, 1), timedelta(1, 2, 3)),
        *(int, ValueError, Ellipsis, NotImplemented, [[], (), {}, set(), frozenset()]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_so_do_values_of_the_standard_library(value):
    found = round_trip(value)
    assert type(found) is type(value)
    assert found == value


def test_nan_arrives():
    assert math.isnan(round_trip(math.nan))


@pytest.fixture
def ends():
    """A served end with some objects, and the wire to it."""
    ours, theirs = socket.socketpair()

    def answer(operation, arguments, named):
        if operation == "eval":
            return eval(arguments[0], {"Liar": Liar, "namedtuple": namedtuple})
        return OPERATIONS[operation](*arguments, **named)

    def serve():
        with contextlib.suppress(PeerGone):
            Wire(theirs.fileno(), answer, trusting=True).serve()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    with ours, theirs:
        yield Wire(ours.fileno(), lambda operation, arguments, named: arguments[0](*arguments[1:]), trusting=False)
        ours.shutdown(socket.SHUT_RDWR)
        thread.join(5)


class Liar(int):
    def __eq__(self, other):
        return True

    __hash__ = int.__hash__


@pytest.mark.parametrize(
    ("source", "arrives"),
    [
        ("Liar(3)", 3),
        ("namedtuple('P', 'x y')(1, 2)", (1, 2)),
        ("type('L', (list,), {'__eq__': Liar.__eq__})([1])", [1]),
    ],
    ids=["int", "tuple", "list"],
)
def test_the_content_of_a_subclass_decides_comparisons(ends, source, arrives):
    value = ends.ask("eval", source)
    assert isinstance(value, type(arrives))
    assert value == arrives
    assert arrives == value
    assert value != 4


def test_what_has_no_plain_form_stays_where_it_is(ends):
    add = ends.ask("eval", "lambda a, b=2: a + b")
    assert isinstance(add, Reference)
    assert (add(1), add(1, 5), add(1, b=3)) == (3, 6, 4)
    assert list(ends.ask("eval", "(n * n for n in range(4))")) == [0, 1, 4, 9]
    assert 9 in ends.ask("eval", "iter([1, 9])")


def test_an_object_of_the_program_equals_no_plain_data_and_knows_no_arithmetic(ends):
    liar = ends.ask(
        "eval", "type('A', (), {n: (lambda *_: True) for n in ('__eq__', '__sub__', '__lt__', '__ge__')})()"
    )
    for other in (1, "x", None, [], True):
        assert liar != other
        assert other != liar
    for use in (lambda: liar - 1, lambda: 1 - liar, lambda: liar < 2, lambda: liar <= 2, lambda: abs(liar - 1)):
        with pytest.raises(TypeError):
            use()
    assert liar not in [1, 2]
    assert liar == liar


def test_a_call_changes_its_arguments_as_it_would_at_home(ends):
    numbers, table, seen = [3, 1, 2], {"a": [1]}, {1}
    inner = table["a"]
    ends.ask("eval", "lambda l: l.sort()")(numbers)
    ends.ask("eval", "lambda d: (d['a'].append(2), d.update(b=3))")(table)
    ends.ask("eval", "lambda s: s.clear()")(seen)
    assert (numbers, table, seen) == ([1, 2, 3], {"a": [1, 2], "b": 3}, set())
    rows = [[1], [2]]
    first = rows[0]
    ends.ask("eval", "lambda r: r[0].append(5)")(rows)
    assert first == [1, 5]
    assert inner == [1, 2]
    assert table["a"] is inner


def test_functions_can_be_handed_over_and_called_back(ends):
    assert ends.ask("eval", "lambda f, x: f(f(x))")(lambda x: x + 3, 1) == 7
    assert ends.ask("eval", "lambda f, xs: sorted(xs, key=f)")(len, ["aaa", "b"]) == ["b", "aaa"]


def test_exceptions_arrive_by_name(ends):
    with pytest.raises(KeyError, match="'x'"):
        ends.ask("eval", "{}['x']")
    with pytest.raises(ValueError, match="why"):
        ends.ask("eval", "(lambda E: (_ for _ in ()).throw(E('why')))(type('E', (ValueError,), {}))")


FORGED = [
    *(b"", b"\x01", b"\x04\x00\x00\x00[[[[", b"\xff\xff\xff\xff", b"\x02\x00\x00\x00{}", b"\x02\x00\x00\x00\xff\xfe"),
    *(b"[]", b'["answer"]', b'["answer",{},[],[],[]]', b'["answer",[7],[],[],[]]', b'["answer",[-1],[],[],[]]'),
    *(b'["x",1,[],[],[]]', b"[" * 5000, b'["answer",["i","z"],[],[],[]]', b'["answer",[true],[["l",[]]],[],[]]'),
    *(
        f'["answer",[0],[{node}],[],[]]'.encode()
        for node in (
            *(
                '["os.system",["true"]]',
                '["n",["builtins","exec"]]',
                '["n",["os","system"]]',
                '["n",["os",""]]',
                '["z",[]]',
            ),
            *(
                '["d",[1]]',
                '["s",[[0]]]',
                '["t",[[0]]]',
                '["l",[[9]]]',
                '["decimal.Decimal",["x"]]',
                '["l",5]',
                '["l"]',
            ),
            *(
                '["datetime.date",[0,0,0]]',
                '["u",["a"],"l"]',
                '["e",[1,2,3,4]]',
                '["e",[[0],[],[],null]]',
                '["u",[[0]],"t"]',
            ),
            *('["c",[],"a","b",[],[]]', '["c",[1],"a","b",[],[]]', '["c",[[0]],"a","b",[],[]]', '["deque",[]]'),
            *('["builtins.range",["a"]]', '["collections.deque",[-1]]', '["a",["\\u0100"]]', '["_io.StringIO",[1,2]]'),
        )
    ),
    *(
        b'["answer",1,[],[[9,[]]],[]]',
        b'["ask",["call",[[5]],{}],[],[],[]]',
        b'["raise",1,[],[],[]]',
        b'["answer",1,[],[],5]',
    ),
    *(b'["raise",[1,"a","b"],[],[],[]]', b'["ask",5,[],[],[]]', b'["answer",1,5,[],[]]', b'["answer",1,[5],[],[]]'),
]


def receive(data: bytes):
    """What the tests' end makes of bytes that a program has written."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(data)
        ours.shutdown(socket.SHUT_WR)
        return Wire(theirs.fileno(), refuse, trusting=False).serve()


@pytest.mark.parametrize("data", FORGED, ids=lambda data: repr(data)[:30])
@pytest.mark.parametrize("framed", [False, True])
def test_a_forged_message_is_broken_and_nothing_more(data, framed):
    with pytest.raises((ProtocolError, PeerGone)):
        receive(len(data).to_bytes(4, "little") + data if framed else data)


TAGS = [*"ldsatfbmwgncue", "collections.deque", "_io.StringIO", "datetime.datetime", "str", "dict_items"]
messages = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 3) | st.text(max_size=5) | st.sampled_from(TAGS),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
)


numbers = st.lists(st.integers(-1, 3), min_size=1, max_size=1)
parts = st.lists(numbers | st.none() | st.integers(-1, 3) | st.text(max_size=3), max_size=5)
nodes = st.lists(st.tuples(st.sampled_from(TAGS), parts) | messages, max_size=4)


@settings(max_examples=300)
@given(
    st.sampled_from(["answer", "raise", "ask", "x"]),
    numbers | messages,
    nodes,
    st.lists(messages, min_size=2, max_size=2),
)
def test_noise_in_the_form_of_messages_never_breaks_the_tests(kind, body, new, rest):
    data = json.dumps([kind, body, new, *rest]).encode()
    raised = None
    try:
        receive(len(data).to_bytes(4, "little") + data)
    except (ProtocolError, PeerGone):
        pass
    except Exception as error:
        raised = error
    assert raised is None or (kind == "raise" and raised.of_program)


@given(st.binary(max_size=100))
def test_neither_does_noise(data):
    with pytest.raises((ProtocolError, PeerGone)):
        receive(data)
