import pytest
from judged import DOUBLE, stdio

from lib.judge.sandbox.carry import carries_nothing


def settled(program: str) -> bool:
    return carries_nothing(compile(program, "program.py", "exec"))


@pytest.mark.parametrize(
    "program",
    [
        "n = int(input())\nprint(n)",
        "import sys\nfrom collections import deque\nfrom heapq import *\nfor line in sys.stdin: print(line)",
        "import collections.abc, math as m\nclass A:\n  def __init__(self): self.x = m.pi",
        "def f(n):\n  global total\n  total = n\nf(1)",
    ],
)
def test_programs_that_stay_within_themselves_carry_nothing(program):
    assert settled(program)


@pytest.mark.parametrize(
    "program",
    [
        "import random\nprint(random.random())",
        "import decimal",
        "from os import path",
        "def f():\n  def g():\n    import threading",
        "import sys\nsys.setrecursionlimit(10**6)",
        "import math\nsetattr(math, 'pi', 3)",
        "__builtins__.input = None",
        "exec('import random')",
        "__import__('random')",
        "open(1, 'w').write('x')",
        "class A:\n  def __del__(self): print('late')",
        "from . import x",
        "\n".join(f"a{n} = {n}" for n in range(300)) + "\nimport random",  # its name has a number beyond one byte
    ],
)
def test_programs_that_reach_further_might_carry_something(program):
    assert not settled(program)


def test_what_one_test_could_not_write_does_not_reach_the_next(judge):
    """The first output is more than the quick pass takes; what is left of it must not open the second one."""
    program = "n = int(input())\nif n == 1: print('x' * 3_000_000)\nprint(n)"
    problem = stdio(("1\n", "x" * 3_000_000 + "\n1\n"), ("2\n", "2\n"), ("3\n", "4\n"))
    verdict = judge.judge(program, problem)
    assert [result.error_type for result in verdict.tests] == ["success", "success", "wrong_answer"]
    assert verdict.tests[1].got == "2\n"


@pytest.mark.parametrize("change", ["+ 1", "// (n - 3)", "* (n > 2)", ""])
def test_a_failure_has_the_same_verdict_in_the_quick_pass_and_alone(judge, change):
    """`import random` has a program run alone where the other one is settled by the quick pass."""
    program = f"n = int(input())\nprint(2 * n {change})"
    quick = judge.judge(f"import math\n{program}", DOUBLE)
    alone = judge.judge(f"import random\n{program}", DOUBLE)
    assert [(t.error_type, t.detail, t.got) for t in quick.tests] == [
        (t.error_type, t.detail, t.got) for t in alone.tests
    ]
    assert quick.feedback.replace("math", "random") == alone.feedback
