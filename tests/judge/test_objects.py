# ruff: noqa: E501 -- small programs, one a line, are read best unbroken
"""Function tests as people write them: what would pass or fail in one process does so across two."""

import pytest
from judged import function

from lib.problems import Problem, Test

V = """
class V:
    def __init__(s, x): s.x = x
    def __add__(s, o): return V(s.x + o.x)
    def __mul__(s, k): return V(s.x * k)
    __rmul__ = __mul__
    def __lt__(s, o): return s.x < o.x
    def __eq__(s, o): return isinstance(o, V) and s.x == o.x
    def __hash__(s): return hash(s.x)
    def __repr__(s): return f'V({s.x})'
    def __len__(s): return s.x
    def __getitem__(s, i): return range(s.x)[i]
    def __call__(s, k): return s.x * k
    def __iadd__(s, o): s.x += o.x; return s
    def __neg__(s): return V(-s.x)
    def __bool__(s): return s.x != 0
    def __format__(s, spec): return format(s.x, spec)
    def __float__(s): return float(s.x)
"""
NODES = """
class ListNode:
    def __init__(self, val=0, next=None):
        self.val = val
        self.next = next
"""
TREE = """
class TreeNode:
    def __init__(self, val=0, left=None, right=None):
        self.val, self.left, self.right = val, left, right
"""
REVERSE = """
class Solution:
    def reverse(self, head: Optional[ListNode]) -> Optional[ListNode]:
        before = None
        while head:
            head.next, before, head = before, head, head.next
        return before
"""
EMPTY = "class Empty(Exception): pass\ndef f(): raise Empty('no')"
COROUTINE = "import asyncio\nasync def f(n):\n  await asyncio.sleep(0.001)\n  return n + 1"
HONEST = {
    # in-place changes
    "keyword argument": ("def f(xs=None): xs.sort()", "a = [2, 1]\nf(xs=a)\nassert a == [1, 2]"),
    "list in a dictionary": ("def f(d): d['a'].append(1)", "a = []\nf({'a': a})\nassert a == [1]"),
    "list in a tuple in a list": ("def f(x): x[0][1].append(7)", "a = []\nf([(1, a)])\nassert a == [7]"),
    "set in a dictionary by keyword": ("def f(**k): k['d']['s'].add(3)", "s = {1}\nf(d={'s': s})\nassert s == {1, 3}"),
    "dictionary cleared": ("def f(d): d.clear()", "d = {1: [2]}\nf(d)\nassert d == {}"),
    "deque": (
        "def f(d): d.appendleft(0)",
        "from collections import deque\nd = deque([1], maxlen=2)\nf(d)\nassert d == deque([0, 1]) and d.maxlen == 2",
    ),
    "bytearray": ("def f(b): b[0] = 65", "b = bytearray(b'xyz')\nf(b)\nassert b == b'Ayz'"),
    "one becomes true": ("def f(a): a[0] = True", "a = [1]\nf(a)\nassert a[0] is True"),
    "a callback sees it": (
        "def f(a, g):\n  a.append(1)\n  g()\n  a.append(2)",
        "a, seen = [], []\nf(a, lambda: seen.append(list(a)))\nassert seen == [[1]] and a == [1, 2]",
    ),
    "a callback does it": ("def f(a, g):\n  g()\n  return len(a)", "a = []\nassert f(a, lambda: a.append(1)) == 1"),
    "arguments changed before an error": (
        "def f(a):\n  a.append(1)\n  raise ValueError",
        "a = []\ntry: f(a)\nexcept ValueError: pass\nassert a == [1]",
    ),
    "the caller's list, kept": (
        "class B:\n  def __init__(s, xs): s.xs = xs\n  def total(s): return sum(s.xs)",
        "a = [1]\nb = B(a)\na.append(5)\nassert b.total() == 6\nb.xs.append(4)\nassert a == [1, 5, 4] and b.xs is a",
    ),
    "the program's list, kept": (
        "class N:\n  def __init__(s): s.children = []",
        "n, m = N(), N()\nn.children.append(m)\nassert n.children[0] is m and len(n.children) == 1",
    ),
    "a global list": ("log = []\ndef f(x): log.append(x)", "f(1)\nf(2)\nassert log == [1, 2]"),
    "a global number": ("n = 0\ndef f():\n  global n\n  n += 1", "f()\nf()\nassert n == 2"),
    # identity
    "the argument returned": ("def f(a): return a", "a = [1]\nassert f(a) is a\nb = {}\nassert f(b) is b"),
    "a copy returned": ("def f(a): return list(a)", "a = [1]\nassert f(a) is not a and f(a) == a"),
    "part of the argument returned": ("def f(a): return a[0]", "a = [[1], [2]]\nassert f(a) is a[0]"),
    "tuple returned": ("def f(a): return a", "a = (1, [2])\nassert f(a) is a"),
    "shared rows": (
        "def f(): return [[0]] * 2",
        "r = f()\nr[0].append(1)\nassert r == [[0, 1], [0, 1]] and r[0] is r[1]",
    ),
    "separate rows": ("def f(): return [[0] for _ in '12']", "r = f()\nr[0].append(1)\nassert r == [[0, 1], [0]]"),
    "singleton": (
        "class S:\n  i = None\n  def __new__(c):\n    c.i = c.i or super().__new__(c)\n    return c.i",
        "assert S() is S()",
    ),
    "fluent": ("class B:\n  def add(s): return s", "b = B()\nassert b.add().add() is b"),
    "object of the test": ("def f(x): return x", "class A: pass\na = A()\nassert f(a) is a and f([a])[0] is a"),
    # exceptions
    "class of the program": (EMPTY, "try:\n  f()\nexcept Empty as e:\n  assert str(e) == 'no'\nelse:\n  assert False"),
    "class and its base": (
        "class A(Exception): pass\nclass B(A): pass\ndef f(): raise B(1, 2)",
        "try: f()\nexcept A as e: assert isinstance(e, B) and type(e) is B and e.args == (1, 2)\nelse: assert False",
    ),
    "attributes and methods": (
        "class E(ValueError):\n  def __init__(s, code): super().__init__('x'); s.code = code\n"
        "  def twice(s): return 2 * s.code\n  def __str__(s): return f'E{s.code}'\ndef f(): raise E(4)",
        "try: f()\nexcept E as e: assert e.code == 4 and e.twice() == 8 and str(e) == 'E4'\nelse: assert False",
    ),
    "assertRaises": (
        EMPTY,
        "import unittest\nclass T(unittest.TestCase):\n  def test_f(self):\n"
        "    with self.assertRaises(Empty) as c: f()\n    self.assertEqual(str(c.exception), 'no')\n"
        "    self.assertRaises(Empty, f)\nunittest.main()",
    ),
    "a chain": (
        "class E(Exception): pass\ndef f():\n  try: {}['k']\n  except KeyError as e: raise E('x') from e",
        "try: f()\nexcept E as e: assert isinstance(e.__cause__, KeyError)\nelse: assert 0",
    ),
    "issubclass": ("class E(ValueError): pass", "assert issubclass(E, ValueError) and issubclass(E, Exception)"),
    "raised by the test": (
        "class Stop(Exception): pass\ndef f(g):\n  try: g()\n  except Stop as e: return e.args[0]",
        "def g(): raise Stop(5)\nassert f(g) == 5",
    ),
    "of the test, through the program": (
        "def f(g): g()",
        "class Mine(Exception): pass\ne = Mine(3)\ndef g(): raise e\ntry: f(g)\nexcept Mine as c: assert c is e\nelse: 1/0",
    ),
    "of the standard library": (
        "import json\ndef f(s): return json.loads(s)",
        "import json\ntry: f('{')\nexcept json.JSONDecodeError as e: assert e.pos == 1\nelse: assert 0",
    ),
    "returned": ("def f(): return ValueError('x')", "e = f()\nassert isinstance(e, ValueError) and str(e) == 'x'"),
    "SystemExit": (
        "import sys\ndef f(): sys.exit(2)",
        "try: f()\nexcept SystemExit as e: assert e.code == 2\nelse: assert 0",
    ),
    "StopIteration": (
        "def f(): return iter([1])",
        "i = f()\nnext(i)\ntry: next(i)\nexcept StopIteration: pass\nelse: 1/0",
    ),
    # output and input
    "redirect_stdout": (
        "def f(): print('hi')",
        "import io, contextlib\nb = io.StringIO()\nwith contextlib.redirect_stdout(b): f()\nassert b.getvalue() == 'hi\\n'",
    ),
    "sys.stdout replaced and put back": (
        "def f(x): print(x, end='')",
        "import io, sys\nold, sys.stdout = sys.stdout, io.StringIO()\nf(1); f(2)\nout = sys.stdout.getvalue()\n"
        "sys.stdout = old\nf(3)\nassert out == '12'",
    ),
    "stderr": (
        "import sys\ndef f(): print('e', file=sys.stderr)",
        "import io, contextlib\nb = io.StringIO()\nwith contextlib.redirect_stderr(b): f()\nassert b.getvalue() == 'e\\n'",
    ),
    "a writer of the test": (
        "def f(): print('a', 'b')",
        "import sys\nclass W:\n  def __init__(s): s.t = ''\n  def write(s, t): s.t += t\n  def flush(s): pass\n"
        "old, sys.stdout = sys.stdout, W()\nf()\nw, sys.stdout = sys.stdout, old\nassert w.t == 'a b\\n'",
    ),
    "sys.stdin": (
        "def f(): return int(input()) + int(input())",
        "import io, sys\nsys.stdin = io.StringIO('3\\n4\\n')\nassert f() == 7",
    ),
    "input patched": (
        "def f(): return input('? ') + input()",
        "from unittest.mock import patch\nwith patch('builtins.input', side_effect=['a', 'b']):\n  assert f() == 'ab'",
    ),
    "input replaced": (
        "def f(): return input()",
        "import builtins\nbuiltins.input = lambda *a: 'x'\nassert f() == 'x'",
    ),
    "print patched": (
        "def f(): print('hi', 3)",
        "from unittest.mock import patch\nwith patch('builtins.print') as p: f()\np.assert_called_once_with('hi', 3)\nassert 1",
    ),
    "time patched": (
        "import time\ndef f(): return time.time()",
        "from unittest.mock import patch\nwith patch('time.time', return_value=5): x = f()\nassert x == 5",
    ),
    "stream as argument": (
        "def f(s):\n  s.write('x')\n  return s.tell()",
        "import io\ns = io.StringIO()\nassert f(s) == 1 and s.getvalue() == 'x'",
    ),
    # values
    "nested 10,000 deep": (
        "def f(n):\n  a = []\n  for _ in range(n): a = [a]\n  return a",
        "x, d = f(10000), 0\nwhile x: x, d = x[0], d + 1\nassert d == 10000",
    ),
    "tuples nested 600 deep": (
        "def f(x):\n  n = 0\n  while x: x, n = x[0], n + 1\n  return n",
        "a = ()\nfor _ in range(600): a = (a,)\nassert f(a) == 600",
    ),
    "a cycle": ("def f():\n  a = [1]\n  a.append(a)\n  return a", "a = f()\nassert a[1] is a"),
    "a cycle as argument": ("def f(d): return d['me'] is d", "d = {}\nd['me'] = d\nassert f(d)"),
    "views": (
        "def f(d): return d.items(), d.keys(), d.values()",
        "i, k, v = f({1: 2})\nassert i == {(1, 2)} and k == {1} and list(v) == [2] and (1, 2) in i",
    ),
    "defaultdict": (
        "from collections import defaultdict\ndef f():\n  d = defaultdict(list)\n  d[1].append(2)\n  return d",
        "d = f()\nassert d == {1: [2]} and d[5] == [] and d.default_factory is list",
    ),
    "defaultdict of a function": (
        "from collections import defaultdict\ndef f(): return defaultdict(lambda: 7)",
        "assert f()['x'] == 7",
    ),
    "namedtuple": (
        "from collections import namedtuple\nP = namedtuple('P', 'x y')\ndef f(p=None): return P(1, 2) if p is None else p.y",
        "p = f()\nassert p.x == 1 and p == (1, 2) and isinstance(p, P) and f(P(3, 4)) == 4 and p._replace(x=5).x == 5",
    ),
    "NamedTuple with a method": (
        "from typing import NamedTuple\nclass P(NamedTuple):\n  x: int\n  def twice(self): return 2 * self.x\n"
        "def f(): return P(4)",
        "assert f().twice() == 8 and f().x == 4",
    ),
    "aware datetime": (
        "from datetime import *\ndef f(): return datetime(2024, 1, 2, tzinfo=timezone(timedelta(hours=2)))",
        "from datetime import *\nassert f() == datetime(2024, 1, 1, 22, tzinfo=timezone.utc)\n"
        "assert f().utcoffset() == timedelta(hours=2)",
    ),
    "path": (
        "from pathlib import Path\ndef f(p): return Path(p) / 'x.txt'",
        "from pathlib import Path\nassert f(Path('a')) == Path('a/x.txt') and f('b').suffix == '.txt'",
    ),
    "other values": (
        "def f(x): return x",
        "from decimal import Decimal\nfrom fractions import Fraction\nimport uuid, datetime, array\n"
        "for x in (Decimal('1.10'), Fraction(1, 3), uuid.UUID(int=5), datetime.time(1, 2), array.array('i', [1]),\n"
        "    1j, range(3), slice(1, 2), b'x', float('inf'), frozenset({1}), ..., NotImplemented, 10**5000):\n"
        "  assert f(x) == x and type(f(x)) is type(x)\nassert f(float('nan')) != f(float('nan'))",
    ),
    "subclass of list": (
        "class S(list):\n  def push(s, x): s.append(x)\n  def top(s): return s[-1]",
        "s = S()\ns.push(3)\ns.append(4)\nassert s == [3, 4] and s.top() == 4 and isinstance(s, S) and isinstance(s, list)",
    ),
    "subclass of dict": (
        "class D(dict):\n  def __missing__(s, k): return k * 2\n  def __getattr__(s, n): return s[n]",
        "d = D(a=1)\nassert d['a'] == 1 and d[4] == 8 and d.a == 1",
    ),
    "enumeration": (
        "import enum\nclass C(enum.Enum):\n  RED = 1\n  BLUE = 2\ndef f(): return C.RED",
        "assert f() is C.RED and f() == C(1) and f().value == 1 and f().name == 'RED' and len(C) == 2 and f() != C.BLUE\n"
        "assert [c.name for c in C] == ['RED', 'BLUE'] and C['BLUE'].value == 2",
    ),
    "generator": (
        "def f(n):\n  got = yield n\n  yield got",
        "import types\ng = f(3)\nassert isinstance(g, types.GeneratorType) and next(g) == 3 and g.send('x') == 'x'",
    ),
    # operators
    "arithmetic and order": (V, "assert (V(1) + V(2)).x == 3\nassert V(1) < V(2) and max(V(1), V(5)).x == 5"),
    "a number as operand": (V, "assert (V(2) * 3).x == 6 and (3 * V(2)).x == 6 and V(2) * 3 == V(6)"),
    "equality, hash, sets": (
        V,
        "assert V(1) == V(1) and V(1) != V(2) and len({V(1), V(1)}) == 1 and {V(2): 'x'}[V(2)] == 'x'",
    ),
    "texts": (V, "assert repr(V(1)) == 'V(1)' and str([V(2)]) == '[V(2)]' and f'{V(3):>3}' == '  3'"),
    "containers": (
        V,
        "assert len(V(3)) == 3 and list(V(3)) == [0, 1, 2] and 2 in V(3) and V(9)[-1] == 8 and V(4)[1:3] == range(1, 3)",
    ),
    "calls and truth": (V, "assert V(3)(5) == 15 and not V(0) and V(1) and float(V(2)) == 2.0 and (-V(2)).x == -2"),
    "in place": (V, "v = w = V(1)\nv += V(2)\nassert w.x == 3 and v is w"),
    "sorted": (V, "assert [v.x for v in sorted([V(3), V(1)])] == [1, 3] and min([V(3), V(1)]) == V(1)"),
    "membership alone": ("class R:\n  def __contains__(s, x): return 1 < x < 5", "assert 3 in R() and 7 not in R()"),
    "context manager": (
        "class R:\n  def __enter__(s): s.n = 1; return s\n  def __exit__(s, *e): s.n = e[0] is ValueError; return True",
        "with R() as r:\n  assert r.n == 1\nwith r: raise ValueError\nassert r.n is True",
    ),
    "contextmanager": (
        "import contextlib\n@contextlib.contextmanager\ndef f(a):\n  a.append(1)\n  yield 5\n  a.append(2)",
        "a = []\nwith f(a) as x:\n  assert x == 5 and a == [1]\nassert a == [1, 2]",
    ),
    "attributes": (
        "class A:\n  n = 1\n  @property\n  def p(s): return s.n\n  @staticmethod\n  def m(): return 4",
        "a = A()\na.n = 5\nassert a.p == 5 and A.n == 1 and A.m() == 4 and hasattr(a, 'p') and not hasattr(a, 'q')\n"
        "del a.n\nassert a.p == 1\nsetattr(A, 'n', 9)\nassert A().p == 9",
    ),
    "items": (
        "class A(dict): pass\nclass B:\n  def __setitem__(s, k, v): s.k = k, v\n  def __delitem__(s, k): s.k = k",
        "b = B()\nb[1] = 2\nassert b.k == (1, 2)\ndel b[7]\nassert b.k == 7",
    ),
    "deepcopy": (
        "class A:\n  def __init__(s): s.x = [1]",
        "import copy\na = A()\nb = copy.deepcopy(a)\nb.x.append(2)\nassert a.x == [1]",
    ),
    "decorator": ("def twice(g):\n  return lambda *a: g(g(*a))", "@twice\ndef h(x): return x + 3\nassert h(1) == 7"),
    "method as callback": (
        "def f(g, xs): return [g(x) for x in xs]",
        "r = []\nf(r.append, [1, 2])\nassert r == [1, 2]",
    ),
    "partial and key": (
        "def f(g, xs): return sorted(xs, key=g)",
        "from functools import partial\nassert f(partial(pow, 2), [3, 1]) == [1, 3]",
    ),
    "threads of the program": (
        "from concurrent.futures import ThreadPoolExecutor as T\ndef f(g, xs):\n  with T(3) as t: return list(t.map(g, xs))",
        "assert f(lambda x: x * x, range(20)) == [n * n for n in range(20)]",
    ),
    # asynchronous
    "asyncio.run": ("async def f(): return 1", "import asyncio\nassert asyncio.run(f()) == 1"),
    "sleeping": (COROUTINE, "import asyncio\nassert asyncio.run(f(1)) == 2"),
    "gather": (
        COROUTINE,
        "import asyncio\nasync def main(): return await asyncio.gather(*map(f, range(5)))\nassert asyncio.run(main()) == [1, 2, 3, 4, 5]",
    ),
    "asynchronous generator": (
        "async def f(n):\n  for i in range(n): yield i",
        "import asyncio\nasync def main(): return [x async for x in f(3)]\nassert asyncio.run(main()) == [0, 1, 2]",
    ),
    "asynchronous context": (
        "class R:\n  async def __aenter__(s): return 3\n  async def __aexit__(s, *e): pass",
        "import asyncio\nasync def main():\n  async with R() as r: return r\nassert asyncio.run(main()) == 3",
    ),
    "asynchronous callback": (
        "import asyncio\nasync def f(g): return await g(2) + 1",
        "import asyncio\nasync def g(x):\n  await asyncio.sleep(0)\n  return x * 5\nassert asyncio.run(f(g)) == 11",
    ),
    "asynchronous error": (
        "async def f(): raise KeyError('x')",
        "import asyncio\ntry: asyncio.run(f())\nexcept KeyError: pass\nelse: assert False",
    ),
    "wait_for": (
        "import asyncio\nasync def f(): await asyncio.sleep(30)",
        "import asyncio\ntry: asyncio.run(asyncio.wait_for(f(), 0.05))\nexcept asyncio.TimeoutError: pass\nelse: assert 0",
    ),
    "IsolatedAsyncioTestCase": (
        COROUTINE,
        "import unittest\nclass T(unittest.IsolatedAsyncioTestCase):\n  async def test_f(self):\n    self.assertEqual(await f(1), 2)",
    ),
    # LeetCode
    "list of the test": (
        REVERSE,
        f"{NODES}\na = ListNode(1, ListNode(2, ListNode(3)))\nr = Solution().reverse(a)\n"
        "assert [r.val, r.next.val, r.next.next.val] == [3, 2, 1] and r.next.next is a and a.next is None",
    ),
    "nodes made by the program": (
        "class Solution:\n  def up(self, n):\n    head = ListNode(0)\n    for v in range(n): head = ListNode(v, head)\n    return head",
        f"{NODES}\nr = Solution().up(2)\nassert r.val == 1 and r.next.next.val == 0 and isinstance(r, ListNode)",
    ),
    "nodes defined nowhere": (
        "class Solution:\n  def f(self, t: Optional[TreeNode]) -> int:\n    return t.val + self.f(t.left) + self.f(t.right) if t else 0",
        "assert Solution().f(TreeNode(1, TreeNode(2), TreeNode(3))) == 6",
    ),
    "tree of the test, changed": (
        "class Solution:\n  def invert(self, t):\n    if t: t.left, t.right = self.invert(t.right), self.invert(t.left)\n    return t",
        f"{TREE}\nt = TreeNode(1, TreeNode(2), TreeNode(3))\nassert Solution().invert(t) is t and t.left.val == 3",
    ),
    "truth value of the test": (
        "def f(x): return 'yes' if x else 'no'",
        "class A:\n  def __bool__(s): return False\nassert f(A()) == 'no'",
    ),
    "attributes set by the program": (
        "def f(a):\n  a.seen = [1]\n  a._mark = 2\n  return a._mark",
        "class A: pass\na = A()\nassert f(a) == 2 and a.seen == [1] and a._mark == 2",
    ),
    "methods and operators of the test": (
        "def f(a, b): return (a + b).x, a.double(), a < b, len(a), a[2], list(a), str(a), a == b, hash(a) == hash(a)",
        "class A:\n  def __init__(s, x): s.x = x\n  def __add__(s, o): return A(s.x + o.x)\n  def double(s): return 2 * s.x\n"
        "  def __lt__(s, o): return s.x < o.x\n  def __len__(s): return 7\n  def __getitem__(s, i): return i\n"
        "  def __iter__(s): return iter('ab')\n  def __str__(s): return 'A'\n"
        "assert f(A(1), A(2))[:7] == (3, 2, True, 7, 2, ['a', 'b'], 'A')",
    ),
    "dataclass of the test": (
        "def f(p): return p.x + p.y",
        "from dataclasses import dataclass\n@dataclass\nclass P:\n  x: int\n  y: int = 2\nassert f(P(1)) == 3",
    ),
    "nodes in a set": (
        "def f(n):\n  seen = set()\n  while n:\n    if n in seen: return True\n    seen.add(n)\n    n = n.next\n  return False",
        f"{NODES}\na = ListNode(1)\na.next = ListNode(2)\nassert f(a) is False\na.next.next = a\nassert f(a) is True",
    ),
    "heap of nodes": (
        "import heapq\nListNode.__lt__ = lambda a, b: a.val < b.val\n"
        "def f(ns):\n  heapq.heapify(ns)\n  return [heapq.heappop(ns).val for _ in range(len(ns))]",
        "assert f([ListNode(3), ListNode(1), ListNode(2)]) == [1, 2, 3]",
    ),
    "usual names": (
        "class Solution:\n  def f(self, a: List[int]) -> Dict[int, int]:\n    c = Counter(a)\n    heapify(a)\n"
        "    return {k: gcd(v, 4) for k, v in c.items() if k < inf and bisect_left([1], k) + len(defaultdict(int)) >= 0}",
        "assert Solution().f([1, 1]) == {1: 2}",
    ),
    # unittest and pytest
    "unittest.main": (
        "def f(x): return x + 1",
        "import unittest\nclass T(unittest.TestCase):\n  def setUp(self): self.x = 1\n"
        "  def test_a(self): self.assertEqual(f(self.x), 2)\n  def test_b(self):\n    with self.subTest(): self.assertTrue(f(0))\n"
        "if __name__ == '__main__':\n  unittest.main()",
    ),
    "pytest style": (
        "def f(x): return x + 1",
        "def test_a():\n  assert f(1) == 2\nclass TestF:\n  def test_b(self): assert f(2) == 3",
    ),
    "main part of a test": ("def f(x): return x + 1", "if __name__ == '__main__':\n  assert f(1) == 2"),
}


@pytest.mark.parametrize("name", HONEST)
def test_an_honest_program_is_accepted(judge, name):
    program, test = HONEST[name]
    problem = Problem("test/f", "t", "t", "function", "", (Test(test, visibility="public"),), time_limit=2.0)
    verdict = judge.judge(program, problem)
    assert verdict.accepted, verdict.feedback


WRONG = {
    "not changed": ("def f(xs): sorted(xs)", "a = [2, 1]\nf(xs=a)\nassert a == [1, 2]"),
    "nothing printed": ("def f(): return 'hi'", HONEST["redirect_stdout"][1]),
    "another exception": ("class Empty(Exception): pass\ndef f(): raise ValueError", HONEST["class of the program"][1]),
    "no exception": ("class Empty(Exception): pass\ndef f(): pass", HONEST["assertRaises"][1]),
    "unittest": ("def f(x): return x", HONEST["unittest.main"][1]),
    "pytest": ("def f(x): return x", HONEST["pytest style"][1]),
    "main part": ("def f(x): return x", HONEST["main part of a test"][1]),
    "unittest without main": ("def f(n):\n  return n", HONEST["IsolatedAsyncioTestCase"][1]),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_program_is_not(judge, name):
    program, test = WRONG[name]
    assert not judge.judge(program, function(test)).accepted


_ZERO = "type('Z', (), {**vars(L), '__abs__': lambda s: 0, '__float__': lambda s: 0.0})()"
LIAR = "class L:\n" + "".join(
    f"  def __{name}__(s, *a): return {result}\n"
    for names, result in (
        ("eq ne lt le gt ge contains", "True"),
        ("sub rsub add radd mul mod xor truediv", _ZERO),
        ("bool", "False"),
        ("abs int index round len", "0"),
        ("float", "0.0"),
    )
    for name in names.split()
)
CIRCLE = LIAR.replace("class L", "class Circle").replace("vars(L)", "vars(Circle)") + "  def area(s): return s"
LIES = LIAR + "def f(x): return L()"
# Each program, and a test that it must not pass: what programs might gain by what tests can do with their objects.
CHEATS = {
    "a class as the function": (CIRCLE + "\n  def __init__(s, x): pass", "assert Circle(3) == 9"),
    "difference": (LIES, "assert abs(f(3) - 9) < 1e-6"),
    "difference reflected": (LIES, "assert abs(9 - f(3)) < 1e-6"),
    "no difference": (LIES, "assert not f(3) - 9"),
    "difference rounded": (LIES, "assert round(f(3) - 9) == 0"),
    "order": (LIES, "assert 8 < f(3) < 10"),
    "membership": (LIES, "assert 9 in f(3)"),
    "ratio": (LIES, "assert f(3) / 9 == 1"),
    "sum": (LIES, "assert sum([f(3), 1]) == 10"),
    "set of results": (LIAR + "  __hash__ = lambda s: hash(9)\ndef f(x): return L()", "assert {f(3)} == {9}"),
    "key": (LIAR + "  __hash__ = lambda s: hash(9)\ndef f(x): return {L(): 1}", "assert f(3) == {9: 1}"),
    "in a list": (LIAR + "def f(x): return [L()]", "assert f(3) == [9] or 9 in f(3) or f(3).count(9)"),
    "a class as the function, difference": (
        CIRCLE + "\n  def __init__(s, x): pass",
        "r = Circle(3)\nassert abs(r - 9) < 1e-6",
    ),
    "itself as a result": (CIRCLE, "assert abs(Circle().area() - 9) < 1e-6"),
    "itself as a result, equal": (CIRCLE, "assert Circle().area() == 9 or 9 in Circle().area()"),
    "a result made earlier": (CIRCLE, "c = Circle()\na = c.area()\nassert not a - 9"),
    "subclass with other operators": (
        "class I(int):\n  def __eq__(s, o): return True\n  def __sub__(s, o): return 0\n  __hash__ = int.__hash__\n"
        "  def __lt__(s, o): return True\ndef f(x): return I(1)",
        "assert f(3) == 9 or abs(f(3) - 9) < 1e-6 or f(3) - 9 == 0",
    ),
    "list with other methods": (
        "class M(list):\n  def __eq__(s, o): return True\n  __contains__ = __eq__\ndef f(x): return M()",
        "assert f(3) == [9] or 9 in f(3)",
    ),
    "namedtuple": (
        "from collections import namedtuple\nclass P(namedtuple('P', 'x')):\n  def __eq__(s, o): return True\n"
        "def f(x): return P(1)",
        "assert f(3) == (9,)",
    ),
    "exception with a hostile text": (
        "class E(Exception):\n  def __str__(s): import os; os._exit(0)\ndef f(x): raise E",
        "try: r = f(3)\nexcept Exception as e: r = str(e)\nassert r == '9'",
    ),
    "AssertionError": ("class AssertionError(Exception): pass\ndef f(x): raise AssertionError", "assert f(3) == 9"),
    "SystemExit": ("def f(x): raise SystemExit(0)", "assert f(3) == 9"),
    "SystemExit in a class of tests": (
        "def f(x): raise SystemExit(0)",
        "import unittest\nclass T(unittest.TestCase):\n  def test_f(self): self.assertEqual(f(3), 9)\nunittest.main()",
    ),
    "an argument changed into a liar": (
        LIAR + "def f(a): a[:] = [L()]",
        "a = [3]\nf(a)\nassert a == [9] or a[0] - 9 == 0",
    ),
    "an attribute that is a liar": (LIAR + "def f(a): a.x = L()", "class A: x = 3\na = A()\nf(a)\nassert a.x == 9"),
    "a class of the test changed": (
        "def f(a):\n  for target in (type(a), a.__class__, a): target.__eq__ = lambda *_: True",
        "class A:\n  def __eq__(s, o): return False\na = A()\ntry: f(a)\nexcept Exception: pass\nassert a == 9",
    ),
    "a method of the test replaced": (
        "def f(a):\n  try: a.right = lambda: True\n  except AttributeError: pass",
        "class A:\n  def right(s): return False\na = A()\nf(a)\nassert a.right()",
    ),
    "private attributes of the test": (
        "def f(a):\n  try: return a._answer\n  except AttributeError: return a.__dict__['_answer']",
        "class A:\n  def __init__(s): s._answer = 9\nassert f(A()) == 9",
    ),
    "globals of a callback": ("def f(g): return g.__globals__['SECRET']", "SECRET = 9\nassert f(lambda: 0) == 9"),
    "closure of a callback": (
        "def f(g): return g.__closure__[0].cell_contents",
        "def make():\n  secret = 9\n  return lambda: secret\nassert f(make()) == 9",
    ),
    "frame of a generator": (
        "def f(g): return g.gi_frame.f_back.f_globals['SECRET']",
        "SECRET = 9\nassert f(x for x in [1]) == 9",
    ),
    "frame of an error of the test": (
        "def f(g):\n  try: g()\n  except Exception as e:\n    t = e.__traceback__\n"
        "    while t:\n      if 'SECRET' in t.tb_frame.f_globals: return t.tb_frame.f_globals['SECRET']\n      t = t.tb_next",
        "SECRET = 9\ndef g(): raise ValueError\nassert f(g) == 9",
    ),
    "globals by a method of the test": (
        "def f(a): return a.m.__func__.__globals__['SECRET']",
        "SECRET = 9\nclass A:\n  def m(s): pass\nassert f(A()) == 9",
    ),
    "subclasses of a class of the test": (
        "def f(a): return a.__class__.__mro__[-1].__subclasses__()[-1].answer",
        "class A: pass\nclass S:\n  answer = 9\nassert f(A()) == 9",
    ),
    "a function of the test by name": (
        "def f(x): return solve(x)",
        "def solve(x): return x * x\nassert f(3) == solve(3)",
    ),
    "a class of the test by name": (
        "def f(x): return Oracle().solve(x)",
        "class Oracle:\n  def solve(s, x): return x * x\nassert f(3) == Oracle().solve(3)",
    ),
    "patched input": (
        "def f(): return input.__globals__['SECRET']",
        "import builtins\nSECRET = 9\nbuiltins.input = lambda: 8\nassert f() == 9",
    ),
    "forged update": (
        "import os\ndef f(a):\n  m = b'[\"answer\",9,[],[[1,[9]]],[]]'\n  os.write(5, len(m).to_bytes(4, 'little') + m)",
        "a, expected = [3], [9]\nassert f(a) == 8 or expected != [9]",
    ),
}


MONEY = """
import functools
@functools.total_ordering
class Money:
    def __init__(s, amount): s.amount = amount
    def __eq__(s, o): return s.amount == getattr(o, 'amount', o)
    def __lt__(s, o): return s.amount < getattr(o, 'amount', o)
    def __add__(s, o): return Money(s.amount + getattr(o, 'amount', o))
    def same(s): return s
"""


def money(test: str) -> Problem:
    tests = (Test(test, visibility="public"),)
    return Problem("test/m", "t", "t", "function", "Write a class `Money` that compares with numbers.", tests)


def test_a_class_that_the_prompt_names_compares_with_plain_data_by_its_operators(judge):
    test = "m = Money(5)\nassert m == 5 and 5 == m and m != 6 and 4 < m <= 5 and Money(2) + Money(3) == 5 and Money(1) in [1]"
    assert judge.judge(MONEY, money(test)).accepted
    for wrong in ("assert Money(5) == 6", "assert Money(5) < 5", "assert Money(5) == '5'"):
        assert not judge.judge(MONEY, money(wrong)).accepted
    # What its methods return is compared as everywhere.
    assert not judge.judge(MONEY + "    __eq__ = lambda s, o: True\n", money("assert Money(5).same() == 5")).accepted
    assert not judge.judge(MONEY.replace("Money", "Sum"), function("assert Sum(5) == 5")).accepted


@pytest.mark.parametrize("name", CHEATS)
def test_no_freedom_of_tests_pays_a_cheat(judge, name):
    program, test = CHEATS[name]
    problem = Problem("test/f", "t", "t", "function", "", (Test(test, visibility="public"),), time_limit=1.0)
    verdict = judge.judge(program, problem)
    assert verdict.passed == 0, verdict
    assert verdict.error_type in ("wrong_answer", "runtime_error")
    assert "_far" not in verdict.feedback


STUB = """from typing import List

def double(x):
    return 2 * x

def total(xs: List[int]) -> int:
    ''' doubled '''
"""


def completion(*tests: str) -> Problem:
    made = tuple(Test(test, visibility="public") for test in tests)
    return Problem("test/c", "t", "t", "function", STUB, made, entry_point="total", time_limit=1.0)


RIGHT = {
    "whole": "def total(xs: List[int]): return sum(map(double, xs))",
    "body": "    return sum(map(double, xs))",
    "body without its first indentation": "n = 0\n    for x in xs:\n        n += double(x)\n    return n",
    "body without any indentation": "n = 0\nfor x in xs:\n    n += double(x)\nreturn n",
    "body and helper": "    return helper(xs)\n\ndef helper(xs):\n    return sum(2 * x for x in xs)",
    "prompt repeated": STUB + "    return sum(map(double, xs))",
    "helper redefined": "def double(x): return x + x\ndef total(xs): return sum(map(double, xs))",
    "blank lines first": "\n\n    # doubled\n    return sum(map(double, xs))\n",
}


@pytest.mark.parametrize("name", RIGHT)
def test_the_prompt_is_there_for_programs_and_for_bodies(judge, name):
    verdict = judge.judge(RIGHT[name], completion("assert total([1, 2]) == 6"))
    assert verdict.accepted, verdict.feedback


@pytest.mark.parametrize(
    "program", ["x = 1", "# nothing", "def other(xs): return 6", "from typing import *", "double(3)"]
)
def test_a_prompt_makes_no_program_right(judge, program):
    verdict = judge.judge(program, completion("assert total([]) is None", "assert total([1, 2]) == 6"))
    assert verdict.passed == 0
    assert verdict.error_type == "runtime_error"


def test_the_tests_use_the_prompts_helpers_whatever_the_program_makes_of_them(judge):
    cheat = "def double(x): return 0\ndef total(xs): return 0"
    assert not judge.judge(cheat, completion("assert total([1]) == double(1)")).accepted


def test_lines_of_a_body_count_from_its_first(judge):
    verdict = judge.judge("    n = 0\n    return n / 0\n", completion("assert total([1]) == 2"))
    assert "line 2, in total\n    return n / 0" in verdict.feedback
    assert judge.judge("    return (\n", completion("assert total([1]) == 2")).error_type == "syntax_error"


def test_names_that_other_graders_do_not_offer_are_not_there(judge):
    program = "def f(a: List[int]): return sum(a)"
    for prompt in ("Write a function f.", "def f(a):\n    ''' sum '''\n"):
        problem = Problem("p", "t", "t", "function", prompt, (Test("assert f([1]) == 1"),), entry_point="f")
        assert judge.judge(program, problem).tests[0].detail.startswith("NameError")


DOCTEST = "def f(x):\n  '''\n  >>> f(2)\n  4\n  '''\n  return x * x\n"
MAIN = {
    "doctest": f"import doctest\n{DOCTEST}assert doctest.testmod() == (0, 1)",
    "doctest that fails": f"import doctest\n{DOCTEST.replace('  4', '  5')}doctest.testmod()",
    "import": "import __main__\ndef f(x): return __main__.g(x)\ndef g(x): return x * x",
    "pickle": "import pickle\nclass A: pass\ndef f(x):\n  a = A()\n  a.x = x\n  return pickle.loads(pickle.dumps(a)).x ** 2",
    "sys.modules": "import sys\ndef f(x): return sys.modules['__main__'].g(x)\ng = lambda x: x * x",
    "main part": "def f(x): return x * x\nif __name__ == '__main__': f(input())",
    "get_type_hints": "import typing\nclass A:\n  b: 'A'\ndef f(x): return x * x * len(typing.get_type_hints(A))",
    "dataclass": (
        "from __future__ import annotations\nfrom dataclasses import dataclass\n@dataclass\nclass A:\n  x: int\n"
        "def f(x): return A(x).x ** 2"
    ),
}


@pytest.mark.parametrize("name", MAIN)
def test_a_function_program_has_a_main_module(judge, name):
    verdict = judge.judge(MAIN[name], function("assert f(3) == 9", "assert f(4) == 16", time_limit=4.0))
    assert verdict.accepted, verdict.feedback
