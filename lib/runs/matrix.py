"""Executes the runs of a preset through papermill, in the order that their parameters imply.

    python -m lib.matrix tiny                      every run that is not up to date
    python -m lib.matrix tiny 30_grpo '*-s1'       runs whose names begin so or match, and the runs that they need
    python -m lib.matrix tiny --dry-run            the runs that would be executed, and why

A run is up to date if its inputs are those of its last execution on this machine (`lib.runs.fingerprint`). If a run
fails, the runs that need it wait and the others go on. Ctrl-C ends the running processes; the next call continues.
"""

import argparse
import contextlib
import graphlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from . import paths
from .fingerprint import Fingerprints, finish_mark, notebook_of
from .graph import graph, select

LOG = "papermill.log"
PATIENCE = 30.0  # seconds for an interrupted papermill to stop its kernel and write its notebook


@dataclass
class Outcome:
    """The result of a run: status `done`, `up to date`, `failed`, `waits`, `interrupted` or `not started`."""

    status: str
    seconds: float | None = None
    note: str = ""  # the run's headline, or the error
    file: Path | None = None  # the file to read


class Child(NamedTuple):
    """A papermill under way: its process, when it began, and the finish mark of the execution before it."""

    process: subprocess.Popen
    began: float
    earlier: str | None


class Matrix:
    """One call: decides which runs to execute, executes them with at most `jobs` processes, keeps the outcomes."""

    def __init__(self, preset: str, needs: dict[str, list[str]], runs: list[str], jobs: int = 1):
        self.preset, self.runs, self.jobs = preset, runs, jobs
        self.needs = {run: needs[run] for run in runs}
        self.outcomes: dict[str, Outcome] = {}
        self.interrupts = 0  # signals to stop; a second one kills what has not ended
        self._folder = paths.artifacts() / preset
        self._children: dict[str, Child] = {}
        self._deadline: float | None = None  # for the children of an interrupted matrix

    def plan(self) -> dict[str, list[str]]:
        """Each run with the reasons to execute it; no reason: up to date. Executes nothing."""
        fingerprints, plan = Fingerprints(self.preset), {}
        for run in self.runs:
            plan[run] = fingerprints.reasons(run) or [f"upstream {name}" for name in self.needs[run] if plan[name]]
        return plan

    def execute(self) -> None:
        """Executes the runs that are not up to date. If interrupted, returns when every child has ended."""
        sorter, ready = graphlib.TopologicalSorter(self.needs), list[str]()
        sorter.prepare()
        with tqdm(total=len(self.runs), unit="run", miniters=0, disable=not sys.stderr.isatty(), leave=False) as bar:
            while sorter.is_active() and (self._children or not self.interrupts):
                ready += sorted(sorter.get_ready(), key=self.runs.index)
                if self.interrupts:
                    self._stop()
                ended = {run: self._end(run) for run, c in [*self._children.items()] if c.process.poll() is not None}
                while ready and len(self._children) < self.jobs and not self.interrupts:
                    run = ready.pop(0)
                    if outcome := self._begin(run):
                        ended[run] = outcome
                self.outcomes |= ended
                sorter.done(*ended)
                clocks = (f"{run} {_clock(time.monotonic() - child.began)}" for run, child in self._children.items())
                bar.set_postfix_str(", ".join(clocks), refresh=False)
                bar.update(len(ended))
                if not ended:
                    time.sleep(0.1)

    def _begin(self, run: str) -> Outcome | None:
        """Starts a run; returns its outcome if there is no need to, or no sense in it."""
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
        shutil.rmtree(self._folder / f"{run}.failed", ignore_errors=True)
        self._folder.mkdir(parents=True, exist_ok=True)
        command = ["papermill", f"notebooks/{notebook_of(run)}.ipynb", "-f", f"params/{self.preset}/{run}.yaml"]
        with (self._folder / f".{run}.log").open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", *command],
                cwd=paths.root(),
                env={key: value for key, value in os.environ.items() if not key.startswith("RLVR_RUN_")},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a terminal's Ctrl-C reaches it once, from `_stop`
            )
        self._children[run] = Child(process, time.monotonic(), finish_mark(self.preset, run))
        return None

    def _end(self, run: str) -> Outcome:
        """The outcome of a run whose process has ended."""
        child, log = self._children.pop(run), self._folder / f".{run}.log"
        code, seconds = child.process.returncode, time.monotonic() - child.began
        if code == 0 and finish_mark(self.preset, run) != child.earlier:
            log.replace(self._folder / run / LOG)
            outcome = self._finished(run, "done", seconds)
        elif self.interrupts:
            outcome = self._broken(run, log, Outcome("interrupted", seconds))
        else:
            problem = _problem(log, code) if code else "no finished run: did it call run.finish(...)?"
            outcome = self._broken(run, log, Outcome("failed", seconds, problem))
        self._print(run, f"{outcome.status} in {_clock(seconds)}{outcome.note and f': {outcome.note}'}")
        return outcome

    def _stop(self) -> None:
        """Ends the children as Ctrl-C would; kills those that have not ended after PATIENCE or a second Ctrl-C."""
        if self._deadline is None:
            self._deadline = time.monotonic() + PATIENCE
            for child in self._children.values():
                child.process.send_signal(signal.SIGINT)
        elif self.interrupts > 1 or time.monotonic() > self._deadline:
            for child in self._children.values():
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(child.process.pid, signal.SIGKILL)

    def _finished(self, run: str, status: str, seconds: float | None = None) -> Outcome:
        folder = self._folder / run
        headline = json.loads((folder / "summary.json").read_text()).get("headline", "")
        return Outcome(status, seconds, str(headline), folder / f"{notebook_of(run)}.ipynb")

    def _broken(self, run: str, log: Path, outcome: Outcome) -> Outcome:
        """Moves the log beside the notebook of the attempt; the earlier good run stays as it is."""
        folder = self._folder / f"{run}.failed"
        folder.mkdir(exist_ok=True)
        log.replace(folder / LOG)
        notebook = folder / f"{notebook_of(run)}.ipynb"
        outcome.file = notebook if notebook.is_file() else folder / LOG
        return outcome

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
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
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
    except (ValueError, SyntaxError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if options.dry_run:
        width = max(map(len, plan), default=0)
        for run, reasons in plan.items():
            print(f"{run:<{width}}  {'; '.join(reasons) or 'up to date'}")
        print(f"{sum(map(bool, plan.values()))} of {len(plan)} runs would be executed")
        return 0

    def interrupt(number: int, frame: object) -> None:
        matrix.interrupts += 1

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if number == signal.SIGINT or signal.getsignal(number) != signal.SIG_IGN:  # nohup stays nohup
            signal.signal(number, interrupt)
    matrix.execute()
    print(f"\n{matrix.table()}")
    if matrix.interrupts:
        print("\nInterrupted. The same command goes on from here.")
        return 130
    return int(any(outcome.status in ("failed", "waits") for outcome in matrix.outcomes.values()))
