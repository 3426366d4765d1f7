"""The judge as its callers use it: order, duplicates, faults, the end."""

import ast
import contextlib
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from judged import ANSWER, DOUBLE, DOUBLED, SQUARE, function, stdio

from lib.judge import Judge, Verdict
from lib.judge.host import prepared
from lib.judge.host.cases import plan
from lib.judge.host.stream import AHEAD, ATTEMPTS, without_comments
from lib.problems import Problem


def descendants(pid: int) -> set[int]:
    """Every process below `pid`, zombies left out."""
    parents = {}
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{entry}/stat") as file:
                state, parent = file.read().rpartition(")")[2].split()[:2]
        except OSError:
            continue
        if state != "Z":
            parents[int(entry)] = int(parent)
    found, new = set(), {pid}
    while new:
        new = {child for child, parent in parents.items() if parent in new} - found
        found |= new
    return found


def gone(pids: set[int], seconds: float = 5.0) -> bool:
    """Whether these processes end within some seconds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if not any(running(pid) for pid in pids):
            return True
        time.sleep(0.02)
    return False


IDLE, BUSY = 4, 5  # processes of a worker: guardian, zygote, two for this submission and the next; a program


def at_most(count: int, others: set[int], seconds: float = 5.0) -> bool:
    """Whether within some seconds no more than `count` processes are below this one, `others` left out."""
    end = time.monotonic() + seconds
    while len(descendants(os.getpid()) - others) > count:
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def running(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_verdicts_come_in_the_order_of_the_pairs(judge):
    pairs = [(f"import time\ntime.sleep({(7 * n) % 5} / 50)\nprint({n})", ANSWER) for n in range(38, 46)]
    verdicts = judge.judge_many(pairs)
    assert [verdict.accepted for verdict in verdicts] == [n == 42 for n in range(38, 46)]
    assert [verdict.tests[0].got for verdict in verdicts] == [f"{n}\n" for n in range(38, 46)]


def test_nothing_to_judge_is_no_error(judge):
    assert judge.judge_many([]) == []


def test_pairs_may_come_from_a_generator(judge):
    assert [v.accepted for v in judge.judge_many((p, ANSWER) for p in ("print(42)", "print(4)"))] == [True, False]


def test_equal_pairs_are_judged_once(judge):
    program = f"print(42)  # {time.monotonic()}"
    before = judge.stats()
    verdicts = judge.judge_many([(program, ANSWER)] * 5 + [(program, DOUBLE)])
    after = judge.stats()
    assert [verdict.accepted for verdict in verdicts] == [True] * 5 + [False]
    assert after["programs"] - before["programs"] == 6
    assert after["cache_hits"] - before["cache_hits"] == 4
    assert judge.judge(program, ANSWER) == verdicts[0]
    assert judge.stats()["cache_hits"] - after["cache_hits"] == 1


def test_endless_programs_that_differ_in_comments_are_judged_once(judge):
    endless = f"while {time.monotonic()}: pass"
    programs = [endless, f"{endless}  # why", f"# Think.\n\n{endless}\n", f"{endless} \n# the end", f"\n{endless}\n\n"]
    before = judge.stats()
    verdicts = judge.judge_many([(program, replace(DOUBLE, time_limit=0.3)) for program in programs])
    after = judge.stats()
    assert [verdict.error_type for verdict in verdicts] == ["timeout"] * 5
    assert after["tests"] - before["tests"] == 1
    assert after["cache_hits"] - before["cache_hits"] == 4
    assert after["queue_length"] == 0
    before = after
    assert judge.judge(f"{endless}#", replace(DOUBLE, time_limit=0.3)) == verdicts[0]
    assert judge.stats()["cache_hits"] - before["cache_hits"] == 1


def test_other_programs_that_differ_in_comments_have_feedback_of_their_own(judge):
    now = time.monotonic()
    first, second = judge.judge_many([(f"1 // 0  # {text} {now}", ANSWER) for text in ("one", "two")])
    assert "# one" in first.feedback
    assert "# two" in second.feedback


FRAGMENTS = """x = 1|if x:|    y = '#'  # not '|    z = "a # b"|    pass # c|#|  # d|| \t|x = 2 \t#"|'#'
s = '''|'''|x = 1 + \\|# \\|f(#|)
\r|# \r x = 3|x = 'a\\|b'|\x0c#|é = 1#é|y\r"""
LINES = st.sampled_from(re.split(r"[|\n]", FRAGMENTS))


@settings(deadline=None)
@given(st.lists(LINES, max_size=8).map("\n".join))
def test_a_program_without_its_comments_is_the_same_program(source):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            tree = ast.dump(ast.parse(source))
        except SyntaxError:
            return
        assert ast.dump(ast.parse(without_comments(source.encode()))) == tree


def test_another_limit_or_test_is_another_pair(judge):
    program = f"import time\nwhile time.process_time() < 0.2: pass\nprint(42)  # {time.monotonic()}"
    verdicts = judge.judge_many(
        [(program, stdio(("", answer), time_limit=limit)) for answer in ("42", "41") for limit in (0.1, 1.0)]
    )
    assert [v.error_type for v in verdicts] == ["timeout", "success", "timeout", "wrong_answer"]


def test_stats_count(judge):
    before = judge.stats()
    judge.judge(f"{DOUBLED}# {time.monotonic()}", DOUBLE)
    after = judge.stats()
    assert after["tests"] - before["tests"] == 5
    assert after["judge_seconds"] > before["judge_seconds"]
    assert after["wall_seconds"] > before["wall_seconds"]
    assert set(after) == {
        *("programs", "tests", "cache_hits", "retries", "respawns", "judge_seconds", "wall_seconds", "busy_seconds"),
        *("queue_length", "queue_length_max", "queue_length_mean", "wait_mean", "wait_p50", "wait_p95"),
        *("tests_per_s", "utilisation"),
    }
    assert 0 < after["utilisation"] <= 1
    assert after["tests_per_s"] > 0
    assert after["queue_length"] == 0


def test_the_queue_can_be_watched():
    with Judge(workers=1) as judge:
        pairs = [(f"import time\ntime.sleep(0.2)\nprint(42)  # {n}", ANSWER) for n in range(5)]
        thread = threading.Thread(target=judge.judge_many, args=(pairs,))
        thread.start()
        seen = set()
        while thread.is_alive():
            seen.add(judge.stats()["queue_length"])
            time.sleep(0.02)
        assert {3, 2, 1} <= seen
        assert max(seen) <= 5


def test_programs_that_wait_are_counted_and_timed():
    with Judge(workers=1) as judge:
        judge.judge_many([(f"import time\ntime.sleep(0.1)\nprint(42)  # {n}", ANSWER) for n in range(5)])
        stats = judge.stats()
        assert stats["queue_length"] == 0
        assert stats["queue_length_max"] == 5
        assert 0.5 < stats["queue_length_mean"] < 3.5  # 4, 3, 2, 1 and none while one runs
        assert 0.2 <= stats["wait_mean"] < stats["wait_p95"]
        assert 0.2 <= stats["wait_p50"] < stats["wait_p95"] < stats["wall_seconds"]


def test_a_stream_takes_pairs_as_it_gets_on(judge):
    taken = 0

    def pairs():
        nonlocal taken
        while True:  # without an end
            taken += 1
            yield f"print({taken})", ANSWER

    verdicts = judge.judge_stream(pairs())
    assert taken == 0
    assert [next(verdicts).accepted for _ in range(45)] == [n == 42 for n in range(1, 46)]
    assert taken < 60
    verdicts.close()
    assert judge.judge("print(42)", ANSWER).accepted


def test_verdicts_behind_a_slow_program_wait_in_a_bounded_line(judge):
    slow = "import time\ntime.sleep(1)\nprint(42)"
    pairs = iter([(slow, ANSWER)] + [(" " * n, ANSWER) for n in range(5 * AHEAD)])
    verdicts = judge.judge_stream(pairs)
    assert next(verdicts).accepted
    assert len(list(pairs)) > 3 * AHEAD
    verdicts.close()


def test_a_wrong_pair_ends_a_stream_and_leaves_nothing_running():
    others = descendants(os.getpid())
    with Judge(workers=2) as judge:
        endless = [(f"while {n + 1}: pass", stdio(("", ""), time_limit=20.0)) for n in range(2)]
        with pytest.raises(TypeError, match="not NoneType"):
            judge.judge_many(pair for pair in [("print(42)", ANSWER), endless[0], (None, ANSWER), endless[1]])
        assert at_most(2 * IDLE, others)
        assert judge.judge("print(42)", ANSWER).accepted


def test_who_iterates_over_a_stream_can_not_judge_meanwhile(judge):
    verdicts = judge.judge_stream([("print(42)", ANSWER), ("print(41)", ANSWER)])
    assert next(verdicts).accepted
    with pytest.raises(RuntimeError, match="take all verdicts"):
        judge.judge("print(42)", ANSWER)
    assert not next(verdicts).accepted
    assert next(verdicts, None) is None
    assert judge.judge("print(42)", ANSWER).accepted


def test_a_judge_that_is_closed_ends_its_stream():
    with Judge(workers=1) as judge:
        verdicts = judge.judge_stream((f"print(42)  # {n}", ANSWER) for n in range(9))
        next(verdicts)
    with pytest.raises(RuntimeError, match="was closed"):
        next(verdicts)


def test_many_problems_are_more_than_are_kept_ready(judge):
    problems = [stdio((f"{n}\n", f"{2 * n}\n")) for n in range(150)]
    assert all(verdict.accepted for verdict in judge.judge_many([(DOUBLED, problem) for problem in problems]))


@pytest.mark.parametrize(
    ("problem", "message"),
    [
        (stdio(), "has no tests"),
        (Problem("p", "d", "s", "interactive", "?", ANSWER.tests), "of kind 'interactive'"),
        (stdio(("", ""), time_limit=0), "time limit of 0 s"),
        (replace(ANSWER, checker="fuzzy"), "wants the checker 'fuzzy'"),
        (stdio(("", ""), memory_limit=-1), "memory limit of -1 MiB"),
    ],
)
def test_a_problem_that_can_not_judge_is_an_error_never_a_pass(judge, problem, message):
    with pytest.raises(ValueError, match=message):
        judge.judge("print(42)", problem)


def test_a_program_is_a_string(judge):
    with pytest.raises(TypeError, match="not NoneType"):
        judge.judge(None, ANSWER)


def test_a_closed_judge_says_so():
    judge = Judge(workers=1)
    judge.close()
    with pytest.raises(RuntimeError, match="closed"):
        judge.judge("print(42)", ANSWER)


def test_at_least_one_worker():
    with pytest.raises(ValueError, match="at least 1"):
        Judge(workers=0)
    with pytest.raises(ValueError, match="answer_block must be one of last, first, longest, not 'best'"):
        Judge(answer_block="best")


def test_no_more_programs_run_at_once_than_there_are_workers():
    others = descendants(os.getpid())
    with Judge(workers=2) as judge:
        busy: list[int] = []
        thread = threading.Thread(
            target=judge.judge_many, args=([(f"import time\ntime.sleep(0.3)  # {n}", ANSWER) for n in range(6)],)
        )
        thread.start()
        while thread.is_alive():
            busy.append(len(descendants(os.getpid()) - others))
            time.sleep(0.02)
        assert max(busy) <= 2 * BUSY


def test_waiting_costs_no_cpu():
    with Judge(workers=2) as judge:
        start = time.process_time()
        judge.judge_many([(f"import time\ntime.sleep(1)  # {n}", ANSWER) for n in range(2)])
        assert time.process_time() - start < 0.1


def test_several_threads_may_share_a_judge(judge):
    verdicts: dict[int, list[Verdict]] = {}

    def work(number: int) -> None:
        verdicts[number] = judge.judge_many([(f"print({n})  # {number}", ANSWER) for n in (41, 42, 43)])

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all([v.accepted for v in verdicts[n]] == [False, True, False] for n in range(4))


def test_workers_are_slim():
    """Neither torch nor anything of this process is in them: less than 16 MiB, the plain Python, its own session."""
    with Judge(workers=1):
        workers = descendants(os.getpid())
        assert workers
        for pid in workers:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                if b"zygote.py" not in file.read():
                    continue
            with open(f"/proc/{pid}/status") as file:
                resident = next(int(line.split()[1]) for line in file if line.startswith("VmRSS"))
            assert resident < 16 << 10
            assert os.getsid(pid) != os.getsid(0)


def kill_one_below(pid: int, spared: set[int], chance: random.Random) -> bool:
    """SIGKILL for one process below `pid`. By descriptor: between two looks a number may get another owner."""
    with contextlib.suppress(ProcessLookupError, IndexError):
        victim = chance.choice(sorted(descendants(pid) - spared))
        descriptor = os.pidfd_open(victim)
        try:
            if victim in descendants(pid):
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
                return True
        finally:
            os.close(descriptor)
    return False


def test_killed_workers_make_no_wrong_verdict():
    others = descendants(os.getpid())
    with Judge(workers=2) as judge:
        pairs = [(f"{DOUBLED}# {n}", DOUBLE) for n in range(40)]
        pairs += [(f"def f(x): return x * x  # {n}", SQUARE) for n in range(40)]
        done = threading.Event()

        def kill_now_and_then() -> None:
            chance, hits = random.Random(0), 0
            while not done.wait(0.1) and hits < 40:  # where starting a worker takes longer, nothing would be judged
                hits += kill_one_below(os.getpid(), others, chance)

        killer = threading.Thread(target=kill_now_and_then)
        killer.start()
        try:
            verdicts = judge.judge_many(pairs)
        finally:
            done.set()
            killer.join()
        assert {verdict.error_type for verdict in verdicts} <= {"success", "api_error"}
        assert judge.stats()["retries"] > 0
        assert judge.judge("print(42)", ANSWER).accepted, "dead workers are replaced"


def test_a_judge_that_fails_again_and_again_says_api_error(monkeypatch):
    """No worker can judge this problem: its plan is damaged."""

    def damaged(test, problem):
        text, cases = plan(test, problem)
        return text.replace(b"damaged", b"'"), cases

    monkeypatch.setattr(prepared, "plan", damaged)
    with Judge(workers=2) as judge:
        pairs = [("def f(x): return x", function("assert f(1), 'damaged'")), ("def f(x): return x * x", SQUARE)]
        for hits in (0, 1):  # an api_error is not remembered, the other verdict is
            verdicts = judge.judge_many(pairs)
            assert [verdict.error_type for verdict in verdicts] == ["api_error", "success"]
            assert verdicts[0].feedback.startswith("The judge failed: ")
            assert judge.stats()["cache_hits"] == hits
            assert judge.stats()["retries"] == (ATTEMPTS - 1) * (hits + 1)


def test_closing_leaves_no_process_behind():
    before = descendants(os.getpid())
    with Judge(workers=2) as judge:
        judge.judge(DOUBLED, DOUBLE)
        started = descendants(os.getpid()) - before
        assert len(started) >= 4
    assert gone(started)


SCRIPT = """
from lib.judge import Judge
from lib.problems import Problem, Test
problem = Problem("p", "d", "s", "stdio", "?", (Test("", "42"),), time_limit=30.0)
with Judge(workers=2) as judge:
    print("ready", flush=True)
    judge.judge_many([(f"while {n + 1}: pass", problem) for n in range(4)])
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL, signal.SIGTERM])
def test_a_parent_that_is_killed_leaves_no_process_behind(number):
    parent = subprocess.Popen([sys.executable, "-c", SCRIPT], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    with parent:
        assert parent.stdout.readline() == b"ready\n"
        below: set[int] = set()
        while len(below) < 2 * BUSY:
            time.sleep(0.05)
            below = descendants(parent.pid)
        parent.send_signal(number)
        parent.wait(timeout=10)
        assert gone(below)


def test_an_interrupted_judge_can_go_on():
    with Judge(workers=2) as judge:
        timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            judge.judge_many([(f"while {n + 1}: pass", stdio(("", ""), time_limit=20.0)) for n in range(2)])
        assert judge.judge("print(42)", ANSWER).accepted


def test_descriptors_do_not_pile_up():
    with Judge(workers=2) as judge:
        judge.judge_many([(DOUBLED + f"# {n}", DOUBLE) for n in range(20)])
        open_before = len(os.listdir("/proc/self/fd"))
        judge.judge_many([(DOUBLED + f"# {n}", stdio((f"{n}\n", f"{2 * n}\n"))) for n in range(150)])
        assert len(os.listdir("/proc/self/fd")) <= open_before + 64


def test_it_endures_on_a_small_scale():
    """Full size, and with kills at random: `python tests/bench/endurance.py`."""
    bench = Path(__file__).resolve().parents[1] / "bench" / "endurance.py"
    command = [sys.executable, str(bench), "busy", "memory", "--scale", "0.003"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [line.split()[:2] for line in done.stdout.splitlines()] == [["busy", "holds"], ["memory", "holds"]]
