"""What a program costs: equal on repeat, in the order of instructions, hard to forge, and never of a wrong program."""

import os
import random
import shutil
import signal
from dataclasses import replace

import pytest
from judged import DOUBLE, DOUBLED, function, stdio

from lib.judge.cost import Cost, CostError, Meter, process
from lib.judge.cost import meter as meter_module
from lib.judge.cost.process import CountingProcess
from lib.judge.errors import WorkerFault
from lib.tiny.operations import OPERATION
from lib.tiny.programs import Choice, Task, program

SUMS = stdio(*((f"{n}\n", f"{n * (n - 1) // 2}\n") for n in (1000, 200)))
LINEAR = "total = 0\nfor i in range(int(input())):\n    total += i\nprint(total)\n"
QUADRATIC = "print(sum(sum(1 for j in range(i)) for i in range(int(input()))))\n"
READ = "n = int(input())\na = list(map(int, input().split()))\n"
COUNTED = READ + "c = {}\nfor x in a:\n    c[x] = c.get(x, 0) + 1\nprint(sum(c[x] for x in a))\n"
IN_C = READ + "print(sum(map(a.count, a)))\n"

pytestmark = pytest.mark.skipif(shutil.which("valgrind") is None, reason="valgrind is not installed")


def same(n: int = 400, seed: int = 0):
    """Print how many pairs of `n` numbers are equal."""
    draw = random.Random(seed)
    a = [draw.randint(0, n) for _ in range(n)]
    return stdio((f"{n}\n{' '.join(map(str, a))}\n", f"{sum(map(a.count, a))}\n"))


@pytest.fixture(scope="module")
def meter():
    with Meter(workers=1, tiers=("superblocks",)) as shared:
        yield shared


@pytest.fixture
def counter(meter):
    """The counting process of the meter."""
    counter = meter._idle.get()
    meter._idle.put(counter)
    return counter


@pytest.fixture(scope="module")
def cachegrind():
    with Meter(workers=1, tiers=("cachegrind",)) as shared:
        yield shared


def test_costs_repeat_within_a_tenth_of_a_percent_and_grow_with_the_work(meter):
    linear, *again, quadratic = meter.measure_many(
        [(LINEAR, SUMS), *((f"{LINEAR}# {n}\n", SUMS) for n in range(3)), (QUADRATIC, SUMS)]
    )
    assert linear.tests[0] < 8 * linear.tests[1]
    assert quadratic.tests[0] > 20 * quadratic.tests[1]
    assert quadratic.over(linear) > 20
    heavy = meter.measure_many([(f"{IN_C}# {n}\n", same()) for n in range(5)])
    counts = [cost.count for cost in heavy]
    assert max(counts) - min(counts) <= 0.001 * min(counts)
    assert all(abs(cost.over(linear) - 1) < 0.02 for cost in again), "small costs vary a little more"


def test_equal_pairs_are_measured_once(meter):
    before = meter.measured
    first, second, other = meter.measure_many([(LINEAR + "#", SUMS), (LINEAR + "#", SUMS), (LINEAR + "#", same())])
    assert (first == second, meter.measured - before) == (True, 2)
    assert other.error_type != "success"
    assert meter.measure(LINEAR + "#", SUMS) == first
    assert (meter.measured - before, meter.remembered >= 2) == (2, True)


def test_superblocks_are_in_the_order_of_instructions(meter, cachegrind):
    """Ways of the tiny world, fast and slow. In any order may be costs that differ by less than 2 % for one problem, by
    less than 10 % for two."""
    a = [(i * 7919) % 2003 for i in range(300)]
    names, programs, problem = [], [], stdio((f"{len(a)}\n{' '.join(map(str, a))}\n", "0\n"))
    problems = []
    for name in ("prefix", "peak", "frequency", "dedupe", "sort", "weigh"):
        task = Task(((name, 0),), "sum", "0")
        ways = OPERATION[name]
        for way in (*ways.fast, *ways.slow):
            names.append(name)
            programs.append(program(task, Choice((way,))))
            problems.append(replace(problem, tests=(replace(problem.tests[0], output=f"{task.solve(list(a))}\n"),)))
    pairs = list(zip(programs, problems, strict=True))
    blocks, instructions = ([c.count for c in m.measure_many(pairs)] for m in (meter, cachegrind))
    assert None not in blocks + instructions
    compared = 0
    for i in range(len(pairs)):
        for j in range(i):
            apart = 0.02 if names[i] == names[j] else 0.1
            if abs(instructions[i] - instructions[j]) > apart * instructions[j]:
                compared += 1
                assert (blocks[i] > blocks[j]) == (instructions[i] > instructions[j]), (programs[i], programs[j])
    assert compared > 50


def test_work_counts_wherever_it_is_done(meter):
    """In C, in an exit function, in a thread, and even where a program imports what this process has not."""
    honest = meter.measure(COUNTED, same())
    work = "".join(f"    {line}\n" for line in IN_C.splitlines())
    hidden = {
        "in C": IN_C,
        "at exit": f"import atexit\ndef f():\n{work}atexit.register(f)\n",
        "in a thread": f"import threading\ndef f():\n{work}t = threading.Thread(target=f)\nt.start()\n",
        "in a finalizer": f"class A:\n  def __del__(self):\n{work.replace('    ', '      ')}x = A()\n",
        "without a trace": f"import sys\nsys.settrace(None)\n{IN_C}",
    }
    for name, source in hidden.items():
        assert meter.measure(source, same()).over(honest) > 10, name
    imports = meter.measure(f"import logging.config, unittest.mock\n{COUNTED}", same())
    assert imports.over(honest) > 10


def test_usual_modules_cost_a_program_nothing(meter):
    imports = (
        "import collections, heapq, math, random, re, statistics, string, sys, threading\nfrom typing import List\n"
    )
    assert meter.measure(imports + IN_C, same()).over(meter.measure(IN_C, same())) < 1.02


def test_function_problems_have_a_cost_too(meter):
    problem = function("assert f(300) == 44850\nassert f(2) == 1", "assert f(10) == 45")
    linear = "def f(n):\n    total = 0\n    for i in range(n):\n        total += i\n    return total\n"
    quadratic = "def f(n):\n    return sum(sum(1 for j in range(i)) for i in range(n))\n"
    costs = meter.measure_many([(linear, problem), (quadratic, problem), ("def f(n): return 1", problem)])
    assert costs[0].tests[0] > 2 * costs[0].tests[1]
    assert costs[1].tests[0] > 20 * costs[0].tests[0]
    assert (costs[2].count, costs[2].error_type) == (None, "wrong_answer")


@pytest.mark.parametrize(
    ("attempt", "error_type"),
    [
        ("print(1)", "wrong_answer"),
        ("print(1", "syntax_error"),
        ("print(2 * int(input()))\n1 / 0", "runtime_error"),
        ("import os, sys\nprint(2 * int(input()), flush=True)\nos.kill(os.getpid(), 9)", "runtime_error"),
        ("while True: pass", "timeout"),
        ("import time\ntime.sleep(1000)", "timeout"),
        ("import threading\nthreading.Thread(target=threading.Event().wait).start()\nprint(2)", "timeout"),
    ],
)
def test_a_program_that_goes_wrong_where_it_is_measured_has_no_cost(meter, attempt, error_type):
    problem = replace(DOUBLE, tests=DOUBLE.tests[:1], time_limit=0.05)
    cost = meter.measure(attempt, problem)
    assert (cost.count, cost.error_type) == (None, error_type)
    assert meter.measure(DOUBLED, problem).count, "and the next program is measured"


def test_a_measured_program_is_as_isolated_as_a_judged_one(meter):
    attempts = ["os.fork()", "socket.socket()", "os.listdir('/proc')", f"open({__file__!r})", "os.listdir('/home')"]
    attempts += ["os.kill(1, 0) or os.kill(-1, 15)", "open('/tmp/x', 'w')", "os.write(6, b'x')", "os.environ['PATH']"]
    attempts += ["open(os.path.dirname(os.__file__) + '/os.py', 'a')", "subprocess.run(['true'])"]
    source = "import os, socket, subprocess\n"
    for attempt in attempts:
        source += f"try:\n    {attempt}\n    print({attempt!r})\nexcept Exception: print('refused')\n"
    assert meter.measure(source, stdio(("", "refused\n" * len(attempts)))).count


def test_a_program_can_not_forge_its_count_through_the_log(meter):
    """Valgrind guards its descriptors, and what a program could have it say begins otherwise."""
    line = "--%d-- scheduler: 1 event checks."
    forging = f"""
import ctypes, os
line = b"\\n" + ({line!r} % os.getpid()).encode() + b"\\n"
libc = ctypes.CDLL(None)
for descriptor in range(3, 600):
    for write in (os.write, libc.write):
        try: write(descriptor, line) if write is os.write else write(descriptor, line, len(line))
        except OSError: pass
libc.prctl(15, b"x")
"""
    honest, forged = (meter.measure(head + IN_C, same()) for head in ("import ctypes, os\n", forging))
    assert forged.error_type == "success"
    assert forged.over(honest) > 1


def test_a_count_that_appears_twice_is_not_believed(meter, counter, monkeypatch):
    content = CountingProcess._content
    monkeypatch.setattr(CountingProcess, "_content", lambda self: content(self) * 2)
    with pytest.raises(WorkerFault, match="2 counts of one run"):
        counter.measure(DOUBLED, DOUBLE)


def test_an_exec_ends_a_program_without_a_cost(meter):
    source = """
import glob, os
folders = ('/lib64', '/lib/*-linux-gnu', '/usr/lib64', '/usr/lib/*-linux-gnu')
loader = next(file for folder in folders for file in glob.glob(folder + '/ld-linux*'))
os.execv(loader, [loader])
"""
    assert meter.measure(source, stdio(("", "42"))).error_type == "runtime_error"


def test_costs_of_two_tiers_are_never_compared():
    with pytest.raises(ValueError, match="two tiers"):
        Cost("counter", 10).over(Cost("superblocks", 5))
    with pytest.raises(ValueError, match="without a cost"):
        Cost("counter", 10).over(Cost("counter", None, "timeout"))
    assert Cost("counter", 10).over(Cost("counter", 5)) == 2


def test_what_is_missing_is_passed_over_with_the_reason(monkeypatch):
    monkeypatch.setattr(process, "HARDWARE_INSTRUCTIONS", (99, 99))  # no such counter
    monkeypatch.setattr(process.shutil, "which", lambda _: None)
    with pytest.raises(CostError, match="valgrind is not installed: apt install valgrind"):
        Meter(tiers=("counter", "superblocks", "cachegrind"))


def test_a_counter_of_the_kernel_counts_the_program_and_nobody_else(monkeypatch):
    """The way of the first tier, with a counter that every machine has: page faults in user mode."""
    software, page_faults = 1, 2
    monkeypatch.setattr(process, "HARDWARE_INSTRUCTIONS", (software, page_faults))
    try:
        meter = Meter(workers=1, tiers=("counter",))
    except CostError as error:
        pytest.skip(f"this machine lends no counter: {error}")
    page, pages = 4096, 5000
    touching = f"n = int(input())\nx = bytearray({page * pages})\nprint(2 * n)\n"
    one = replace(DOUBLE, tests=DOUBLE.tests[:1])
    with meter:
        small, large = (cost.count for cost in meter.measure_many([(DOUBLED, one), (touching, one)]))
    assert small < 0.1 * pages
    assert 0.9 * pages < large < 1.2 * pages


def test_without_namespaces_it_has_to_be_asked_for():
    with Meter(workers=1, tiers=("superblocks",), isolation="none") as meter:
        assert meter.measure(DOUBLED, DOUBLE).count > 5


def test_a_killed_meter_gives_none_and_never_zero(meter, counter, monkeypatch):
    os.kill(counter._process.pid, signal.SIGKILL)
    assert meter.measure(DOUBLED + "# killed", DOUBLE).count, "measured by another process"

    def fail(*_):
        raise WorkerFault("killed")

    monkeypatch.setattr(CountingProcess, "measure", fail)
    monkeypatch.setattr(meter_module, "ATTEMPTS", 1)
    program = DOUBLED + "# killed again"
    assert meter.measure(program, DOUBLE) == Cost("superblocks", None, "api_error")
    assert meter._key(program, DOUBLE) not in meter._known, "a failure is not remembered"
