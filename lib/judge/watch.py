"""Waits for forked children and holds them to their limits. Runs inside the sandbox only. Times in seconds."""

import os
import select
import time
from signal import SIGKILL

_PROBE = 0.01  # CPU seconds


def wait(child: int, cpu_limit: float, asleep_limit: float, wall_limit: float, program_child: int = 0):
    """Waits for a child, asleep. Returns ("" | "cpu" | "wall", wait status, resource usage).

    A child that sleeps gets on by no CPU time; but neither does one on a machine so busy that nobody gets any. So a
    second without progress counts as asleep by as much as this process would have got of a CPU.
    `program_child`: what the child, which runs tests, calls. The limits hold for each of the two.
    """
    watched = [process for process in (child, program_child) if process]
    start = last_time = time.monotonic()
    used = last_used = asleep = 0.0
    killed = ""
    descriptor = os.pidfd_open(child)
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    while not poll.poll(max(1.0, min(cpu_limit - used, wall_limit, 1.0) * 1000)):
        try:
            times, now = [_cpu_time(process) for process in watched], time.monotonic()
        except OSError:  # it ended just now
            continue
        used, total = max(times), sum(times)
        if now - last_time >= 1.0:
            if total - last_used < 0.01 * (now - last_time):
                asleep += (now - last_time) * _share()
            last_time, last_used = now, total
        if used >= cpu_limit:
            killed = "cpu"
        elif asleep >= asleep_limit or now - start >= wall_limit:
            killed = "wall"
        if killed:
            for process in watched:
                os.kill(process, SIGKILL)
            break
    os.close(descriptor)
    _, status, usage = os.wait4(child, 0)
    return killed, status, usage


def end(child: int, grace: float) -> int | None:
    """Ends a program whose tests are through. Returns its exit status if it had ended by itself, within `grace`."""
    poll = select.poll()
    descriptor = os.pidfd_open(child)
    poll.register(descriptor, select.POLLIN)
    ended = poll.poll(grace * 1000)
    os.close(descriptor)
    if not ended:
        os.kill(child, SIGKILL)
        return None
    found = os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    return found.si_status if found.si_code == os.CLD_EXITED else -found.si_status


def cpu(usage) -> float:
    return usage.ru_utime + usage.ru_stime


def memory(usage) -> int:
    """Bytes."""
    return usage.ru_maxrss * 1024


def _cpu_time(process: int) -> float:
    return time.clock_gettime((~process) << 3 | 2)  # its CPU clock, see clock_getcpuclockid(3)


def _share() -> float:
    """What a process that computes gets of a CPU just now, in [0, 1]: tried out."""
    start, before = time.monotonic(), time.process_time()
    while True:
        got, wall = time.process_time() - before, time.monotonic() - start
        if got >= _PROBE or wall >= 1.0:
            return min(1.0, got / wall)
