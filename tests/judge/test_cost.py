"""What a program costs: equal on repeat, in the right order, never of a program that is wrong."""

import shutil
from dataclasses import replace

import pytest
from judged import DOUBLE, DOUBLED, function, stdio

from lib.judge.cost import CostError, Meter
from lib.judge.cost import meter as meter_module
from lib.judge.verdict import Verdict
from lib.tiny.operations import OPERATION
from lib.tiny.programs import Choice, Task, program

SUMS = stdio(*((f"{n}\n", f"{n * (n - 1) // 2}\n") for n in (1000, 10, 200)))
LINEAR = "total = 0\nfor i in range(int(input())):\n    total += i\nprint(total)\n"
QUADRATIC = "print(sum(sum(1 for j in range(i)) for i in range(int(input()))))\n"

needs_valgrind = pytest.mark.skipif(shutil.which("valgrind") is None, reason="valgrind is not installed")


@pytest.fixture(scope="module")
def bytecode() -> Meter:
    return Meter(("bytecode",))


@pytest.fixture(scope="module")
def cachegrind() -> Meter:
    return Meter(("cachegrind",), repeats=2)


def test_it_is_the_same_every_time_and_grows_with_the_work(judge, bytecode):
    linear, again, quadratic = (
        bytecode.measure(program, SUMS, judge.judge(program, SUMS), largest=2)
        for program in (LINEAR, LINEAR, QUADRATIC)
    )
    assert linear == again
    assert list(linear.tests) == [0, 2], "the largest inputs"
    assert linear.tests[0] < 6 * linear.tests[2]
    assert quadratic.tests[0] > 20 * quadratic.tests[2]
    assert quadratic.total > 20 * linear.total
    assert (bytecode.tier, bytecode.noise, bytecode.floor) == ("bytecode", 0.0, 0)


def test_function_problems_have_a_cost_too(judge, bytecode):
    problem = function("assert f(300) == 44850\nassert f(2) == 1", "assert f(10) == 45")
    linear = "def f(n):\n    total = 0\n    for i in range(n):\n        total += i\n    return total\n"
    quadratic = "def f(n):\n    return sum(sum(1 for j in range(i)) for i in range(n))\n"
    costs = [bytecode.measure(p, problem, judge.judge(p, problem)) for p in (linear, quadratic)]
    assert costs[0].tests[0] > 10 * costs[0].tests[1]
    assert costs[1].tests[0] > 20 * costs[0].tests[0]


@needs_valgrind
def test_instructions_repeat_within_the_noise_and_see_what_bytecodes_do_not(judge, bytecode, cachegrind):
    """Prefix sums of the tiny world: adding up as one goes, or all over again each time with the built-in `sum`."""
    task, numbers = Task((("prefix", 0),), "last", "0"), [(i * 7919) % 2003 for i in range(800)]
    ways = OPERATION["prefix"]
    linear, quadratic = (program(task, Choice((way,))) for way in (ways.fast[0], ways.slow[0]))
    problem = stdio((f"{len(numbers)}\n{' '.join(map(str, numbers))}\n", f"{sum(numbers)}\n"), time_limit=5.0)
    accepted = judge.judge_many([(linear, problem), (quadratic, problem)])

    def total(meter: Meter, number: int) -> int:
        return meter.measure((linear, quadratic)[number], problem, accepted[number]).total

    once, again = total(cachegrind, 0), total(cachegrind, 0)
    assert (cachegrind.tier, cachegrind.noise < 0.01) == ("cachegrind", True)
    assert abs(once - again) <= cachegrind.noise * once + cachegrind.floor
    assert total(cachegrind, 1) > 5 * once
    assert total(bytecode, 1) < 1.5 * total(bytecode, 0), "to the last tier, the slow way is as cheap"


def test_a_program_that_was_not_accepted_has_no_cost(judge, bytecode):
    with pytest.raises(ValueError, match="wrong_answer"):
        bytecode.measure("print(1)", DOUBLE, judge.judge("print(1)", DOUBLE))


@pytest.mark.parametrize(
    "attempt",
    [
        "import sys\nprint(2 * int(input()) if sys.gettrace() is None else 0)",  # works less where it is measured
        "import os, sys\nprint(2 * int(input()), flush=True)\nsys.gettrace() and os._exit(0)",  # before it is counted
        "import os, sys\nprint(2 * int(input()))\nsys.gettrace() and os.kill(os.getpid(), 9)",
        "import sys\nprint(2 * int(input()))\nif sys.gettrace():\n    while True: pass",
    ],
    ids=["answers wrong", "leaves", "kills itself", "never ends"],
)
def test_a_program_that_behaves_otherwise_where_it_is_measured_has_no_cost(attempt, bytecode):
    problem = replace(DOUBLE, tests=DOUBLE.tests[:1], time_limit=0.02)  # 60 times as much where it is measured
    verdict = Verdict(True, 1.0, "success", 1, 1, 0.0)
    with pytest.raises(CostError, match="bytecode"):
        bytecode.measure(attempt, problem, verdict)


def test_a_program_that_is_measured_is_as_isolated_as_one_that_is_judged(bytecode):
    accepted = Verdict(True, 1.0, "success", 1, 1, 0.0)
    for attempt in (
        "import os; os.fork()",
        "import socket; socket.socket()",
        "import os; os.execv('/bin/true', ['true'])",
        "import os; os.listdir('/proc')",
        f"open({__file__!r})",
        "import os; os.kill(1, 0) or os.kill(-1, 9)",
        "open('/tmp/x', 'w')",
        "import os; os.listdir('/home')",
        "import os; os.write(6, b'x')",
        "import os; print(os.environ['PATH'])",
    ):
        source = f"try:\n    {attempt}\nexcept Exception as error:\n    print('refused')\n"
        assert bytecode.measure(source, stdio(("", "refused\n")), accepted).total >= 1, attempt


@needs_valgrind
def test_under_valgrind_too(cachegrind):
    attempts = ["os.fork()", "os.execv('/bin/true', ['true'])", "subprocess.run(['true'])"]
    attempts += ["open('/x', 'w')", f"open({__file__!r})", "open(os.path.dirname(os.__file__) + '/os.py', 'a')"]
    attempts += ["[os.write(fd, b'==2== I refs: 1\\n') for fd in range(5, 300)]"]
    source = "import os, subprocess\n" + "".join(
        f"try:\n    {attempt}\nexcept OSError:\n    print('refused')\n" for attempt in attempts
    )
    accepted = Verdict(True, 1.0, "success", 1, 1, 0.0)
    assert cachegrind.measure(source, stdio(("", "refused\n" * len(attempts))), accepted).total > 1000


@needs_valgrind
def test_valgrind_does_not_survive_that_an_exec_is_refused_and_the_error_says_so(cachegrind):
    source = """
import glob, os
folders = ('/lib64', '/lib/*-linux-gnu', '/usr/lib64', '/usr/lib/*-linux-gnu')
loader = next(file for folder in folders for file in glob.glob(folder + '/ld-linux*'))
os.execv(loader, [loader])
"""
    accepted = Verdict(True, 1.0, "success", 1, 1, 0.0)
    with pytest.raises(CostError, match="an exec, which is refused"):
        cachegrind.measure(source, stdio(("", "42")), accepted)


def test_what_is_missing_is_passed_over_with_the_reason(monkeypatch):
    monkeypatch.setattr(meter_module, "HARDWARE_INSTRUCTIONS", (99, 99))  # no such counter
    monkeypatch.setattr(meter_module.shutil, "which", lambda _: None)
    meter = Meter()
    assert meter.tier == "bytecode"
    assert "perf_event_open" in meter.skipped["counter"]
    assert meter.skipped["cachegrind"] == "valgrind is not installed"
    with pytest.raises(CostError, match="nothing here counts"):
        Meter(("counter",))


def test_a_counter_of_the_kernel_counts_the_program_and_nobody_else(monkeypatch, judge):
    """The way of the first tier, with a counter that every machine has: page faults in user mode."""
    software, page_faults = 1, 2
    monkeypatch.setattr(meter_module, "HARDWARE_INSTRUCTIONS", (software, page_faults))
    try:
        meter = Meter(("counter",))
    except CostError as error:
        pytest.skip(f"this machine lends no counter: {error}")
    page, pages = 4096, 5000
    touching = f"n = int(input())\nx = bytearray({page * pages})\nprint(2 * n)\n"
    small, large = (meter.measure(p, DOUBLE, judge.judge(p, DOUBLE), largest=1).total for p in (DOUBLED, touching))
    assert small < 0.1 * pages
    assert 0.9 * pages < large < 1.2 * pages


def test_without_namespaces_it_has_to_be_asked_for(judge):
    meter = Meter(("bytecode",), isolation="none")
    assert meter.measure(DOUBLED, DOUBLE, judge.judge(DOUBLED, DOUBLE), largest=1).total > 5
