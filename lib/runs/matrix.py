"""Executes the runs of a preset through papermill, in the order that their parameters imply.

    python -m lib.matrix tiny                      every run that is not up to date
    python -m lib.matrix tiny 30_grpo '*-s1'       runs whose names begin so or match, and the runs that they need
    python -m lib.matrix tiny --dry-run            the runs that would be executed, and why

A run is up to date if its inputs are those of its last execution on this machine (`lib.runs.fingerprint`). If a run
fails, the runs that need it wait and the others go on. Ctrl-C ends the running processes; the next call continues.
"""

import argparse
import graphlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from . import paths
from .fingerprint import Fingerprints, finish_mark, notebook_of
from .graph import GraphError, graph, select

LOG = "papermill.log"
PATIENCE = 30.0  # seconds for an interrupted papermill to stop its kernel and write its notebook


@dataclass
class Outcome:
    """The result of a run: status `done`, `up to date`, `failed`, `waits`, `interrupted` or `not started`."""

    status: str
    seconds: float | None = None
    note: str = ""  # the run's headline, or the error
    file: Path | None = None  # the file to read


class Matrix:
    """One call: decides which runs to execute, executes them with at most `jobs` processes, keeps the outcomes."""

    def __init__(self, preset: str, needs: dict[str, list[str]], runs: list[str], jobs: int = 1):
        self.preset, self.runs, self.jobs = preset, runs, jobs
        self.needs = {run: needs[run] for run in runs}
        self.outcomes: dict[str, Outcome] = {}
        self._folder = paths.artifacts() / preset
        self._processes: dict[str, tuple[subprocess.Popen, float]] = {}  # run -> papermill, when it began
        self._stopping = False

    def plan(self) -> dict[str, list[str]]:
        """Each run with the reasons to execute it; no reason: up to date. Executes nothing."""
        fingerprints, plan = Fingerprints(self.preset), {}
        for run in self.runs:
            plan[run] = fingerprints.reasons(run) or [f"upstream {name}" for name in self.needs[run] if plan[name]]
        return plan

    def execute(self) -> None:
        """Executes the runs that are not up to date. Lets a KeyboardInterrupt pass after every child has ended."""
        sorter, working = graphlib.TopologicalSorter(self.needs), dict[Future, str]()
        sorter.prepare()
        with (
            tqdm(total=len(self.runs), unit="run", disable=not sys.stderr.isatty(), leave=False) as bar,
            ThreadPoolExecutor(self.jobs) as threads,
        ):
            try:
                while sorter.is_active():
                    for run in sorted(sorter.get_ready(), key=self.runs.index):
                        working[threads.submit(self._execute, run)] = run
                    for future in wait(working, timeout=1, return_when=FIRST_COMPLETED).done:
                        run = working.pop(future)
                        self.outcomes[run] = future.result()
                        sorter.done(run)
                        bar.update()
                    clocks = {run: _clock(time.monotonic() - began) for run, (_, began) in [*self._processes.items()]}
                    bar.set_postfix_str(", ".join(f"{run} {clock}" for run, clock in clocks.items()))
            except BaseException:
                self._stop()
                raise
            finally:
                self.outcomes |= {run: future.result() for future, run in working.items() if self._stopping}

    def _execute(self, run: str) -> Outcome:
        """Executes one run, in a thread; returns at once if there is no need to, or no sense in it."""
        if self._stopping:
            return Outcome("not started")
        blocked = [name for name in self.needs[run] if self.outcomes[name].status in ("failed", "waits")]
        if blocked:
            return Outcome("waits", note=f"for {', '.join(blocked)}")
        try:
            reasons = Fingerprints(self.preset).reasons(run)  # read again: the runs before may have changed files
        except (ValueError, OSError, SyntaxError) as error:  # somebody is editing the files
            return Outcome("failed", note=str(error))
        if not reasons:
            return self._finished(run, "up to date")
        self._print(run, f"starts ({'; '.join(reasons)})")
        log, earlier = self._folder / f".{run}.log", finish_mark(self.preset, run)
        shutil.rmtree(self._failed(run), ignore_errors=True)
        self._folder.mkdir(parents=True, exist_ok=True)
        command = ["papermill", f"notebooks/{notebook_of(run)}.ipynb", "-f", f"params/{self.preset}/{run}.yaml"]
        began = time.monotonic()
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", *command],
                cwd=paths.root(),
                env={key: value for key, value in os.environ.items() if not key.startswith("RLVR_RUN_")},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a terminal's Ctrl-C reaches it once, from `_stop`
            )
        self._processes[run] = process, began
        if self._stopping:  # since the beginning of this method
            process.send_signal(signal.SIGINT)
        code, seconds = process.wait(), time.monotonic() - began
        del self._processes[run]
        if code == 0 and finish_mark(self.preset, run) != earlier:
            log.replace(self._folder / run / LOG)
            outcome = self._finished(run, "done", seconds)
        elif self._stopping:
            outcome = self._broken(run, log, Outcome("interrupted", seconds))
        else:
            problem = _problem(log, code) if code else "no finished run: did it call run.finish(...)?"
            outcome = self._broken(run, log, Outcome("failed", seconds, problem))
        self._print(run, f"{outcome.status} in {_clock(seconds)}{outcome.note and f': {outcome.note}'}")
        return outcome

    def _stop(self) -> None:
        """Ends the children as Ctrl-C would; kills those that have not ended after PATIENCE or a second Ctrl-C."""
        self._stopping = True
        processes = [process for process, _ in [*self._processes.values()]]
        for process in processes:
            process.send_signal(signal.SIGINT)
        deadline = time.monotonic() + PATIENCE
        for process in processes:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except (subprocess.TimeoutExpired, KeyboardInterrupt):
                deadline = time.monotonic()
                os.killpg(process.pid, signal.SIGKILL)

    def _finished(self, run: str, status: str, seconds: float | None = None) -> Outcome:
        folder = self._folder / run
        headline = json.loads((folder / "summary.json").read_text()).get("headline", "")
        return Outcome(status, seconds, str(headline), folder / f"{notebook_of(run)}.ipynb")

    def _broken(self, run: str, log: Path, outcome: Outcome) -> Outcome:
        """Moves the log beside the notebook of the attempt; the earlier good run stays as it is."""
        folder = self._failed(run)
        folder.mkdir(exist_ok=True)
        log.replace(folder / LOG)
        notebook = folder / f"{notebook_of(run)}.ipynb"
        outcome.file = notebook if notebook.is_file() else folder / LOG
        return outcome

    def _failed(self, run: str) -> Path:
        return self._folder / f"{run}.failed"

    def _print(self, run: str, text: str) -> None:
        tqdm.write(f"[{self.runs.index(run) + 1}/{len(self.runs)}] {run} {text}")
        sys.stdout.flush()

    def table(self) -> str:
        """The outcome of each run, with its headline and the file to read."""
        rows = [("run", "status", "time", "", "file")]
        for run in self.runs:
            outcome = self.outcomes.get(run, Outcome("not started"))
            seconds = "" if outcome.seconds is None else _clock(outcome.seconds)
            file = str(outcome.file.relative_to(paths.artifacts().parent)) if outcome.file else ""
            rows.append((run, outcome.status, seconds, outcome.note, file))
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:]])


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}m{rest:02}s" if minutes else f"{rest}s"
    return f"{minutes // 60}h{minutes % 60:02}m"


def _problem(log: Path, code: int) -> str:
    """The last error in a log, in one line."""
    pattern = r"^(?:\w+\.)*\w*(?:Error|Exception|Exit|Refusal)\b.*"
    errors = re.findall(pattern, log.read_text(errors="replace"), re.MULTILINE)
    return errors[-1][:100] if errors else f"papermill ended with {code}"


def _interrupt(signum, frame) -> None:
    raise KeyboardInterrupt


def main(arguments: list[str] | None = None) -> int:
    """The command. Returns 0; 1 if a run failed; 2 for inconsistent params files; 130 after Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m lib.matrix", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("preset", help="a folder of params/, such as tiny")
    parser.add_argument("patterns", nargs="*", metavar="PATTERN", help="runs, with those that they need (default: all)")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="runs executed at the same time (default: 1)")
    parser.add_argument("--dry-run", action="store_true", help="print the runs that would be executed, and why")
    options = parser.parse_intermixed_args(arguments)  # patterns may also follow an option
    if options.jobs < 1:
        parser.error("--jobs must be at least 1")
    try:
        needs = graph(options.preset)
        matrix = Matrix(options.preset, needs, select(needs, options.patterns), options.jobs)
        plan = matrix.plan()
    except (GraphError, SyntaxError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if options.dry_run:
        width = max(map(len, plan), default=0)
        for run, reasons in plan.items():
            print(f"{run:<{width}}  {'; '.join(reasons) or 'up to date'}")
        print(f"{sum(map(bool, plan.values()))} of {len(plan)} runs would be executed")
        return 0
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if number == signal.SIGINT or signal.getsignal(number) != signal.SIG_IGN:  # nohup stays nohup
            signal.signal(number, _interrupt)
    interrupted = False
    try:
        matrix.execute()
    except KeyboardInterrupt:
        interrupted = True
    print(f"\n{matrix.table()}")
    if interrupted:
        print("\nInterrupted. The same command goes on from here.")
        return 130
    return int(any(outcome.status in ("failed", "waits") for outcome in matrix.outcomes.values()))
