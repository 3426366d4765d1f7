"""Waits for forked children and enforces their limits. Times in seconds."""

import os
import select
import time
from signal import SIGKILL

_PROBE = 0.01  # CPU seconds


def wait(child: int, cpu_limit: float, asleep_limit: float, wall_limit: float, program_child: int = 0, extend=None):
    """Waits for a child, asleep. Returns ("" | "cpu" | "wall": the limit at which it was killed, wait status, usage).

    A child that sleeps uses no CPU time; but neither does a child on a machine so busy that it gets none. So a second
    without progress counts as asleep only by the share of a CPU that this process would have got.
    `program_child`: the process that the child, which runs tests, calls. The limits hold for each of the two.
    `extend()` is asked once, when a limit is reached: for three other limits, or None.
    """
    watched = [process for process in (child, program_child) if process]
    start = last_time = time.monotonic()
    used = last_used = asleep = 0.0
    killed = ""
    descriptor, poll = _poll(child)
    while not poll.poll(max(1.0, min(cpu_limit - used, wall_limit, 1.0) * 1000)):
        try:
            times, now = [cpu_time(process) for process in watched], time.monotonic()
        except OSError:  # it has just ended
            continue
        used, total = max(times), sum(times)
        if now - last_time >= 1.0:
            if total - last_used < 0.01 * (now - last_time):
                asleep += (now - last_time) * cpu_share()
            last_time, last_used = now, total
        if used >= cpu_limit:
            killed = "cpu"
        elif asleep >= asleep_limit or now - start >= wall_limit:
            killed = "wall"
        if killed and extend and (limits := extend()):
            (cpu_limit, asleep_limit, wall_limit), extend, killed = limits, None, ""
        if killed:
            for process in watched:
                os.kill(process, SIGKILL)
            break
    os.close(descriptor)
    _, status, usage = os.wait4(child, 0)
    return killed, status, usage


def end(child: int, grace: float) -> int | None:
    """Ends a program whose tests are through. Returns its exit status if it ended by itself within `grace`."""
    descriptor, poll = _poll(child)
    ended = poll.poll(grace * 1000)
    os.close(descriptor)
    if not ended:
        os.kill(child, SIGKILL)
        return None
    result = os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    assert result is not None  # without WNOHANG
    return result.si_status if result.si_code == os.CLD_EXITED else -result.si_status


def cpu(usage) -> float:
    return usage.ru_utime + usage.ru_stime


def memory(usage) -> int:
    """Peak memory in bytes."""
    return usage.ru_maxrss * 1024


def _poll(child: int) -> tuple[int, select.poll]:
    """A descriptor of the child, to be closed, and a poll that returns when the child has ended."""
    descriptor, poll = os.pidfd_open(child), select.poll()
    poll.register(descriptor, select.POLLIN)
    return descriptor, poll


def cpu_time(process: int) -> float:
    return time.clock_gettime((~process) << 3 | 2)  # its CPU clock, see clock_getcpuclockid(3)


def cpu_share() -> float:
    """The share of a CPU that a computing process gets at the moment, in [0, 1], measured by computing."""
    start, before = time.monotonic(), time.process_time()
    while True:
        used, wall = time.process_time() - before, time.monotonic() - start
        if used >= _PROBE or wall >= 1.0:
            return min(1.0, used / wall)
