"""Writes dialogues to repair.jsonl, which `lib.report.case_studies` and the report read."""

from pathlib import Path

from lib.evaluation.dialogues import Dialogue
from lib.judge.verdict import Verdict
from lib.problems import Problem
from lib.runs.paths import json_lines, write_atomically


def lines(dialogues: list[Dialogue], dataset: str) -> list[dict]:
    """The rows of repair.jsonl, one per round; of tests that are not public only how they ended."""
    return [
        {
            "problem_id": dialogue.problem.id,
            "dataset": dataset,
            "round": number,
            "prompt": turn.prompt,
            "text": turn.completion.text,
            "program": turn.program,
            "tokens": turn.completion.tokens,
            "prompt_tokens": len(turn.prompt_ids),
            "error_type": turn.verdict.error_type,
            "pass_ratio": round(turn.verdict.pass_ratio, 4),
            "accepted": turn.verdict.accepted,
            "tests": _test_lines(dialogue.problem, turn.verdict),
            "feedback": turn.feedback,
            "ending": dialogue.ending if turn is dialogue.last else None,
        }
        for dialogue in dialogues
        for number, turn in enumerate(dialogue.turns, 1)
    ]


def write_dialogues(path: Path, dialogues: list[Dialogue], dataset: str) -> None:
    """Writes `lines` to `path`, one JSON object each."""
    write_atomically(path, json_lines(lines(dialogues, dataset)))


def _test_lines(problem: Problem, verdict: Verdict) -> list[dict]:
    kinds = [test.visibility for test in problem.tests]
    if verdict.total != len(kinds):  # a test of a function problem may hold several cases
        kinds = ["unknown"] * len(verdict.tests)
    return [
        {
            "error_type": result.error_type,
            "visibility": kind,
            # What follows an exception's name may quote the test's input.
            "detail": result.detail if kind == "public" else result.detail.partition(":")[0],
        }
        for result, kind in zip(verdict.tests, kinds, strict=False)
    ]
