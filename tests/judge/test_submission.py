"""Error types and limits, as the judge's caller sees them."""

import time
from dataclasses import replace

import pytest
from judged import ANSWER, DOUBLE, DOUBLED, SQUARE, function, stdio

from lib.judge import Judge
from lib.judge.conformance.judge_checks import without_times
from lib.judge.host.worker import Worker


def test_a_right_program_is_accepted(judge):
    verdict = judge.judge(DOUBLED, DOUBLE)
    assert (verdict.accepted, verdict.pass_ratio, verdict.error_type) == (True, 1.0, "success")
    assert (verdict.passed, verdict.total) == (5, 5)
    assert [result.error_type for result in verdict.tests] == ["success"] * 5


@pytest.mark.parametrize(
    ("program", "error_type", "detail"),
    [
        ("print(41)", "wrong_answer", ""),
        ("", "syntax_error", "empty program"),
        (" \n\t", "syntax_error", "empty program"),
        ("print(int(input())", "syntax_error", "SyntaxError: '(' was never closed"),
        ("\x00", "syntax_error", "null bytes"),
        ("x = '\ud800'", "syntax_error", ""),
        ("(" * 300 + ")" * 300, "syntax_error", "too many nested parentheses"),
        ("-" * 100_000 + "1", "syntax_error", ""),
        ("return 1", "syntax_error", "'return' outside function"),
        ("#" * (5 << 20), "syntax_error", "longer than"),
        ("# coding: no-such-codec\nprint(1 // 0)", "runtime_error", "ZeroDivisionError"),
        ("raise SystemExit('bye')", "runtime_error", "bye"),
        ("import sys\nsys.exit(3)", "runtime_error", "exit code 3"),
        ("import os\nos.abort()", "runtime_error", "killed by SIGABRT"),
        ("import ctypes\nctypes.string_at(0)", "runtime_error", "killed by SIGSEGV"),
        ("import os\nos.kill(os.getpid(), 9)", "runtime_error", "killed by SIGSYS"),
        ("import numpy", "runtime_error", "ModuleNotFoundError"),
        ("while True: pass", "timeout", "time limit"),
        ("x = [0] * 10**9", "runtime_error", "memory limit"),
        ("x = []\nwhile True: x.append(bytearray(1 << 20))", "runtime_error", "memory limit"),
        ("x = bytearray(300 << 20)", "runtime_error", "memory limit"),
        ("x = [open('/dev/null') for _ in range(999)]", "runtime_error", "open files limit"),
        (
            "from threading import Thread\nfrom time import sleep\n"
            "for _ in range(9999): Thread(target=sleep, args=(9,), daemon=True).start()",
            "runtime_error",
            "thread limit",
        ),
        ("import os\nos.fork()", "runtime_error", "process limit"),
        ("import subprocess\nsubprocess.run(['/bin/sh'])", "runtime_error", "process limit"),
        ("while True: print('x' * 10**5)", "runtime_error", "output limit"),
        ("def f(): f()\nf()", "runtime_error", "RecursionError"),
    ],
)
def test_each_way_to_fail_has_its_name(judge, program, error_type, detail):
    verdict = judge.judge(program, ANSWER)
    assert verdict.error_type == error_type
    assert detail in verdict.tests[0].detail
    assert not verdict.accepted
    assert verdict.pass_ratio == 0.0


def test_a_program_may_fail_one_test_and_pass_the_others(judge):
    verdict = judge.judge("n = int(input())\nprint(2 * n if n != 3 else 1 // 0)", DOUBLE)
    assert [result.error_type for result in verdict.tests] == [*["success"] * 2, "runtime_error", *["success"] * 2]
    assert (verdict.passed, verdict.pass_ratio, verdict.error_type) == (4, 0.8, "runtime_error")


def test_a_submission_stops_at_its_first_timeout(judge):
    program = "n = int(input())\nwhile n == 2: pass\nprint(2 * n)"
    verdict = judge.judge(program, stdio(*((f"{n}\n", f"{2 * n}\n") for n in range(1, 6)), time_limit=0.2))
    assert [result.error_type for result in verdict.tests] == ["success", "timeout"]
    assert (verdict.passed, verdict.total, verdict.pass_ratio) == (1, 5, 0.2)


def test_the_time_limit_is_exact(judge):
    verdict = judge.judge("while True: pass", stdio(("", ""), time_limit=0.2))
    assert verdict.error_type == "timeout"
    assert 0.2 <= verdict.judge_time < 0.25  # a few milliseconds on an idle machine


@pytest.mark.parametrize(("burn", "error_type"), [(0.15, "success"), (0.25, "timeout")])
def test_time_is_measured_in_cpu_seconds(judge, burn, error_type):
    program = f"import time\nwhile time.process_time() < {burn}: pass\ntime.sleep(0.3)\nprint(42)"
    assert judge.judge(program, stdio(("", "42"), time_limit=0.2)).error_type == error_type


def test_a_sleeper_ends_by_the_wall_clock_and_costs_no_cpu(judge):
    start = time.monotonic()
    verdict = judge.judge("import time\ntime.sleep(60)", stdio(("", ""), time_limit=0.1))
    assert (verdict.error_type, verdict.tests[0].detail) == ("timeout", "wall-clock limit (asleep or waiting)")
    assert verdict.judge_time < 0.05
    assert time.monotonic() - start < 20


def test_cpu_time_of_threads_counts(judge):
    program = """
import hashlib, threading
def burn():
    while True: hashlib.sha256(bytes(1 << 20)).digest()
for _ in range(4): threading.Thread(target=burn).start()
"""
    assert judge.judge(program, stdio(("", ""), time_limit=0.3)).error_type == "timeout"


def test_a_large_output_passes(judge):
    lines = "".join(f"{n}\n" for n in range(400_000))  # 2.7 MB: more than the quick pass takes
    verdict = judge.judge("for n in range(int(input())): print(n)", stdio(("400000\n", lines), ("1\n", "0\n")))
    assert verdict.accepted


def test_large_inputs_and_programs_pass(judge):
    numbers = " ".join(map(str, range(500_000)))
    problem = stdio((f"{numbers}\n", f"{sum(range(500_000))}\n"), time_limit=5.0)
    program = "print(sum(map(int, input().split())))\n# " + "x" * 2_000_000
    assert judge.judge(program, problem).accepted


def test_many_tests_are_more_than_one_quick_pass(judge):
    problem = stdio(*((f"{n}\n", f"{2 * n}\n") for n in range(150)))
    assert judge.judge(DOUBLED, problem).passed == 150
    assert judge.judge("n = int(input())\nprint(2 * n if n % 50 else 7)", problem).passed == 147


def test_what_a_test_leaves_behind_costs_no_other_test(judge):
    program = "import builtins\nn = int(input())\nbuiltins.count = getattr(builtins, 'count', 0) + 1\n"
    assert judge.judge(program + "print(2 * n * builtins.count)", DOUBLE).accepted


def test_a_quick_pass_that_runs_out_of_time_costs_nothing(judge):
    """Five tests of 0.1 s each, more than the budget of the quick pass, each within the limit of 0.2 s."""
    program = "import time\nwhile time.process_time() < 0.1: pass\nprint(2 * int(input()))"
    assert judge.judge(program, stdio(*((f"{n}\n", f"{2 * n}\n") for n in range(5)), time_limit=0.2)).accepted


@pytest.fixture
def runs(monkeypatch):
    """What the worker reported: "quick" for each run of several tests, and the numbers of the tests that ran alone."""
    seen: list = []
    receive = Worker.receive

    def noted(self, prepared):
        header, payload = receive(self, prepared)
        if "ended" in header or len(header.get("ran", ())) > 1:
            seen.append("quick")
        elif "test" in header or "ran" in header:
            seen.append(header["test"] if "test" in header else header["ran"][0][0])
        return header, payload

    monkeypatch.setattr(Worker, "receive", noted)
    return seen


@pytest.mark.parametrize(
    ("program", "alone"),
    [
        ("while True: pass", []),  # the first test of a quick pass runs as if alone
        ("import random\nwhile True: pass", []),
        ("n = int(input())\nwhile n == 3: pass\nprint(2 * n)", []),  # carries nothing to the third test
        ("import random\nn = int(input())\nwhile n == 3: pass\nprint(2 * n)", [2]),
        ("n = int(input())\nif n == 2: x = [0] * 10**8\nwhile n == 4: pass\nprint(2 * n)", [1]),
        ("for _ in range(12_000_000): pass\nprint(2 * int(input()))", [1, 2, 3, 4]),
    ],
    ids=["endless", "endless, might carry", "one endless", "one endless, might carry", "memory", "slow"],
)
def test_no_test_runs_twice_if_the_quick_pass_shows_who_is_at_fault(judge, runs, program, alone):
    problem = replace(DOUBLE, time_limit=1.0)
    verdict = judge.judge(program, problem)
    assert runs == ["quick", *alone]
    with Judge(workers=1, strict=True) as strict:
        assert without_times(verdict) == without_times(strict.judge(program, problem))


SLOW = """
import time
def f(x):
    end = time.process_time() + 0.4
    while time.process_time() < end: pass
    return x * x
"""


@pytest.mark.parametrize(
    ("program", "alone", "error_type"),
    [
        ("while True: pass", [], "timeout"),
        ("import random\ndef f(x):\n  while True: pass", [], "timeout"),
        ("def f(x):\n  while x == 0: pass\n  return x * x", [], "timeout"),  # carries nothing to the third test
        ("import random\ndef f(x):\n  while x == 0: pass\n  return x * x", [2], "timeout"),
        ("import random\ndef f(x):\n  while x == 0: pass\n  return 3 * x", [1, 2], "timeout"),
        (SLOW, [2], "success"),
    ],
    ids=["endless at once", "endless", "one endless", "one endless, might carry", "wrong before", "slow"],
)
def test_no_function_test_runs_twice_if_the_first_run_shows_who_is_at_fault(judge, runs, program, alone, error_type):
    verdict = judge.judge(program, SQUARE)
    assert (runs, verdict.error_type) == (["quick", *alone], error_type)
    with Judge(workers=1, strict=True) as strict:
        assert without_times(verdict) == without_times(strict.judge(program, SQUARE))


def test_a_program_that_lies_about_its_time_gains_none(judge):
    """It reports that its first test ended a moment ago, as the second one gets the rest of the time."""
    program = """
import struct, os, time
n = int(input())
if n == 2:
    os.pwrite(3, struct.pack('<BQd', 0, 0, 1e9), 0)
    while time.process_time() < 0.45: pass
print(2 * n)
"""
    assert judge.judge(program, replace(DOUBLE, time_limit=0.4)).error_type == "timeout"


def test_function_problems(judge):
    assert judge.judge("def f(x): return x * x", SQUARE).accepted
    wrong = judge.judge("def f(x): return 3 * x", SQUARE)
    assert (wrong.passed, wrong.error_type, wrong.pass_ratio) == (2, "wrong_answer", 2 / 3)
    assert judge.judge("def g(x): return x", SQUARE).error_type == "runtime_error"
    assert judge.judge("def f(x) return x", SQUARE).error_type == "syntax_error"
    assert judge.judge("def f(x):\n  while True: pass", SQUARE).error_type == "timeout"


def test_a_function_that_reads_the_standard_input_finds_it_empty(judge):
    assert judge.judge("def f(x): return input()", SQUARE).tests[0].detail == "EOFError: EOF when reading a line"


def test_the_main_part_of_a_program_does_not_run_for_function_problems(judge):
    assert judge.judge("def f(x): return x * x\nif __name__ == '__main__': f(input())", SQUARE).accepted


def test_a_test_that_is_no_python_is_refused_before_any_program_runs(judge):
    with pytest.raises(ValueError, match="problem test/f: no program can be judged by test 2: it is not Python"):
        judge.judge("def f(x): return x", function("assert f(1) == 1", "assert f(1) =="))


@pytest.mark.parametrize("program", ["x = 'x'\nwhile True: x += x[: 1 << 20]", "x = 'x'\nwhile True: x += x"])
def test_a_program_that_runs_out_of_memory_and_time_at_once_has_a_verdict(judge, program):
    for problem in (stdio(*[("", "42\n")] * 3, time_limit=0.1), function(*["assert f(1) == 1"] * 3, time_limit=0.1)):
        verdict = judge.judge(program, problem)
        assert verdict.error_type in ("runtime_error", "timeout")
        assert (verdict.passed, verdict.total) == (0, 3)


def test_a_compile_bomb_has_a_verdict(judge):
    bomb = "x = [" + "x + 1," * 600_000 + "]"  # seconds of parsing
    for problem in (stdio(*[("", "42\n")] * 2, time_limit=0.1), function(*["assert f(1) == 1"] * 2, time_limit=0.1)):
        assert judge.judge(bomb, problem).error_type in ("timeout", "syntax_error", "runtime_error")


def test_strict_verdicts_are_the_same(judge):
    """Without the quick pass: only times may differ."""
    programs = [
        DOUBLED,
        "print(7)",
        "n = int(input())\nprint(2 * n if n != 3 else 1 // 0)",
        "print(2 *",
        "while 1: pass",
    ]
    functions = ["def f(x): return x * x", "def f(x): return 3 * x", "import os\ndef f(x): os._exit(x)", "1 / 0"]
    double = replace(DOUBLE, time_limit=0.3)
    pairs = [(source, double) for source in programs] + [(source, SQUARE) for source in functions]
    with Judge(workers=2, strict=True) as strict:
        for ours, theirs in zip(strict.judge_many(pairs), judge.judge_many(pairs), strict=True):
            assert without_times(ours) == without_times(theirs)


def test_a_byte_order_mark_is_no_mistake(judge):
    assert judge.judge("\ufeffprint(42)", ANSWER).accepted
    assert judge.judge("\ufeff\ufeffprint(42)", ANSWER).error_type == "syntax_error"


def test_limits_have_their_names_in_function_problems_too(judge):
    program = "def f(x):\n    return [open('/dev/null') for _ in range(999)]"
    assert [result.detail for result in judge.judge(program, SQUARE).tests] == ["open files limit"] * 3


def test_a_worker_that_has_rehearsed_goes_on_as_before():
    """The zygote rehearses after its 64th submission."""
    stdio_pairs = [(f"{DOUBLED}# {n}", DOUBLE) for n in range(35)]
    function_pairs = [(f"def f(x): return x * x  # {n}", SQUARE) for n in range(35)]
    with Judge(workers=1) as judge:
        verdicts = judge.judge_many([*stdio_pairs, *function_pairs])
        modules = judge.judge("import sys\nprint(sorted({'__main__', 'solution', 'tester'} & {*sys.modules}))", ANSWER)
        assert modules.tests[0].got == "['__main__']\n"
        assert (judge.stats()["respawns"], judge.stats()["retries"]) == (0, 0)
    assert all(verdict.accepted for verdict in verdicts)
