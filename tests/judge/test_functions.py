# ruff: noqa: E501 -- small programs, one a line, are read best unbroken
"""Function problems: programs and tests run in separate processes, and honest ones notice no difference."""

import pytest
from judged import ANSWER, SQUARE, function

from lib.judge.host.cases import plan, problem_with
from lib.problems import Problem, Test

HONEST = {
    "in place": ("def f(a): a.sort()", "a = [3, 1]\nf(a)\nassert a == [1, 3]"),
    "set in place": ("def f(s): s.add(9)", "s = {1}\nf(s)\nassert s == {1, 9}"),
    "callback": ("def f(g, x): return g(x) + 1", "assert f(lambda n: n * 10, 4) == 41"),
    "built-in as argument": ("def f(g, x): return g(x)", "assert f(len, 'abc') == 3"),
    "generator": ("def f(n):\n  for i in range(n): yield i", "assert list(f(3)) == [0, 1, 2]"),
    "generator as argument": ("def f(x): return sum(x)", "assert f(n for n in range(4)) == 6"),
    "map": ("def f(x): return map(str, x)", "assert ' '.join(f([1, 2])) == '1 2'"),
    "closure": ("def f(a):\n  return lambda b: a + b", "assert f(1)(2) == 3"),
    "own class": (
        "class P:\n  def __init__(s, x): s.x = x\ndef f(ps): return sum(p.x for p in ps)",
        "p = P(4)\np.x = 5\nassert f([P(1), p]) == 6 and p.x == 5 and isinstance(p, P)",
    ),
    "dataclass": (
        "from dataclasses import dataclass\n@dataclass\nclass P:\n  x: int\ndef f(x): return P(x)",
        "assert f(3) == P(3) and f(3) != P(4)",
    ),
    "linked list": (
        "class N:\n  def __init__(s, v): s.v, s.n = v, None\ndef f(n):\n  return 1 + f(n.n) if n else 0",
        "a = N(1)\na.n = N(2)\nassert f(a) == 2",
    ),
    "namedtuple": (
        "from collections import namedtuple\nP = namedtuple('P', 'x y')\ndef f(): return P(1, 2)",
        "assert f() == (1, 2)",
    ),
    "counter": ("from collections import Counter\ndef f(s): return Counter(s)", "assert f('aab') == {'a': 2, 'b': 1}"),
    "enumeration": ("import enum\nclass E(enum.IntEnum):\n  A = 1\ndef f(): return E.A", "assert f() == 1"),
    "expected exception": (
        "def f(x):\n  if x < 0: raise ValueError('negative')\n  return x",
        "try:\n  f(-1)\nexcept ValueError as e:\n  assert str(e) == 'negative'\nelse:\n  assert False",
    ),
    "own exception": (
        "class E(ValueError): pass\ndef f(): raise E",
        "try: f()\nexcept ValueError: pass\nelse: assert 0",
    ),
    "name of a built-in": ("def sum(a, b): return a * b", "assert sum(3, 4) == 12"),
    "module of the program": (
        "import math\ndef f(x): return x ** 0.5",
        "assert math.isclose(f(2), 1.41421356, rel_tol=1e-6)",
    ),
    "big integer": ("def f(n): return 7 ** n", "assert f(20000) == 7 ** 20000"),
    "surrogates and zeros": ("def f(s): return s + s", r"assert f('\ud800\x00') == '\ud800\x00\ud800\x00'"),
    "printing": ("def f(x):\n  print(x)\n  return x", "print('test')\nassert f(1) == 1"),
    "recursion": ("def f(n): return n and 1 + f(n - 1)", "assert f(900) == 900"),
    "deeper recursion": (
        "import sys\nsys.setrecursionlimit(10**5)\ndef f(n): return n and 1 + f(n - 1)",
        "assert f(9000) == 9000",
    ),
    "seed": (
        "import random\ndef f(): return random.randint(0, 10**9)",
        "import random\nrandom.seed(7)\na = f()\nrandom.seed(7)\nassert f() == a\nrandom.seed(7)\nassert random.randint(0, 10**9) == a",
    ),
    "seed by name": (
        "import random\ndef f(): return random.random()",
        "from random import seed, random\nseed(3)\nx = random()\nseed(3)\nassert f() == x",
    ),
    "state": ("n = 0\ndef f():\n  global n\n  n += 1\n  return n", "f()\nassert f() == 2"),
    "dictionary keys": ("def f(d): return d.keys()", "assert f({1: 2}) == {1} and sorted(f({2: 1, 1: 2})) == [1, 2]"),
    "match": ("import re\ndef f(s): return re.match('a+', s)", "assert f('aab').group(0) == 'aa' and not f('b')"),
    "decimal": (
        "from decimal import Decimal as D\ndef f(x): return D(x) / 4",
        "from decimal import Decimal\nassert f(1) == Decimal('0.25')",
    ),
}


@pytest.mark.parametrize("name", HONEST)
def test_an_honest_program_is_accepted(judge, name):
    program, test = HONEST[name]
    verdict = judge.judge(program, function(test))
    assert verdict.accepted, verdict


def test_asserts_are_judged_one_by_one(judge):
    test = "def check(g):\n    y = g(0)\n"
    test += "    assert g(1) == 1\n    assert g(2) == 4\n    assert y == 0\n    assert g(3) == 9\ncheck(f)"
    verdict = judge.judge("def f(x): return x if x < 3 else 9", function(test))
    assert [r.error_type for r in verdict.tests] == ["success", "wrong_answer", "success", "success"]
    assert (verdict.passed, verdict.total, verdict.pass_ratio) == (3, 4, 0.75)
    assert verdict.tests[1].got == "2"


def test_a_program_that_dies_of_one_assert_is_asked_the_others(judge):
    test = "def check(g):\n" + "".join(f"    assert g({n}) == {n}\n" for n in range(5)) + "check(f)"
    verdict = judge.judge("import os\ndef f(x):\n  if x in (1, 3): os._exit(7)\n  return x", function(test))
    assert [r.error_type for r in verdict.tests] == ["success", "runtime_error", "success", "runtime_error", "success"]
    assert verdict.tests[1].detail == "left before the test ended: exit code 7"


def test_an_error_around_the_asserts_fails_those_that_were_not_reached(judge):
    test = "def check(g):\n    assert g(1) == 1\n    y = g(2)\n    assert y == 2\n    assert g(3) == 3\ncheck(f)"
    verdict = judge.judge("def f(x): return x if x != 2 else 1 // 0", function(test))
    assert [r.error_type for r in verdict.tests] == ["success", "runtime_error", "runtime_error"]
    assert verdict.tests[2].detail.startswith("ZeroDivisionError")


def test_objects_held_by_reference_are_counted(judge):
    program = "class P: pass\ndef f(x): return P() if x else 0"
    assert judge.judge(program, function("assert f(0) == 0", "assert f(1) != 0")).by_reference == 1
    assert judge.judge("def f(x): return x * x", SQUARE).by_reference == 0


def test_a_failure_that_an_earlier_test_may_have_caused_is_judged_alone(judge):
    program = "import os\nos.seen = getattr(os, 'seen', 0) + 1\ndef f(x): return x * x * os.seen"
    assert judge.judge(program, SQUARE).accepted


def test_a_test_gets_the_whole_time_limit_in_a_process_of_its_own(judge):
    program = "import time\ndef f(x):\n  end = time.process_time() + 0.2\n"
    program += "  while time.process_time() < end: pass\n  return x * x"
    verdict = judge.judge(program, SQUARE)
    assert verdict.accepted
    assert verdict.judge_time > 0.5


def test_a_timeout_ends_the_submission(judge):
    verdict = judge.judge(
        "def f(x):\n  while x == -2: pass\n  return x * x", function(*(t.input for t in SQUARE.tests), time_limit=0.3)
    )
    assert [r.error_type for r in verdict.tests] == ["success", "timeout"]
    assert (verdict.passed, verdict.total) == (1, 3)


def test_a_test_that_hangs_over_the_programs_data_is_the_programs_timeout(judge):
    program = "class A: pass\ndef f():\n  def g():\n    while True: yield 1\n  return g()"
    assert judge.judge(program, function("assert 2 in f()", time_limit=0.3)).error_type == "timeout"


def test_names_come_from_the_tests_before_they_come_from_the_program(judge):
    """A program may not put its own in the place of what the tests use."""
    program = "abs = len = set = sorted = lambda *_: 0\nclass math: isclose = lambda *_, **k: True\ndef f(x): return 5"
    for test in ("assert abs(f(1) - 1) < 1e-9", "assert set([f(1)]) == sorted([7])", "assert math.isclose(f(1), 1)"):
        assert judge.judge(program, function(test)).error_type == "wrong_answer"


def test_helpers_of_the_prompt_can_be_called_by_the_program_and_no_other_function_of_the_tests(judge):
    prompt = "def twice(x):\n    return 2 * x\n\ndef f(x): ..."
    tests = "def twice(x):\n    return 2 * x\n\ndef secret(x):\n    return 4 * x\n\nassert f(3) == secret(3)\n"
    problem = Problem("p", "d", "s", "function", prompt, (Test(tests),), entry_point="f", time_limit=1.0)
    assert judge.judge("def f(x): return twice(twice(x))", problem).accepted
    assert judge.judge("def f(x): return secret(x)", problem).tests[0].detail.startswith("NameError")


def cases(test: str) -> int:
    return plan(test, SQUARE)[1]


def test_what_counts_as_a_case():
    assert cases("assert f(1) == 1") == 1
    assert cases("x = f(1)\nassert x\nassert not x") == 2
    assert cases("for n in range(3):\n  assert f(n)\nassert f(4)") == 2
    assert cases("def check(g):\n  assert g(1)\n  assert g(2)\n  for n in 'ab':\n    assert g(n)\ncheck(f)") == 3
    assert cases("f(1)") == 1
    assert cases("def helper(g):\n  assert g(1)\n  assert g(2)\nhelper(f)\nhelper(g)") == 1


UNFIT = {
    "not Python": ("assert f(1) ==", "it is not Python: SyntaxError"),
    "a statement out of place": ("return f(1)", "it is not Python: SyntaxError"),
    "null bytes": ("assert f(1) == '\0'", "it is not Python"),
    "brackets without end": ("(" * 300, "it is not Python"),
    "a package": ("import numpy as np\nassert f(1) == 1", "line 1 imports numpy"),
    "a package within a function": ("def check(g):\n  from numpy import array\ncheck(f)", "line 2 imports numpy"),
    "a package's module": ("import numpy.linalg\nassert f(1)", "line 1 imports numpy"),
    "a relative import": ("from . import x\nassert f(1)", "line 1 imports"),
    "the program's source": ("import inspect\nassert 'for' not in inspect.getsource(f)", "line 1 imports inspect"),
    "the program's code": ("assert f.__code__.co_argcount == 1", "line 1 uses __code__"),
    "a base class of the program": ("class T(Base): pass\nassert f(T())", "line 1 derives a class from Base"),
    "fixtures": ("def test_f(tmp_path):\n  assert f(tmp_path)", "line 1: test_f needs fixtures"),
}


@pytest.mark.parametrize("name", UNFIT)
def test_a_test_by_which_nothing_can_be_judged_is_named_when_it_is_read(name):
    test, reason = UNFIT[name]
    assert problem_with(test).startswith(reason)


def test_packages_that_programs_have_are_no_reason():
    assert problem_with("import numpy as np\nassert f(1) == 1", packages=("numpy",)) == ""
    assert problem_with("def test_f(n=3): assert f(n)") == ""
    assert problem_with("class A: pass\nclass B(A, ValueError): pass\nassert f(B)") == ""


@pytest.mark.parametrize(
    "body", ["raise KeyboardInterrupt", "a = []; a.append(a); return a", "raise SystemExit(1)", "1 / 0"]
)
def test_feedback_shows_nothing_of_the_judge(judge, body):
    feedback = judge.judge(f"def f(x): {body}", SQUARE).feedback
    assert "judge/" not in feedback


@pytest.mark.parametrize(
    "program",
    [
        "def f(x):\n  try: return {}[x]\n  except KeyError as e: raise ValueError('no') from e",
        "def f(x):\n  try: return int('a')\n  except ValueError: return [][x]",
        "def f(x):\n  import traceback, sys\n  traceback.print_stack()\n  sys.exit(traceback.format_stack()[0])",
        "def f(x): raise ExceptionGroup('g', [ValueError(1), KeyError(2)])",
    ],
)
def test_chained_errors_show_nothing_of_the_judge(judge, program):
    assert "sandbox" not in judge.judge(program, SQUARE).feedback


def test_a_callback_that_fails_shows_nothing_of_the_judge(judge):
    program = "def f(g):\n  try: g()\n  except ZeroDivisionError: raise ValueError('no')"
    feedback = judge.judge(program, function("assert f(lambda: 1 / 0) == 1")).feedback
    assert "ValueError: no" in feedback
    assert "sandbox" not in feedback
    stdio_program = "import traceback\ntraceback.print_stack()\n1 / 0"
    assert "sandbox" not in judge.judge(stdio_program, ANSWER).feedback
