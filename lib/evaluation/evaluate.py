"""Evaluation of a policy under a protocol: generate, judge, summarize, write the results.

All sets are decoded together, so that batches are full and of similar length, and the judge works on a batch while the
next one is generated. Judged samples are kept under `artifacts/scratch/` until the results are written. An interrupted
evaluation reuses these samples when restarted and writes the same files. A rerun repeats every number except the
times, which have separate keys.
"""

import hashlib
import json
import shutil
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import pandas as pd
from diskcache import Cache

from lib.evaluation.qa_logs import write_qa_logs
from lib.judge.verdict import Verdict
from lib.metrics import Record, by_difficulty, require_judge, summarize, summarize_times
from lib.policy.engines import Engine
from lib.policy.generation import Completion
from lib.policy.prompts import Extraction, extract, messages
from lib.policy.protocols import Protocol
from lib.problems import Problem
from lib.runs.paths import artifacts, write_atomically

PROGRESS_SECONDS = 60.0  # between two lines of progress


@dataclass(frozen=True)
class Subject:
    """What is measured. `model`: "base", a run or a hub name; `checkpoint`: "end", or a folder with its `step`."""

    model: str
    checkpoint: str = "end"
    step: int | None = None

    def __post_init__(self):
        if not (self.model and self.checkpoint):
            raise ValueError("a result must name its model and its checkpoint")


@dataclass
class _Row:
    """One sample for one problem on its way through the evaluation."""

    dataset: str
    problem: Problem
    sample: int
    prompt: list[dict[str, str]]
    completion: Completion = field(init=False)
    extraction: Extraction = field(init=False)
    verdict: Verdict = field(init=False)

    def write(self, completion: Completion) -> None:
        self.completion, self.extraction = completion, extract(completion.text)

    def record(self) -> Record:
        written = {"gen_tokens": self.completion.tokens, "truncated": self.completion.truncated}
        named = (self.dataset, self.problem.id, self.problem.difficulty)
        return Record(*named, self.verdict, **written, format_ok=self.extraction.format_ok, sample=self.sample)


def evaluate(
    engine: Engine, sets: dict[str, list[Problem]], judge, folder: Path, protocol: Protocol, subject: Subject
) -> dict:
    """Measures a policy on named sets of problems; returns the content of metrics.json.

    `judge` has `judge_many([(program, problem), ...]) -> [Verdict]` and `stats()`. Returned: what was measured and how
    (`protocol`, `decoding`, `engine`, `model`, `checkpoint`, `step`, `seed`, `instruction`, and `manifest`: set -> size
    and hash), `datasets` (set -> `lib.metrics.summarize` and `by_difficulty`) and `times`. Writes into `folder`:
    verdicts.csv, one row per sample, and qa_logs/. Raises lib.metrics.JudgeFailure if the judge failed on more than 1 %
    of all samples; calling it again after fixing the judge completes the remaining samples.
    """
    rows = [
        _Row(name, problem, sample, messages(problem, protocol.instruction))
        for name, problems in sets.items()
        for problem in problems
        for sample in range(protocol.samples)
    ]
    if not rows:
        raise ValueError("nothing to evaluate, every set is empty: check the parameter `limit` and the preset's `sets`")
    described = {
        "protocol": protocol.name,
        "decoding": protocol.decoding(),
        "engine": engine.name,
        **asdict(subject),
        "seed": protocol.seed,
        "instruction": protocol.instruction,
        "manifest": {name: manifest(problems) for name, problems in sets.items()},
    }
    identity = described | {"policy": engine.identity, "folder": str(folder.resolve())}
    key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:24]
    with Cache(artifacts() / "scratch" / "evaluations" / key, eviction_policy="none") as judged:
        times = _generate_and_judge(rows, engine, protocol, judge, judged)
        require_judge([row.verdict for row in rows])
        table = pd.DataFrame([_verdict_line(row) for row in rows])
        write_atomically(folder / "verdicts.csv", table.to_csv(index=False, lineterminator="\n"))
        lines = {name: [_qa_line(row, subject) for row in rows if row.dataset == name] for name in sets}
        write_qa_logs(folder / "qa_logs", sets, lines, protocol.seed)
    shutil.rmtree(judged.directory)
    records = {name: [row.record() for row in rows if row.dataset == name] for name in sets}
    datasets = {
        name: summarize(of_set, protocol.ks, protocol.token_budget, protocol.seed)
        | {"by_difficulty": by_difficulty(of_set)}
        for name, of_set in records.items()
    }
    times |= {"datasets": {name: summarize_times(of_set) for name, of_set in records.items()}}
    return described | {"datasets": datasets, "times": times}


def manifest(problems: list[Problem]) -> dict:
    """The version of a list of problems: its size, and a hash of ids, statements, tests and limits in their order."""
    content = hashlib.sha256()
    for problem in problems:
        tests = [(test.input, test.output) for test in problem.tests]
        content.update(repr((problem.id, problem.prompt, tests, problem.time_limit, problem.memory_limit)).encode())
    return {"n": len(problems), "sha256": content.hexdigest()[:16]}


def _generate_and_judge(rows: list[_Row], engine: Engine, protocol: Protocol, judge, judged: Cache) -> dict:
    """Fills completion, extraction and verdict of every row; returns the seconds and rates of this process."""
    for index in judged:
        completion, rows[index].verdict = judged[index]
        rows[index].write(completion)
    done = set(judged)
    recalled, before = len(done), dict(judge.stats())
    conversations = [row.prompt for row in rows[:: protocol.samples]]
    judging, waiting = [], []
    started = printed = time.perf_counter()
    # One thread is enough: it only waits for the judge's own processes, and the batches stay in order.
    with ThreadPoolExecutor(1) as thread:
        for batch in engine.batches(conversations, protocol, skip=frozenset(done)):
            # After a restart, a partly judged batch is generated again in full; only its unjudged samples are used.
            new = [(index, completion) for index, completion in batch if index not in done]
            for index, completion in new:
                rows[index].write(completion)
            done.update(index for index, _ in new)
            waiting.append(len(new) + sum(size for size, future in judging if not future.done()))
            judging.append((len(new), thread.submit(_judge, judge, {index: rows[index] for index, _ in new}, judged)))
            if time.perf_counter() - printed > PROGRESS_SECONDS:
                printed = time.perf_counter()
                print(f"{len(done)} of {len(rows)} programs generated, {waiting[-1]} waiting for a verdict", flush=True)
        generation_s = time.perf_counter() - started
        judge_s = sum(future.result() for _, future in judging)
    wall_s = time.perf_counter() - started
    counts = Counter(judge.stats())
    counts.subtract(before)
    programs = counts["programs"]
    return {
        "recalled": recalled,  # samples restored from an interrupted run; excluded from the timings below
        "wall_s": wall_s,
        "generation_s": generation_s,
        "judge_s": judge_s,
        "throughput": (len(rows) - recalled) / wall_s,
        "tests_per_s": counts["tests"] / judge_s if judge_s else None,
        "cache_hit_rate": counts["cache_hits"] / programs if programs else None,
        "retry_rate": counts["retries"] / programs if programs else None,
        "queue_length": sum(waiting) / len(waiting) if waiting else 0,  # unjudged programs when a batch arrives
    }


def _judge(judge, batch: dict[int, _Row], judged: Cache) -> float:
    started = time.perf_counter()
    verdicts = judge.judge_many([(row.extraction.program, row.problem) for row in batch.values()])
    with judged.transact():
        for (index, row), verdict in zip(batch.items(), verdicts, strict=True):
            row.verdict = replace(verdict, tests=())  # no file of an evaluation needs the results of single tests
            if verdict.error_type != "api_error":  # else the next attempt judges this sample again
                judged[index] = (row.completion, row.verdict)
    return time.perf_counter() - started


def _verdict_line(row: _Row) -> dict:
    return {
        "dataset": row.dataset,
        "problem_id": row.problem.id,
        "sample": row.sample,
        "error_type": row.verdict.error_type,
        "pass_ratio": f"{row.verdict.pass_ratio:.4f}",
        "gen_tokens": row.completion.tokens,
    }


def _qa_line(row: _Row, subject: Subject) -> dict:
    verdict = ("accepted", "error_type", "pass_ratio", "passed", "total", "feedback", "judge_time")
    return {
        **{name: value for name, value in _verdict_line(row).items() if name not in verdict},
        "difficulty": row.problem.difficulty,
        "prompt": row.prompt[-1]["content"],
        "response": row.completion.text,
        **{name: getattr(row.verdict, name) for name in verdict},
        "gen_time": round(row.completion.seconds, 4),
        "truncated": row.completion.truncated,
        "format_ok": row.extraction.format_ok,
        "form": row.extraction.form,
        "extra": asdict(subject),
    }
