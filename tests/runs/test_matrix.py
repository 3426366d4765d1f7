"""The matrix: order, what is due, failures, Ctrl-C; through the real papermill command where it executes."""

import contextlib
import io
import os
import pty
import signal
import subprocess
import sys
import time

import pytest

from lib.runs.matrix import main

START = 'from lib.runs import start\nrun = start("{}", globals())'
FINISH = 'run.finish({"headline": "all well"})'


@pytest.fixture
def chain(repository):
    """A baseline, a training that reads it, two reports that read the training."""
    work = 'run.save_json("metrics.json", {"solved": seed})'
    repository.notebook("03_baseline", START.format("03_baseline"), work, FINISH)
    read = "import json\nsolved = json.loads((run.upstream(policy) / 'metrics.json').read_text())"
    policy = 'policy: str = "03_baseline-s0"  # what is trained\n'
    repository.notebook("10_sft", START.format("10_sft"), read, work, FINISH, parameters=policy)
    repository.notebook(
        "90_report", START.format("90_report"), FINISH, parameters='runs: str = "10_sft-s0"  # what is shown\n'
    )
    repository.params("03_baseline-s0")
    repository.params("10_sft-s0", "policy: 03_baseline-s0\n")
    repository.params("90_report-s0", "runs: 03_baseline-s0, 10_sft-s0\n")
    return repository


def matrix(repository, *arguments: str) -> tuple[int, list[str]]:
    """Exit code and printed lines of the real command."""
    done = repository.python("-m", "lib.matrix", "tiny", *arguments)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, (done.stdout + done.stderr).splitlines()


def plan(repository, *arguments: str) -> dict[str, str]:
    """Run -> reason, as --dry-run prints them."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):  # here, where the repository is the root, because a process takes seconds
        assert main(["tiny", "--dry-run", *arguments]) == 0
    return dict(line.split(maxsplit=1) for line in printed.getvalue().splitlines()[:-1])


def status(lines: list[str]) -> dict[str, str]:
    """Run -> the rest of its row in the final table."""
    rule = max(n for n, line in enumerate(lines) if line.startswith("----"))
    return dict(line.split(maxsplit=1) for line in lines[rule + 1 :] if line.strip())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["nowhere"], "no preset 'nowhere'"), (["tiny", "77"], "no run matches '77'; the runs are: 03")],
)
def test_what_is_not_there_is_said(chain, arguments, message, capsys):
    assert main(arguments) == 2
    assert message in capsys.readouterr().err


def test_runs_are_executed_once_and_again_when_their_inputs_change(chain):
    assert set(plan(chain).values()) == {"never run here"}
    code, lines = matrix(chain)
    assert code == 0, lines
    assert [line.split(" in ")[0] for line in lines if " in " in line] == [
        "[1/3] 03_baseline-s0 done",
        "[2/3] 10_sft-s0 done",
        "[3/3] 90_report-s0 done",
    ]
    row = status(lines)["10_sft-s0"]
    assert row.startswith("done")
    assert row.endswith("all well  artifacts/tiny/10_sft-s0/10_sft.ipynb")
    assert (chain.folder("10_sft-s0") / "papermill.log").is_file()
    assert chain.json("10_sft-s0", "run_info.json")["status"] == "finished"
    assert not list((chain.root / "artifacts/tiny").glob(".*"))

    assert set(plan(chain).values()) == {"up to date"}
    code, lines = matrix(chain)
    assert code == 0
    assert all(row.startswith("up to date") for row in status(lines).values())

    chain.write("params/tiny/10_sft-s0.yaml", "policy: 03_baseline-s0\nseed: 0\n")
    assert set(plan(chain).values()) == {"up to date"}, "the seed was 0 by default"
    chain.notebook("03_baseline", START.format("03_baseline"), 'run.save_json("metrics.json", {})', FINISH)
    assert plan(chain) == {
        "03_baseline-s0": "changed: notebook",
        "10_sft-s0": "changed: upstream 03_baseline-s0",
        "90_report-s0": "changed: upstream 03_baseline-s0, upstream 10_sft-s0",
    }
    assert plan(chain, "03_baseline") == {"03_baseline-s0": "changed: notebook"}
    (chain.folder("10_sft-s0") / "metrics.json").unlink()
    chain.folder("03_baseline-s0").rename(chain.folder("elsewhere"))
    assert plan(chain)["03_baseline-s0"] == "never run here"


def test_a_run_that_ran_again_by_hand_makes_those_that_read_it_due(chain):
    assert matrix(chain, "10_sft")[0] == 0
    done = chain.python("-m", "papermill", "notebooks/03_baseline.ipynb")
    assert done.returncode == 0, done.stderr
    assert plan(chain, "10_sft") == {"03_baseline-s0": "up to date", "10_sft-s0": "upstream 03_baseline-s0 ran again"}


def test_after_a_failure_independent_runs_go_on_and_dependent_ones_wait(chain):
    chain.notebook(
        "10_sft", START.format("10_sft"), "raise RuntimeError('no')", parameters='policy: str = "base"  # .\n'
    )
    chain.notebook("11_other", START.format("11_other"), FINISH)
    chain.notebook("12_endless", START.format("12_endless"), "1 + 1")
    chain.params("11_other-s0")
    chain.params("12_endless-s0")
    code, lines = matrix(chain, "--jobs", "2")
    assert code == 1
    rows = status(lines)
    assert rows["03_baseline-s0"].startswith("done")
    assert rows["10_sft-s0"].startswith("failed")
    assert "RuntimeError: no  " in rows["10_sft-s0"]
    assert rows["10_sft-s0"].endswith("artifacts/tiny/10_sft-s0.failed/10_sft.ipynb")
    assert "RuntimeError: no" in (chain.folder("10_sft-s0.failed") / "papermill.log").read_text()
    assert rows["90_report-s0"].split() == ["waits", "for", "10_sft-s0"]
    assert rows["11_other-s0"].startswith("done")
    assert "did it call run.finish" in rows["12_endless-s0"]


@pytest.fixture
def slow(chain):
    """The training now sleeps, and says when it does."""
    sleep = '(run.folder / "asleep").touch()\nimport time; time.sleep(600)'
    policy = 'policy: str = "base"  # what is trained\n'
    chain.notebook("10_sft", START.format("10_sft"), sleep, FINISH, parameters=policy)
    return chain


def wait_for(condition, seconds: float = 400.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def processes_in(folder) -> list[str]:
    """Command lines of processes that work in a folder."""
    found = []
    for process in (entry for entry in os.listdir("/proc") if entry.isdigit()):
        try:
            if os.readlink(f"/proc/{process}/cwd").startswith(str(folder)):
                with open(f"/proc/{process}/cmdline") as file:
                    found.append(file.read().replace("\0", " "))
        except OSError:
            continue
    return found


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_an_interrupted_matrix_ends_its_children_and_goes_on_at_the_next_call(slow, number):
    command = [sys.executable, "-m", "lib.matrix", "tiny"]
    process = subprocess.Popen(
        command, cwd=slow.root, env=slow.environment(), stdout=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL
    )
    wait_for((slow.folder("10_sft-s0.partial") / "asleep").exists)
    process.send_signal(number)
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "The same command goes on from here." in printed
    rows = status(printed.split("\n\nInterrupted")[0].splitlines())
    assert rows["03_baseline-s0"].startswith("done")
    assert rows["10_sft-s0"].startswith("interrupted")
    assert rows["90_report-s0"] == "not started"
    wait_for(lambda: not processes_in(slow.root), seconds=10)
    assert not list((slow.root / "artifacts/tiny").glob("*.partial"))
    assert plan(slow) == {
        "03_baseline-s0": "up to date",
        "10_sft-s0": "never run here",
        "90_report-s0": "never run here",
    }


def test_ctrl_c_on_a_terminal_reaches_the_children_once_and_a_bar_shows_what_runs(slow):
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "lib.matrix", "tiny", "10_sft"],
        cwd=slow.root,
        env={**slow.environment(), "TERM": "xterm", "COLUMNS": "150"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        preexec_fn=lambda: __import__("fcntl").ioctl(0, __import__("termios").TIOCSCTTY, 0),
    )
    os.close(theirs)
    wait_for((slow.folder("10_sft-s0.partial") / "asleep").exists)
    os.write(ours, b"\x03")
    printed = b""
    while True:
        try:
            printed += os.read(ours, 1 << 16)
        except OSError:  # the other end is closed
            break
    assert process.wait(60) == 130
    os.close(ours)
    text = printed.decode()
    assert "1/2" in text
    assert "10_sft-s0 " in text
    assert "interrupted" in text
    notebook = (slow.folder("10_sft-s0.failed") / "10_sft.ipynb").read_text()
    assert "nterrupt" in notebook
