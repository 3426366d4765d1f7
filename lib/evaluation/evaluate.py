"""Evaluation of a policy under a protocol: generate, judge, summarize, write the results.

All sets are decoded together, so that batches are full and of similar length, and the judge works on a batch while the
next one is generated. Judged samples are kept under `artifacts/scratch/` until the results are written, so that an
interrupted evaluation reuses them. A rerun repeats every number except the times, which have separate keys.
"""

import hashlib
import json
import shutil
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import pandas as pd
from diskcache import Cache

from lib.evaluation.qa_logs import write_qa_logs
from lib.judge.answers import extract
from lib.judge.verdict import Verdict
from lib.metrics import by_difficulty, require_judge, summarize, summarize_times
from lib.policy.engines import Engine
from lib.policy.generation import Completion
from lib.policy.prompts import messages
from lib.policy.protocols import Protocol
from lib.problems import Problem
from lib.problems.manifest import version
from lib.runs.paths import artifacts, write_atomically

PROGRESS_SECONDS = 60.0  # between two lines of progress
VERDICT_COLUMNS = ["dataset", "problem_id", "sample", "error_type", "pass_ratio", "gen_tokens"]  # of verdicts.csv

Result = tuple[Completion, Verdict]


@dataclass(frozen=True)
class Subject:
    """What is measured. `model`: "base", a run or a hub name; `checkpoint`: "end", or a folder with its `step`."""

    model: str
    checkpoint: str = "end"
    step: int | None = None

    def __post_init__(self):
        if not (self.model and self.checkpoint):
            raise ValueError("a result must name its model and its checkpoint")


def evaluate(
    engine: Engine, sets: dict[str, list[Problem]], judge, folder: Path, protocol: Protocol, subject: Subject
) -> dict:
    """Measures a policy on named sets of problems; returns the content of metrics.json.

    `judge` has `judge_many([(program, problem), ...]) -> [Verdict]`, `stats()` and `answer_block`. Returned: what was
    measured and how (`protocol`, `decoding`, `engine`, `model`, `checkpoint`, `step`, `seed`, `instruction`,
    `answer_block`, and `manifest`: set -> size and hash), `datasets` (set -> `lib.metrics.summarize` and
    `by_difficulty`) and `times`. Writes into `folder`: verdicts.csv, one row per sample, and qa_logs/. Raises
    lib.metrics.JudgeFailure if the judge failed on more than 1 % of all samples; calling it again after fixing the
    judge completes the remaining samples.
    """
    problems = [(name, problem) for name, of_set in sets.items() for problem in of_set]
    if not problems:
        raise ValueError("nothing to evaluate, every set is empty: check the parameter `limit` and the preset's `sets`")
    described = {
        "protocol": protocol.name,
        "decoding": protocol.decoding(),
        "engine": engine.name,
        **asdict(subject),
        "seed": protocol.seed,
        "instruction": protocol.instruction,
        "answer_block": judge.answer_block,
        "manifest": {name: version(of_set) for name, of_set in sets.items()},
    }
    identity = described | {"policy": engine.identity, "folder": str(folder.resolve())}
    key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:24]
    with Cache(artifacts() / "scratch" / "evaluations" / key, eviction_policy="none") as judged:
        results, times = _generate_and_judge([problem for _, problem in problems], engine, protocol, judge, judged)
        require_judge([verdict for _, verdict in results])
        block = judge.answer_block
        rows = [
            _row(*problems[index // protocol.samples], index % protocol.samples, *result, protocol, subject, block)
            for index, result in enumerate(results)
        ]
        table = pd.DataFrame(rows)
        verdicts = table[VERDICT_COLUMNS].assign(pass_ratio=table.pass_ratio.map("{:.4f}".format))
        write_atomically(folder / "verdicts.csv", verdicts.to_csv(index=False, lineterminator="\n"))
        lines = {name: [row for row in rows if row["dataset"] == name] for name in sets}
        write_qa_logs(folder / "qa_logs", sets, lines, protocol.seed)
    shutil.rmtree(judged.directory)
    samples = {name: table[table.dataset == name] for name in sets}
    datasets = {
        name: summarize(of_set, protocol.ks, protocol.token_budget, protocol.seed)
        | {"by_difficulty": by_difficulty(of_set)}
        for name, of_set in samples.items()
    }
    times |= {"datasets": {name: summarize_times(of_set) for name, of_set in samples.items()}}
    return described | {"datasets": datasets, "times": times}


def _generate_and_judge(
    problems: list[Problem], engine: Engine, protocol: Protocol, judge, judged: Cache
) -> tuple[list[Result], dict]:
    """The result of each sample, those of a problem in succession, and the seconds and rates of this process."""
    results: dict[int, Result] = {index: judged[index] for index in judged}
    recalled, before = len(results), dict(judge.stats())
    done, total = set(results), len(problems) * protocol.samples
    conversations = [messages(problem, protocol.instruction) for problem in problems]
    judging, waiting, judge_s = [], [], 0.0
    started = printed = time.perf_counter()
    # One thread is enough: it only waits for the judge's own processes, and the batches stay in order.
    with ThreadPoolExecutor(1) as thread:
        for batch in engine.batches(conversations, protocol, skip=frozenset(done)):
            # After a restart, a partly judged batch is generated again in full; only its unjudged samples are used.
            new = {index: completion for index, completion in batch if index not in done}
            done.update(new)
            waiting.append(len(new) + sum(size for size, future in judging if not future.done()))
            asked = [problems[index // protocol.samples] for index in new]
            judging.append((len(new), thread.submit(_judge, judge, new, asked, judged)))
            if time.perf_counter() - printed > PROGRESS_SECONDS:
                printed = time.perf_counter()
                print(f"{len(done)} of {total} programs generated, {waiting[-1]} waiting for a verdict", flush=True)
        generation_s = time.perf_counter() - started
        for _, future in judging:
            of_batch, seconds = future.result()
            results |= of_batch
            judge_s += seconds
    wall_s = time.perf_counter() - started
    counts = Counter(judge.stats())
    counts.subtract(before)
    programs = counts["programs"]
    return [results[index] for index in range(total)], {
        "recalled": recalled,  # samples restored from an interrupted run; excluded from the timings below
        "wall_s": wall_s,
        "generation_s": generation_s,
        "judge_s": judge_s,
        "throughput": (total - recalled) / wall_s,
        "tests_per_s": counts["tests"] / judge_s if judge_s else None,
        "cache_hit_rate": counts["cache_hits"] / programs if programs else None,
        "retry_rate": counts["retries"] / programs if programs else None,
        "queue_length": sum(waiting) / len(waiting) if waiting else 0,  # unjudged programs when a batch arrives
    }


def _judge(
    judge, batch: dict[int, Completion], problems: list[Problem], judged: Cache
) -> tuple[dict[int, Result], float]:
    started = time.perf_counter()
    programs = [extract(completion.text, judge.answer_block).program for completion in batch.values()]
    verdicts = judge.judge_many(list(zip(programs, problems, strict=True)))
    results = {}
    with judged.transact():
        for (index, completion), verdict in zip(batch.items(), verdicts, strict=True):
            # No file of an evaluation needs the results of single tests.
            results[index] = completion, replace(verdict, tests=())
            if verdict.error_type != "api_error":  # else the next attempt judges this sample again
                judged[index] = results[index]
    return results, time.perf_counter() - started


def _row(
    dataset: str,
    problem: Problem,
    sample: int,
    completion: Completion,
    verdict: Verdict,
    protocol: Protocol,
    subject: Subject,
    block: str,
) -> dict:
    """One sample: a row for `lib.metrics` and verdicts.csv, and a line of the QA logs."""
    extraction = extract(completion.text, block)
    return {
        "dataset": dataset,
        "problem_id": problem.id,
        "sample": sample,
        "gen_tokens": completion.tokens,
        "difficulty": problem.difficulty,
        "prompt": messages(problem, protocol.instruction)[-1]["content"],
        "response": completion.text,
        "accepted": verdict.accepted,
        "error_type": verdict.error_type,
        "pass_ratio": verdict.pass_ratio,
        "passed": verdict.passed,
        "total": verdict.total,
        "feedback": verdict.feedback,
        "judge_time": verdict.judge_time,
        "gen_time": round(completion.seconds, 4),
        "truncated": completion.truncated,
        "format_ok": extraction.format_ok,
        "form": extraction.form,
        "extra": asdict(subject),
    }
