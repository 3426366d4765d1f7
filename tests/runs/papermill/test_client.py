"""Signals during an execution: they reach the kernel, and nothing is raised in the middle of the event loop."""

import os
import signal
import subprocess
import sys

import pytest

from lib.runs.papermill import client
from lib.runs.papermill.client import Signals

BOTH = pytest.mark.parametrize(("number", "raised"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)])


def kernel(on_interrupt: str) -> subprocess.Popen:
    """A process in a group of its own that has begun to sleep."""
    program = f"import signal, time\nsignal.signal(signal.SIGINT, {on_interrupt})\nprint(flush=True)\ntime.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", program], start_new_session=True, stdout=subprocess.PIPE)
    process.stdout.readline()
    return process


@BOTH
def test_before_the_kernel_has_started_a_signal_ends_the_execution_at_once(number, raised):
    with pytest.raises(raised), Signals():
        os.kill(os.getpid(), number)


@BOTH
def test_a_signal_interrupts_the_kernel_and_raises_nothing_here(number, raised):
    process = kernel("signal.default_int_handler")
    with Signals() as signals:
        signals.group = process.pid
        os.kill(os.getpid(), number)
        os.kill(os.getpid(), signal.SIGINT)  # the next ones do nothing
        assert isinstance(signals.error(), raised)
    assert process.wait(10) in (1, -signal.SIGINT)


def test_a_kernel_that_does_not_stop_is_killed(monkeypatch):
    monkeypatch.setattr(client, "GRACE", 0.2)
    process = kernel("signal.SIG_IGN")
    with Signals() as signals:
        signals.group = process.pid
        os.kill(os.getpid(), signal.SIGINT)
        assert process.wait(10) == -signal.SIGKILL
