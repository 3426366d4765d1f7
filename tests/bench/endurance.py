"""Does the judge endure? `python tests/bench/endurance.py [kills busy memory] [--scale 0.01]` prints a row per check.

- kills: 5,000 programs judged while processes below the judge are killed with SIGKILL, at random, one each `--interval`
  seconds. All verdicts are right, none is lost, nothing is left running.
- busy: 10,000 verdicts with eight busy processes beside them equal the 10,000 without, times aside.
- memory: after 20,000 programs this process's memory is within 10 % of what it was after 2,000; so are its files and
  its processes.

`--scale` makes them all smaller. Exit status: 0, or 1 if a check fails. Full size takes half an hour.
"""

import argparse
import contextlib
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Iterator

from lib.judge import Judge, Verdict
from lib.judge.conformance.judge_checks import busy_processes, without_times
from lib.problems import Problem, Test

KILLS, BUSY, MEMORY, WARM = 5_000, 10_000, 20_000, 2_000  # programs
NEIGHBOURS = 8  # busy processes

_STDIO = tuple(Test(f"{n}\n", f"{2 * n}\n", "public") for n in range(1, 9))
_FUNCTION = tuple(Test(f"assert f({n}) == {n * n}", visibility="public") for n in range(3))
DOUBLE = Problem("endurance/double", "bench", "test", "stdio", "", _STDIO, time_limit=0.1)
SQUARE = Problem("endurance/square", "bench", "test", "function", "", _FUNCTION, time_limit=0.1)
# Programs and how they end; of those that burn CPU, few.
_COMMON = (
    ("print(2 * int(input()))", DOUBLE, "success"),
    ("import random\nprint(2 * int(input()))", DOUBLE, "success"),
    ("def f(x): return x * x", SQUARE, "success"),
    ("class A:\n    def __init__(self, x): self.x = x\ndef f(x): return A(x).x ** 2", SQUARE, "success"),
    ("n = int(input())\nprint(2 * n if n < 7 else 0)", DOUBLE, "wrong_answer"),
    ("def f(x): return x + x", SQUARE, "wrong_answer"),
    ("print(2 * int(input())", DOUBLE, "syntax_error"),
    ("n = int(input())\nprint(2 * n // (n - 4))", DOUBLE, "runtime_error"),
    ("def f(x): return [x * x][x - 1]", SQUARE, "runtime_error"),
    ("import os\nprint(2 * int(input()))\nos.kill(os.getpid(), 9)", DOUBLE, "runtime_error"),
)
_RARE = (("while True: pass", DOUBLE, "timeout"), ("x = bytearray(1 << 40)", DOUBLE, "runtime_error"))


def programs(count: int, seed: str) -> Iterator[tuple[str, Problem, str]]:
    """Programs, no two equal, with the error type that is right for each."""
    for number in range(count):
        rare = number % 50 == 49
        source, problem, ending = _RARE[number // 50 % 2] if rare else _COMMON[number % 10]
        yield f"{source}\n# {seed} {number}", problem, ending


def judged(judge: Judge, count: int, seed: str, name: str) -> Iterator[tuple[Verdict, str]]:
    """Verdicts with the ending that is right, shown as they come."""
    expected = (ending for _, _, ending in programs(count, seed))
    stream = judge.judge_stream((source, problem) for source, problem, _ in programs(count, seed))
    start = time.monotonic()
    for done, (verdict, ending) in enumerate(zip(stream, expected, strict=True), start=1):
        if done % max(1, count // 20) == 0:
            print(f"  {name}: {done} of {count}, {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)
        yield verdict, ending


def descendants() -> dict[int, str]:
    """Processes below this one with their names, zombies left out."""
    found, parents, names = {}, {}, {}
    for entry in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{entry}/stat") as file:
            before, _, after = file.read().rpartition(")")
            state, parent = after.split()[:2]
            if state != "Z":
                parents[int(entry)], names[int(entry)] = int(parent), before.partition("(")[2]
    below = {os.getpid()}
    while below:
        below = {pid for pid, parent in parents.items() if parent in below} - found.keys()
        found |= {pid: names[pid] for pid in below}
    return found


def kills(count: int, interval: float) -> tuple[bool, str]:
    before, hits, done = set(descendants()), 0, threading.Event()

    def kill_now_and_then() -> None:
        nonlocal hits
        chance = random.Random(0)
        while not done.wait(interval):
            with contextlib.suppress(ProcessLookupError, IndexError):
                victim = chance.choice(sorted(set(descendants()) - before))
                descriptor = os.pidfd_open(victim)  # between two looks a number may get another owner
                try:
                    if victim in descendants():
                        signal.pidfd_send_signal(descriptor, signal.SIGKILL)
                        hits += 1
                finally:
                    os.close(descriptor)

    with Judge(workers=2) as judge:
        killer = threading.Thread(target=kill_now_and_then)
        killer.start()
        try:
            found = [(verdict.error_type, ending) for verdict, ending in judged(judge, count, "kills", "kills")]
        finally:
            done.set()
            killer.join()
        stats = judge.stats()
    time.sleep(1)
    left = set(descendants()) - before
    wrong = [pair for pair in found if pair[0] != pair[1]]
    told = f"{hits} kills, {stats['retries']} retries, {stats['respawns']} respawns; "
    told += f"{len(found) - len(wrong)} of {count} right {wrong[:3] or ''}, {len(left)} processes left"
    return not wrong and not left and len(found) == count and hits > 0, told


def busy(count: int) -> tuple[bool, str]:
    with Judge(workers=2) as judge:
        alone = [without_times(verdict) for verdict, _ in judged(judge, count, "busy", "alone")]
    with busy_processes(NEIGHBOURS), Judge(workers=2) as judge:
        beside = [(without_times(v), ending) for v, ending in judged(judge, count, "busy", f"beside {NEIGHBOURS}")]
    differ = [(a.error_type, b.error_type) for a, (b, _) in zip(alone, beside, strict=True) if a != b]
    wrong = sum(verdict.error_type != ending for verdict, ending in beside)
    return not differ and not wrong, f"{len(differ)} of {count} differ {differ[:3] or ''}, {wrong} wrong"


def memory(count: int) -> tuple[bool, str]:
    warm, states = max(1, count * WARM // MEMORY), []
    with Judge(workers=2) as judge:
        for done, _ in enumerate(judged(judge, count, "memory", "memory"), start=1):
            if done in (warm, count):
                pages = int(open("/proc/self/statm").read().split()[1])  # noqa: SIM115
                slim = sum("python" in name for name in descendants().values())
                states.append((pages * os.sysconf("SC_PAGESIZE") / 2**20, len(os.listdir("/proc/self/fd")), slim))
    (rss, files, processes), (rss_end, files_end, processes_end) = states
    told = f"after {warm} and {count} programs: {rss:.1f} and {rss_end:.1f} MiB, {files} and {files_end} files, "
    told += f"{processes} and {processes_end} processes"
    steady = abs(files_end - files) <= 4 and abs(processes_end - processes) <= 4  # programs may be running just now
    return abs(rss_end / rss - 1) <= 0.1 and steady, told


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("checks", nargs="*", default=["kills", "busy", "memory"], help="kills, busy, memory")
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--interval", type=float, default=0.1, help="longer on a machine that is slow to start workers")
    chosen = parser.parse_args()
    sizes = {"kills": KILLS, "busy": BUSY, "memory": MEMORY}
    rows = []
    for name in chosen.checks:
        start = time.monotonic()
        more = (chosen.interval,) if name == "kills" else ()
        right, told = globals()[name](max(50, round(sizes[name] * chosen.scale)), *more)
        rows.append((right, f"{name:<8}{'holds' if right else 'FAILS':<7}{time.monotonic() - start:>6.0f} s  {told}"))
        print(rows[-1][1], flush=True)
    return int(not all(right for right, _ in rows))


if __name__ == "__main__":
    sys.exit(main())
