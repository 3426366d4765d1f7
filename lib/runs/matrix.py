"""The matrix: executes the runs of a preset through papermill, in the order their parameters imply.

    python -m lib.matrix tiny                      every run that is not up to date
    python -m lib.matrix tiny 30_grpo '*-s1'       runs whose names begin so or match so, and what those need
    python -m lib.matrix tiny --dry-run            what would be executed, and why

A run that needs another names it in its params file; nothing else describes the order. A run is up to date when its
inputs are those of its last execution on this machine (`lib.runs.fingerprint`). When one fails, those that need it wait and
the others go on. Ctrl-C ends what is running; the next call goes on from there.
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
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from lib.runs import paths
from lib.runs.fingerprint import Fingerprints, finish_mark
from lib.runs.graph import GraphError, graph, select

LOG = "papermill.log"
PATIENCE = 30.0  # seconds that an interrupted papermill gets to stop its kernel and write its notebook


@dataclass
class Outcome:
    """What became of a run: status `done`, `up to date`, `failed`, `waits`, `interrupted` or `not started`."""

    status: str
    seconds: float | None = None
    note: str = ""  # the run's headline, or what went wrong
    look: Path | None = None  # the file to read


@dataclass
class Job:
    """A papermill process at work on a run."""

    run: str
    process: subprocess.Popen
    log: Path
    earlier: str | None  # the mark of the run's earlier execution
    began: float = field(default_factory=time.monotonic)

    def seconds(self) -> float:
        return time.monotonic() - self.began


class Matrix:
    """One call: decides what must be executed, executes it with at most `jobs` processes, keeps the outcomes."""

    def __init__(self, preset: str, needs: dict[str, list[str]], runs: list[str], jobs: int = 1):
        self.preset, self.runs, self.jobs = preset, runs, jobs
        self.needs = {run: needs[run] for run in runs}
        self.outcomes: dict[str, Outcome] = {}
        self._folder = paths.artifacts() / preset
        self._running: list[Job] = []

    def plan(self) -> dict[str, list[str]]:
        """Each run with the reasons for executing it; no reason: up to date. Executes nothing."""
        fingerprints, plan = Fingerprints(self.preset), {}
        for run in self.runs:
            plan[run] = fingerprints.reasons(run) or [f"upstream {name}" for name in self.needs[run] if plan[name]]
        return plan

    def execute(self) -> None:
        """Executes what is not up to date. A KeyboardInterrupt passes, once every child has ended."""
        sorter = graphlib.TopologicalSorter(self.needs)
        sorter.prepare()
        ready, settled = [], set()
        with tqdm(total=len(self.runs), unit="run", disable=not sys.stderr.isatty(), leave=False) as bar:
            try:
                while sorter.is_active():
                    ready += sorter.get_ready()
                    ready.sort(key=self.runs.index)
                    while ready and len(self._running) < self.jobs:
                        self._begin(ready.pop(0))
                    for job in [job for job in self._running if job.process.poll() is not None]:
                        self._end(job)
                    for run in self.outcomes.keys() - settled:
                        settled.add(run)
                        sorter.done(run)
                        bar.update()
                    bar.set_postfix_str(", ".join(f"{job.run} {_clock(job.seconds())}" for job in self._running))
                    if self._running:
                        time.sleep(0.2)
            finally:
                self._stop()

    def _begin(self, run: str) -> None:
        """Starts the run, or settles it at once where there is no need to, or no sense in it."""
        broken = [name for name in self.needs[run] if self.outcomes[name].status in ("failed", "waits")]
        if broken:
            self.outcomes[run] = Outcome("waits", note=f"for {', '.join(broken)}")
            return
        try:
            reasons = Fingerprints(self.preset).reasons(run)  # read anew: runs before this one may have changed files
        except (ValueError, SyntaxError) as error:  # somebody edits the files right now
            self.outcomes[run] = Outcome("failed", note=str(error))
            return
        if not reasons:
            self.outcomes[run] = self._found(run, "up to date")
        else:
            self._say(run, f"starts ({'; '.join(reasons)})")
            self._running.append(self._launch(run))

    def _launch(self, run: str) -> Job:
        shutil.rmtree(self._failed(run), ignore_errors=True)
        self._folder.mkdir(parents=True, exist_ok=True)
        log = self._folder / f".{run}.log"
        papermill = ["papermill", _notebook(run), "-f", f"params/{self.preset}/{run}.yaml"]
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", *papermill],
                cwd=paths.root(),
                env={key: value for key, value in os.environ.items() if not key.startswith("RLVR_RUN_")},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # so that Ctrl-C reaches it once, from `_stop`, and not from the terminal too
            )
        return Job(run, process, log, finish_mark(self.preset, run))

    def _end(self, job: Job) -> None:
        code = job.process.returncode
        self._running.remove(job)
        if code == 0 and finish_mark(self.preset, job.run) != job.earlier:
            job.log.replace(self._folder / job.run / LOG)
            outcome = self._found(job.run, "done", job.seconds())
        else:
            problem = _problem(job.log, code) if code else "no finished run: did it call run.finish(...)?"
            outcome = self._broken(job, "failed", problem)
        self.outcomes[job.run] = outcome
        note = f": {outcome.note}" if outcome.note else ""
        self._say(job.run, f"{outcome.status} in {_clock(job.seconds())}{note}")

    def _stop(self) -> None:
        """Ends the running children as Ctrl-C would, and by force those that do not listen."""
        for job in self._running:
            job.process.send_signal(signal.SIGINT)
        deadline = time.monotonic() + PATIENCE
        for job in self._running:
            try:
                job.process.wait(max(0.0, deadline - time.monotonic()))
            except (subprocess.TimeoutExpired, KeyboardInterrupt):  # a second Ctrl-C: no more patience
                deadline = time.monotonic()
                os.killpg(job.process.pid, signal.SIGKILL)
                job.process.wait()
            self.outcomes[job.run] = self._broken(job, "interrupted")
        self._running.clear()

    def _found(self, run: str, status: str, seconds: float | None = None) -> Outcome:
        summary = json.loads((self._folder / run / "summary.json").read_text())
        headline = str(summary.get("headline", ""))
        return Outcome(status, seconds, headline, self._folder / run / Path(_notebook(run)).name)

    def _broken(self, job: Job, status: str, problem: str = "") -> Outcome:
        """Leaves the log beside the notebook of the attempt; the earlier good run is not touched."""
        folder = self._failed(job.run)
        folder.mkdir(exist_ok=True)
        log, notebook = folder / LOG, folder / Path(_notebook(job.run)).name
        job.log.replace(log)
        return Outcome(status, job.seconds(), problem, notebook if notebook.is_file() else log)

    def _failed(self, run: str) -> Path:
        return self._folder / f"{run}.failed"

    def _say(self, run: str, text: str) -> None:
        tqdm.write(f"[{self.runs.index(run) + 1}/{len(self.runs)}] {run} {text}")
        sys.stdout.flush()

    def table(self) -> str:
        """What became of each run, with its headline and where to look."""
        rows = [("run", "status", "time", "", "look at")]
        for run in self.runs:
            outcome = self.outcomes.get(run, Outcome("not started"))
            seconds = "" if outcome.seconds is None else _clock(outcome.seconds)
            rows.append((run, outcome.status, seconds, outcome.note, _shown(outcome.look) if outcome.look else ""))
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:]])


def _notebook(run: str) -> str:
    return f"notebooks/{run.split('-')[0]}.ipynb"


def _shown(path: Path) -> str:
    return str(path.relative_to(paths.artifacts().parent))


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}m{rest:02}s" if minutes else f"{rest}s"
    return f"{minutes // 60}h{minutes % 60:02}m"


def _problem(log: Path, code: int) -> str:
    """What went wrong, in one line: the last error that the log speaks of."""
    errors = re.findall(
        r"^(?:\w+\.)*\w*(?:Error|Exception|Exit|Refusal)\b.*", log.read_text(errors="replace"), re.MULTILINE
    )
    return errors[-1][:100] if errors else f"papermill ended with {code}"


def _interrupt(signum, frame) -> None:
    raise KeyboardInterrupt


def main(arguments: list[str] | None = None) -> int:
    """The command. Gives 0; 1 when a run failed; 2 for params files that make no sense; 130 after Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m lib.matrix", description=__doc__.split("\n\n")[0])
    parser.add_argument("preset", help="a folder of params/, such as tiny")
    parser.add_argument(
        "patterns", nargs="*", metavar="PATTERN", help="runs to execute, with what they need (default: all)"
    )
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="runs executed at the same time (default: 1)")
    parser.add_argument("--dry-run", action="store_true", help="print what would be executed, and why; execute nothing")
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


if __name__ == "__main__":
    sys.exit(main())
