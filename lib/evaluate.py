"""Evaluation under the protocol EVAL@1: one greedy completion per problem, judged, measured, kept.

All sets are decoded together, so that batches are full and of similar length, and the judge works on a batch while the
next one is being written. Every figure but the times is the same in a rerun; the times have keys of their own.
"""

import csv
import io
import json
import random
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from lib.generate import Completion, generate_batches
from lib.judge.verdict import ERROR_TYPES, Verdict
from lib.metrics import Record, by_difficulty, require_judge, summarize, summarize_times
from lib.paths import write_atomically
from lib.problems import Problem
from lib.prompts import Extraction, extract, messages
from lib.reading import read_problems

QA_PER_ERROR_TYPE = 5


@dataclass
class _Row:
    """One problem on its way through the evaluation."""

    dataset: str
    problem: Problem
    prompt: list[dict[str, str]]
    completion: Completion | None = None
    extraction: Extraction | None = None
    verdict: Verdict | None = None

    def record(self) -> Record:
        return Record(
            dataset=self.dataset,
            problem_id=self.problem.id,
            difficulty=self.problem.difficulty,
            verdict=self.verdict,
            gen_tokens=self.completion.tokens,
            truncated=self.completion.truncated,
            format_ok=self.extraction.format_ok,
        )


def evaluation_sets(run, first: int = 0) -> dict[str, list[Problem]]:
    """The sets that every phase is measured on, by their names in metrics.json; `first` > 0: so many of each only.

    They are opened for the report of `run` (`lib.run.Run`), after which that run trains and selects no more.
    """
    names = run.preset["sets"]
    places = {
        "contests_valid": (names["contests"], "valid"),
        "contests_test": (names["contests"], "test"),
        "humaneval": (names["humaneval"], "test"),
        "mbpp": (names["mbpp"], "test"),
    }
    return {name: read_problems(run, *place, purpose="report", first=first) for name, place in places.items()}


def evaluate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    sets: dict[str, list[Problem]],
    judge,
    folder: Path,
    *,
    max_new_tokens: int,
    instruction: str = "",
    batch_size: int = 128,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> dict:
    """Measures a policy on named sets of problems; returns what belongs into metrics.json.

    `judge` offers `judge_many([(program, problem), ...]) -> [Verdict]`. `seed` picks the QA sample; decoding is greedy.
    `progress(done, total)` counts written completions. Returned: `protocol`, `decoding`, `datasets` (name ->
    `lib.metrics.summarize` and `by_difficulty`) and `times` (seconds; `throughput` in problems/s, `tests_per_s` while
    the judge was at work). Writes into `folder`: `verdicts.csv`, one row per problem, and `qa_logs/<set>.jsonl`, some
    prompts and responses of each error type.
    Raises lib.metrics.JudgeFailure when the judge failed on more than 1 % of all problems.
    """
    rows = [
        _Row(name, problem, messages(problem, instruction)) for name, problems in sets.items() for problem in problems
    ]
    if not rows:
        raise ValueError("nothing to evaluate: every set is empty")
    batches = generate_batches(
        model, tokenizer, [row.prompt for row in rows], max_new_tokens=max_new_tokens, batch_size=batch_size
    )
    times = _write_and_judge(rows, batches, judge, progress)
    require_judge([row.verdict for row in rows])

    by_set = {name: [row for row in rows if row.dataset == name] for name in sets}
    write_atomically(folder / "verdicts.csv", _verdict_table(rows))
    for name, own in by_set.items():
        write_atomically(folder / "qa_logs" / f"{name}.jsonl", _qa_log(own, seed))
    records = {name: [row.record() for row in own] for name, own in by_set.items()}
    return {
        "protocol": "EVAL@1",
        "decoding": {"temperature": 0.0, "samples": 1, "max_new_tokens": max_new_tokens},
        "datasets": {name: summarize(own) | {"by_difficulty": by_difficulty(own)} for name, own in records.items()},
        "times": times | {"datasets": {name: summarize_times(own) for name, own in records.items()}},
    }


def _write_and_judge(
    rows: list[_Row],
    batches: Iterator[list[tuple[int, Completion]]],
    judge,
    progress: Callable[[int, int], None] | None,
) -> dict[str, float]:
    """Fills completion, extraction and verdict of every row; returns seconds and rates of the whole."""
    judging = []
    started = time.perf_counter()
    # One thread is enough: it only waits for the judge's own processes, and the batches stay in order.
    with ThreadPoolExecutor(1) as thread:
        done = 0
        for batch in batches:
            written = []
            for index, completion in batch:
                row = rows[index]
                row.completion, row.extraction = completion, extract(completion.text)
                written.append(row)
            judging.append(thread.submit(_judge, judge, written))
            done += len(written)
            if progress is not None:
                progress(done, len(rows))
        generation_s = time.perf_counter() - started
        judge_s = sum(future.result() for future in judging)
    wall_s = time.perf_counter() - started
    return {
        "wall_s": wall_s,
        "generation_s": generation_s,
        "judge_s": judge_s,
        "throughput": len(rows) / wall_s,
        "tests_per_s": sum(len(row.verdict.tests) for row in rows) / judge_s,
    }


def _judge(judge, rows: list[_Row]) -> float:
    started = time.perf_counter()
    verdicts = judge.judge_many([(row.extraction.program, row.problem) for row in rows])
    for row, verdict in zip(rows, verdicts, strict=True):
        row.verdict = verdict
    return time.perf_counter() - started


def _verdict_table(rows: list[_Row]) -> str:
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["dataset", "problem_id", "error_type", "pass_ratio", "gen_tokens"])
    for row in rows:
        ratio = f"{row.verdict.pass_ratio:.4f}"
        writer.writerow([row.dataset, row.problem.id, row.verdict.error_type, ratio, row.completion.tokens])
    return table.getvalue()


def _qa_log(rows: list[_Row], seed: int) -> str:
    """JSON lines: up to QA_PER_ERROR_TYPE rows of each error type, drawn with `seed`, in the order of the set."""
    lines = []
    for error_type in ERROR_TYPES:
        of_type = [row for row in rows if row.verdict.error_type == error_type]
        # A seed per stratum: more failures of one type don't move the sample of another.
        draw = random.Random(f"{seed} {error_type}")
        kept = sorted(draw.sample(range(len(of_type)), min(QA_PER_ERROR_TYPE, len(of_type))))
        lines += [json.dumps(_qa_line(of_type[index]), ensure_ascii=False) + "\n" for index in kept]
    return "".join(lines)


def _qa_line(row: _Row) -> dict:
    return {
        "dataset": row.dataset,
        "problem_id": row.problem.id,
        "difficulty": row.problem.difficulty,
        "prompt": row.prompt[-1]["content"],
        "response": row.completion.text,
        "accepted": row.verdict.accepted,
        "error_type": row.verdict.error_type,
        "pass_ratio": row.verdict.pass_ratio,
        "passed": row.verdict.passed,
        "total": row.verdict.total,
        "feedback": row.verdict.feedback,
        "gen_tokens": row.completion.tokens,
        "truncated": row.completion.truncated,
        "format_ok": row.extraction.format_ok,
    }
