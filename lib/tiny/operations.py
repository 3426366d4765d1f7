"""The words of the tiny world: operations on a list of integers, and endings that turn the list into an answer.

Every entry says, in one place, how people ask for it, how they write it well (`fast`), how they write it too slowly
(`slow`, quadratic where the limit wants linear) and how they get it wrong (`wrong`). `fast[0]` is the definition: the
expected outputs of all tests are computed with it. Code works on a list `a`; `{k}` is the problem's constant.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Operation:
    """List -> list. `says` completes "Given n integers, ...". `tag`: the topic it is filed under."""

    name: str
    tag: str
    says: tuple[str, ...]
    fast: tuple[str, ...]
    slow: tuple[str, ...] = ()
    wrong: tuple[str, ...] = ()
    constants: tuple[int, ...] = (0,)


@dataclass(frozen=True)
class Ending:
    """List -> answer. It needs a list of at least `needs` items; for a shorter one a constant is asked.

    `fast`, `slow` and `wrong` are expressions, the last line of several; what stands before it are plain statements.
    """

    name: str
    says: tuple[str, ...]
    fast: tuple[str, ...]
    slow: tuple[str, ...] = ()
    wrong: tuple[str, ...] = ()
    needs: int = 0


_TALLY = "c = {}\nfor x in a:\n    c[x] = c.get(x, 0) + 1\n"


def _keep(name: str, says: tuple[str, ...], test: str, wrong: str, constants: tuple[int, ...] = (0,)) -> Operation:
    fast = (f"a = [x for x in a if {test}]", f"b = []\nfor x in a:\n    if {test}:\n        b.append(x)\na = b")
    return Operation(name, "filter", says, fast, (), (f"a = [x for x in a if {wrong}]",), constants)


def _each(name: str, says: tuple[str, ...], value: str, wrong: str, constants: tuple[int, ...] = (0,)) -> Operation:
    fast = (f"a = [{value} for x in a]", f"b = []\nfor x in a:\n    b.append({value})\na = b")
    return Operation(name, "map", says, fast, (), (f"a = [{wrong} for x in a]",), constants)


OPERATIONS = (
    _keep(
        "even",
        ("keep only the even numbers", "remove every odd number", "drop the odd values", "leave just the even ones"),
        "x % 2 == 0",
        "x % 2 == 1",
    ),
    _keep(
        "odd",
        ("keep only the odd numbers", "remove every even number", "drop the even values", "leave just the odd ones"),
        "x % 2 == 1",
        "x % 2 == 0",
    ),
    _keep(
        "positive",
        ("keep only the positive numbers", "remove everything that is not positive", "drop zeros and negative values"),
        "x > 0",
        "x >= 0",
    ),
    _keep(
        "negative",
        ("keep only the negative numbers", "remove everything that is not negative", "drop zeros and positive values"),
        "x < 0",
        "x <= 0",
    ),
    _keep(
        "greater",
        ("keep the numbers greater than {k}", "remove all numbers that are at most {k}", "drop values up to {k}"),
        "x > {k}",
        "x >= {k}",
        (2, 5),
    ),
    _keep(
        "multiples",
        ("keep the multiples of {k}", "keep only what {k} divides", "remove numbers not divisible by {k}"),
        "x % {k} == 0",
        "x % {k} != 0",
        (3, 5),
    ),
    _each(
        "add",
        ("add {k} to each number", "increase every value by {k}", "raise all by {k}"),
        "x + {k}",
        "x * {k}",
        (3, 6),
    ),
    _each(
        "times",
        ("multiply each number by {k}", "scale every value by {k}", "take each {k} times"),
        "x * {k}",
        "x + {k}",
        (3, 7),
    ),
    _each(
        "square",
        ("square each number", "replace every value by its square", "multiply each by itself"),
        "x * x",
        "x * 2",
    ),
    _each(
        "abs",
        ("take absolute values", "drop the signs", "replace each number by its distance from zero"),
        "abs(x)",
        "-x",
    ),
    _each("negate", ("negate each number", "flip every sign", "replace each x by -x"), "-x", "abs(x)"),
    _each(
        "mod",
        ("take each number modulo {k}", "replace every value by its remainder mod {k}", "reduce all mod {k}"),
        "x % {k}",
        "x // {k}",
        (4, 7),
    ),
    _each(
        "digits",
        ("replace each number by its digit sum", "sum the digits of every value", "take digit sums, ignoring signs"),
        "sum(map(int, str(abs(x))))",
        "sum(map(int, str(x)))",
    ),
    Operation(
        "sort",
        "order",
        ("sort ascending", "put them in increasing order", "arrange from small to large"),
        ("a.sort()", "a = sorted(a)"),
        ("b = []\nwhile a:\n    m = min(a)\n    b.append(m)\n    a.remove(m)\na = b",),
        ("a = sorted(a, reverse=True)",),
    ),
    Operation(
        "descend",
        "order",
        ("sort descending", "put them in decreasing order", "arrange from large to small"),
        ("a.sort(reverse=True)", "a = sorted(a, reverse=True)"),
        ("b = []\nwhile a:\n    m = max(a)\n    b.append(m)\n    a.remove(m)\na = b",),
        ("a.sort()",),
    ),
    Operation(
        "reverse",
        "order",
        ("reverse the list", "turn the order around", "read them from back to front"),
        ("a = a[::-1]", "a.reverse()"),
        (),
        ("a = sorted(a, reverse=True)",),
    ),
    Operation(
        "dedupe",
        "count",
        ("remove duplicates, keeping first occurrences", "keep each value the first time it appears", "drop repeats"),
        ("a = list(dict.fromkeys(a))",),
        ("b = []\nfor x in a:\n    if x not in b:\n        b.append(x)\na = b",),
        ("a = sorted(set(a))",),
    ),
    Operation(
        "prefix",
        "prefix",
        ("replace the list by its prefix sums", "take running totals", "turn each number into the sum up to it"),
        (
            "s = 0\nb = []\nfor x in a:\n    s += x\n    b.append(s)\na = b",
            "for i in range(1, len(a)):\n    a[i] += a[i - 1]",
        ),
        ("a = [sum(a[:i + 1]) for i in range(len(a))]",),
        ("a = [sum(a[:i]) for i in range(len(a))]",),
    ),
    Operation(
        "peak",
        "prefix",
        ("replace the list by its running maximum", "turn each number into the largest so far", "take prefix maxima"),
        ("for i in range(1, len(a)):\n    a[i] = max(a[i], a[i - 1])",),
        ("a = [max(a[:i + 1]) for i in range(len(a))]",),
        ("a = [max(a) for x in a]",),
    ),
    Operation(
        "differences",
        "window",
        (
            "take differences of neighbours",
            "replace the list by next minus current",
            "compute the steps between neighbours",
        ),
        ("a = [y - x for x, y in zip(a, a[1:])]", "a = [a[i + 1] - a[i] for i in range(len(a) - 1)]"),
        (),
        ("a = [a[i + 1] - a[i] for i in range(len(a))]", "a = [x - y for x, y in zip(a, a[1:])]"),
    ),
    Operation(
        "head",
        "slice",
        ("take the first {k}", "keep only the first {k} items", "cut the list after {k} items"),
        ("a = a[:{k}]",),
        (),
        ("a = a[:{k} - 1]", "a = [a[i] for i in range({k})]"),
        (4, 6),
    ),
    Operation(
        "skip",
        "slice",
        ("skip the first {k}", "remove the first {k} items", "start after {k} items"),
        ("a = a[{k}:]",),
        (),
        ("a = a[{k} - 1:]",),
        (2, 3),
    ),
    Operation(
        "alternate",
        "slice",
        ("keep every second item, starting with the first", "drop the 2nd, 4th, 6th and so on", "take alternate items"),
        ("a = a[::2]",),
        (),
        ("a = a[1::2]",),
    ),
    Operation(
        "rotate",
        "slice",
        ("move the first {k} items to the end", "rotate left by {k}", "shift the list left by {k}, wrapping around"),
        ("a = a[{k}:] + a[:{k}]",),
        (),
        ("a = a[-{k}:] + a[:-{k}]",),
        (2, 3),
    ),
    Operation(
        "frequency",
        "count",
        ("replace each number by how often it occurs", "turn every value into its count", "write occurrences instead"),
        (_TALLY + "a = [c[x] for x in a]",),
        ("a = [a.count(x) for x in a]",),
    ),
    Operation(
        "weigh",
        "map",
        ("multiply each number by its position, from 1", "weigh every value by its 1-based index"),
        ("a = [i * x for i, x in enumerate(a, 1)]", "a = [(i + 1) * a[i] for i in range(len(a))]"),
        (),
        ("a = [i * x for i, x in enumerate(a)]",),
    ),
)

ENDINGS = (
    Ending("sum", ("the sum", "the total", "what they add up to"), ("sum(a)",), (), ("max(a)",)),
    Ending(
        "count", ("how many are left", "the length of the list", "the number of items"), ("len(a)",), (), ("sum(a)",)
    ),
    Ending(
        "largest", ("the largest", "the maximum", "the biggest one"), ("max(a)", "sorted(a)[-1]"), (), ("min(a)",), 1
    ),
    Ending(
        "smallest", ("the smallest", "the minimum", "the least one"), ("min(a)", "sorted(a)[0]"), (), ("max(a)",), 1
    ),
    Ending("first", ("the first one", "the front item", "the item at the start"), ("a[0]",), (), ("a[-1]",), 1),
    Ending("last", ("the last one", "the final item", "the item at the end"), ("a[-1]",), (), ("a[len(a)]",), 1),
    Ending(
        "second", ("the second largest item", "the runner-up in size"), ("sorted(a)[-2]",), (), ("sorted(a)[1]",), 2
    ),
    Ending(
        "mode",
        ("the most frequent value, the smallest on ties", "the commonest number, ties to the smallest"),
        (_TALLY + "min(c, key=lambda x: (-c[x], x))",),
        ("max(sorted(set(a)), key=a.count)",),
        ("max(a, key=a.count)",),
        1,
    ),
    Ending(
        "median",
        ("the lower median", "the middle value, lower on ties"),
        ("sorted(a)[(len(a) - 1) // 2]",),
        (),
        ("a[len(a) // 2]",),
        1,
    ),
    Ending(
        "mean",
        ("the mean, rounded down", "the average, rounded down"),
        ("sum(a) // len(a)",),
        (),
        ("sum(a) / len(a)",),
        1,
    ),
    Ending(
        "place",
        ("the position of the maximum, from 1", "at which place the largest first stands"),
        ("a.index(max(a)) + 1",),
        (),
        ("a.index(max(a))",),
        1,
    ),
    Ending("list", ("them all, separated by spaces", "the resulting list on one line"), ("*a",), (), ("a",), 1),
)

GUARDS = ("-1", "0", '"EMPTY"')

# Words that most people write slowly or wrongly, and that few published solutions show.
HARD = frozenset(
    ("digits", "weigh", "rotate", "differences", "skip", "dedupe", "prefix", "frequency", "mode", "mean", "place")
)

OPERATION = {o.name: o for o in OPERATIONS}
ENDING = {e.name: e for e in ENDINGS}
