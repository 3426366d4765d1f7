"""Evaluation under a protocol: completions, judged, measured, kept. `evaluate` is EVAL@1, `measure` any protocol.

All sets are decoded together, so that batches are full and of similar length, and the judge works on a batch while the
next one is being written. What has been judged is in the journal: an evaluation that was killed goes on from there and
ends with the same files. Every figure but the times is the same in a rerun; the times have keys of their own.
"""

import csv
import hashlib
import io
import json
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from lib.evaluation import qa_logs
from lib.evaluation.resume_log import ResumeLog
from lib.judge.verdict import Verdict
from lib.metrics import Record, by_difficulty, require_judge, summarize, summarize_times
from lib.policy.engines import TransformersEngine
from lib.policy.generation import Completion
from lib.policy.prompts import Extraction, extract, messages
from lib.policy.protocols import Protocol, eval_at_1
from lib.problems import Problem
from lib.runs.paths import write_atomically

QUIET = 60.0  # seconds between two lines of progress


@dataclass(frozen=True)
class Subject:
    """What is measured, as every result names it. `model`: "base", a run or a hub name; `step` of its training."""

    model: str
    checkpoint: str
    seed: int
    step: int | None = None

    def __post_init__(self):
        if not (self.model and self.checkpoint) or self.seed is None:
            raise ValueError("a result is not written without its model, checkpoint and seed")


@dataclass
class _Row:
    """One sample for one problem on its way through the evaluation."""

    dataset: str
    problem: Problem
    sample: int
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
            sample=self.sample,
        )


def evaluate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    sets: dict[str, list[Problem]],
    judge,
    folder: Path,
    *,
    max_new_tokens: int,
    subject: Subject | None = None,
    instruction: str = "",
    batch_size: int = 128,
    seed: int = 0,
) -> dict:
    """`measure` under EVAL@1 with the transformers engine.

    Without a `subject` it is the model at the end of the run that owns `folder`: its run_info.json says which.
    """
    engine = TransformersEngine(model, tokenizer, batch_size)
    subject = subject or _end_of_run(folder)
    protocol = eval_at_1(max_new_tokens)
    return measure(engine, sets, judge, folder, protocol, subject, instruction=instruction, seed=seed)


def measure(
    engine,
    sets: dict[str, list[Problem]],
    judge,
    folder: Path,
    protocol: Protocol,
    subject: Subject,
    *,
    instruction: str = "",
    seed: int = 0,
) -> dict:
    """Measures a policy on named sets of problems; returns what belongs into metrics.json.

    `engine`: one of lib.policy.engines. `judge` offers `judge_many([(program, problem), ...]) -> [Verdict]` and `stats()`.
    `seed` picks the QA sample and draws sampled tokens. What takes long prints a line now and then. Returned: what was
    measured and how (`protocol`, `decoding`, `engine`, `model`, `checkpoint`, `step`, `seed`, `instruction`, and
    `manifest`: set -> size and hash), `datasets` (name -> `lib.metrics.summarize` and `by_difficulty`) and `times`.
    Writes into `folder`: `verdicts.csv`, one row per sample; `qa_logs/<set>.jsonl` and `qa_logs/qa_summary.json`.
    Raises lib.metrics.JudgeFailure when the judge failed on more than 1 % of all samples; the same call, once the judge
    is mended, judges the rest.
    """
    rows = [
        _Row(name, problem, sample, messages(problem, instruction))
        for name, problems in sets.items()
        for problem in problems
        for sample in range(protocol.samples)
    ]
    if not rows:
        raise ValueError("nothing to evaluate: every set is empty")
    what = {
        "protocol": protocol.name,
        "decoding": protocol.decoding() | ({"seed": seed} if protocol.temperature else {}),
        "engine": engine.name,
        **asdict(subject),
        "instruction": instruction,
        "manifest": {name: manifest(problems) for name, problems in sets.items()},
    }
    with ResumeLog(what | {"policy": engine.identity, "sampling": seed, "folder": str(folder.resolve())}) as journal:
        times = _write_and_judge(rows, engine, protocol, seed, judge, journal)
        require_judge([row.verdict for row in rows])
        by_set = {name: [row for row in rows if row.dataset == name] for name in sets}
        _write_files(folder, by_set, subject, seed)
        journal.remove()
    records = {name: [row.record() for row in own] for name, own in by_set.items()}
    figures = {name: summarize(own, protocol.ks, protocol.token_budget, seed) for name, own in records.items()}
    return what | {
        "datasets": {name: figures[name] | {"by_difficulty": by_difficulty(own)} for name, own in records.items()},
        "times": times | {"datasets": {name: summarize_times(own) for name, own in records.items()}},
    }


def manifest(problems: list[Problem]) -> dict:
    """The version of a list of problems: how many, and a hash of ids, statements, tests and limits in their order."""
    content = hashlib.sha256()
    for one in problems:
        tests = [(test.input, test.output) for test in one.tests]
        content.update(repr((one.id, one.prompt, tests, one.time_limit, one.memory_limit)).encode())
    return {"n": len(problems), "sha256": content.hexdigest()[:16]}


def _end_of_run(folder: Path) -> Subject:
    try:
        info = json.loads((folder / "run_info.json").read_text())
    except FileNotFoundError:
        raise ValueError(
            f"a result is not written without its model, checkpoint and seed: {folder.name} is no run's folder, "
            "so give subject=Subject(...)"
        ) from None
    return Subject(model=info["run"], checkpoint="end", seed=info["seed"])


def _write_and_judge(
    rows: list[_Row], engine, protocol: Protocol, seed: int, judge, journal: ResumeLog
) -> dict[str, float]:
    """Fills completion, extraction and verdict of every row; returns seconds and rates of what this process did."""
    done = _recall(rows, journal)
    recalled, before = len(done), dict(judge.stats())
    conversations = [row.prompt for row in rows[:: protocol.samples]]
    judging, waiting = [], []
    started = told = time.perf_counter()
    # One thread is enough: it only waits for the judge's own processes, and the batches stay in order.
    with ThreadPoolExecutor(1) as thread:
        for batch in engine.batches(conversations, protocol, seed=seed, skip=frozenset(done)):
            written = []
            for index, completion in batch:
                if index not in done:  # a row of a batch that was half judged has been written again for the others
                    done.add(index)
                    row = rows[index]
                    row.completion, row.extraction = completion, extract(completion.text)
                    written.append((index, row))
            waiting.append(len(written) + sum(size for size, future in judging if not future.done()))
            judging.append((len(written), thread.submit(_judge, judge, written, journal)))
            if time.perf_counter() - told > QUIET:
                told = time.perf_counter()
                print(f"{len(done)} of {len(rows)} programs written, {waiting[-1]} of them at the judge", flush=True)
        generation_s = time.perf_counter() - started
        judge_s = sum(future.result() for _, future in judging)
    wall_s = time.perf_counter() - started
    counts = Counter(judge.stats())
    counts.subtract(before)
    return {
        "recalled": recalled,  # from an evaluation that was interrupted; the other figures leave them out
        "wall_s": wall_s,
        "generation_s": generation_s,
        "judge_s": judge_s,
        "throughput": (len(rows) - recalled) / wall_s,
        "tests_per_s": counts["tests"] / judge_s if judge_s else None,
        "cache_hit_rate": counts["cache_hits"] / counts["programs"] if counts["programs"] else None,
        "retry_rate": counts["retries"] / counts["programs"] if counts["programs"] else None,
        "queue_length": sum(waiting) / len(waiting) if waiting else 0,  # programs at the judge when a batch arrives
    }


def _judge(judge, written: list[tuple[int, _Row]], journal: ResumeLog) -> float:
    started = time.perf_counter()
    verdicts = judge.judge_many([(row.extraction.program, row.problem) for _, row in written])
    for (_, row), verdict in zip(written, verdicts, strict=True):
        row.verdict = verdict
    # What the judge failed on is not finished: the next attempt asks again.
    journal.append([_line(index, row) for index, row in written if row.verdict.error_type != "api_error"])
    return time.perf_counter() - started


def _line(index: int, row: _Row) -> dict:
    verdict = asdict(replace(row.verdict, tests=()))  # the tests' own results go into no file
    return {"row": index, "problem_id": row.problem.id, "completion": asdict(row.completion), "verdict": verdict}


def _recall(rows: list[_Row], journal: ResumeLog) -> set[int]:
    for line in journal.lines:
        row, completion, verdict = rows[line["row"]], line["completion"], line["verdict"]
        row.completion = Completion(**completion | {"ids": tuple(completion["ids"])})
        row.extraction = extract(row.completion.text)
        row.verdict = Verdict(**verdict | {"tests": ()})
    return {line["row"] for line in journal.lines}


def _write_files(folder: Path, by_set: dict[str, list[_Row]], subject: Subject, seed: int) -> None:
    write_atomically(folder / "verdicts.csv", _verdict_table([row for own in by_set.values() for row in own]))
    counts = {}
    for name, own in by_set.items():
        kept = qa_logs.draw(name, own, _error_type, seed)
        counts[name] = qa_logs.summary(kept, own, _error_type)
        lines = [json.dumps(_qa_line(row, stratum, subject), ensure_ascii=False) + "\n" for stratum, row in kept]
        write_atomically(folder / "qa_logs" / f"{name}.jsonl", "".join(lines))
    text = json.dumps(counts, indent=2, sort_keys=True) + "\n"
    write_atomically(folder / "qa_logs" / "qa_summary.json", text)


def _error_type(row: _Row) -> str:
    return row.verdict.error_type


def _verdict_table(rows: list[_Row]) -> str:
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["dataset", "problem_id", "sample", "error_type", "pass_ratio", "gen_tokens"])
    for row in rows:
        verdict = (row.verdict.error_type, f"{row.verdict.pass_ratio:.4f}")
        writer.writerow([row.dataset, row.problem.id, row.sample, *verdict, row.completion.tokens])
    return table.getvalue()


def _qa_line(row: _Row, stratum: str, subject: Subject) -> dict:
    return {
        "dataset": row.dataset,
        "problem_id": row.problem.id,
        "difficulty": row.problem.difficulty,
        "sample": row.sample,
        "stratum": stratum,
        "prompt": row.prompt[-1]["content"],
        "response": row.completion.text,
        "accepted": row.verdict.accepted,
        "error_type": row.verdict.error_type,
        "pass_ratio": row.verdict.pass_ratio,
        "passed": row.verdict.passed,
        "total": row.verdict.total,
        "feedback": row.verdict.feedback,
        "gen_time": round(row.completion.seconds, 4),
        "gen_tokens": row.completion.tokens,
        "judge_time": row.verdict.judge_time,
        "truncated": row.completion.truncated,
        "format_ok": row.extraction.format_ok,
        "form": row.extraction.form,
        "extra": {"step": subject.step, "checkpoint": subject.checkpoint, "model": subject.model},
    }
